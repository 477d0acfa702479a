package io.github.pgquota;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * A named list of limits; what {@link Plans#publish} makes a version of. Immutable.
 *
 * <pre>{@code
 * Plan free = Plan.named("FREE")
 *         .limit(Limit.named("messages").on("requests").capacity(50).per(Window.month()))
 *         .limit(Limit.named("tokens").capacity(100_000).per(Window.month()));
 * }</pre>
 *
 * @param name the plan's name
 * @param limits in the order in which decisions list them
 */
public record Plan(String name, List<Limit> limits) {

    /** @throws QuotaException.Invalid if a name is malformed or two limits share one */
    public Plan {
        Names.name("plan", name);
        limits = List.copyOf(limits);
        Set<String> names = new HashSet<>();
        for (Limit limit : limits) {
            if (!names.add(limit.name())) {
                throw new QuotaException.Invalid("limit", limit.name(),
                        "stands twice in plan " + name);
            }
        }
    }

    /** A plan without limits yet; add them with {@link #limit}. */
    public static Plan named(String name) {
        return new Plan(name, List.of());
    }

    /** The plan with another limit. */
    public Plan limit(Limit limit) {
        List<Limit> more = new ArrayList<>(limits);
        more.add(limit);
        return new Plan(name, more);
    }
}
