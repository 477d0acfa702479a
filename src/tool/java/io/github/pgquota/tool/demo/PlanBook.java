package io.github.pgquota.tool.demo;

import io.github.pgquota.Limit;
import io.github.pgquota.Plan;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Window;
import io.github.pgquota.internal.PlanFile;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * The plans there are.
 *
 * @param plans in the order in which a mix deals them out
 * @param assigned plans by the name of a tenant, where a file says so
 * @param hasMore whether the file says more than the plans
 */
record PlanBook(List<Plan> plans, Map<String, String> assigned, boolean hasMore) {

    /** The word for all plans in turn. */
    static final String MIX = "mix";

    /** What the replay knows without a file: a month each. */
    static PlanBook builtIn() {
        return new PlanBook(List.of(
                plan("FREE", 50L, 100_000L),
                plan("STARTER", 500L, 2_000_000L),
                plan("PRO", 5_000L, 20_000_000L),
                Plan.named("UNLIMITED")
                        .limit(Limit.named(Job.REQUESTS).unlimited().per(Window.month()))
                        .limit(Limit.named(Job.TOKENS).unlimited().per(Window.month()))),
                Map.of(), false);
    }

    /**
     * The plans of a YAML file, in the form of {@code plan apply}.
     *
     * @throws QuotaException.InvalidFile with line and field
     * @throws BadInput if it has no plans
     */
    static PlanBook read(Path path) {
        PlanFile file = PlanFile.read(path);
        if (file.plans().isEmpty()) {
            throw new BadInput(path + ": names no plans");
        }
        Map<String, String> assigned = new HashMap<>();
        for (PlanFile.Tenant tenant : file.tenants()) {
            String plan = tenant.plan() == null ? null : tenant.plan().value();
            if (plan != null && file.plans().stream().anyMatch(p -> p.name().equals(plan))) {
                assigned.put(tenant.name(), plan);
            }
        }
        return new PlanBook(file.plans(), assigned, !file.tenants().isEmpty()
                || file.defaultPlan() != null || file.defaultZone() != null);
    }

    /** The plan that a file gives a tenant, if it counts anything of a trace. */
    Optional<Plan> assignedTo(String tenant) {
        String name = assigned.get(tenant);
        return plans.stream().filter(p -> p.name().equals(name) && !limits(p).isEmpty()).findAny();
    }

    private static Plan plan(String name, long requests, long tokens) {
        return Plan.named(name)
                .limit(Limit.named(Job.REQUESTS).capacity(requests).per(Window.month()))
                .limit(Limit.named(Job.TOKENS).capacity(tokens).per(Window.month()));
    }

    /**
     * The plan of that name, or all of them for a mix, less those that count nothing of a trace.
     *
     * @throws BadInput if there is no such plan, or none that counts anything
     */
    List<Plan> chosen(String name) {
        List<Plan> found = plans.stream().filter(p -> p.name().equals(name)).toList();
        if (found.isEmpty()) {
            found = plans.stream().filter(p -> p.name().equalsIgnoreCase(name)).toList();
        }
        if (found.isEmpty() && name.equals(MIX)) {
            found = plans;
        }
        if (found.isEmpty()) {
            throw new BadInput("there is no plan \"" + name + "\"; there are "
                    + String.join(", ", plans.stream().map(Plan::name).toList())
                    + " and " + MIX + " for all of them in turn");
        }
        List<Plan> usable = found.stream().filter(p -> !limits(p).isEmpty()).toList();
        if (usable.isEmpty()) {
            throw new BadInput((found.size() == 1 ? "plan \"" + found.get(0).name() + "\" has"
                    : "the plans have") + " no limit on " + Job.REQUESTS + " or " + Job.TOKENS
                    + " of a tenant, so a trace would use nothing of it");
        }
        return usable;
    }

    /** The limits of a plan that a trace's calls come under. */
    static List<Limit> limits(Plan plan) {
        return plan.limits().stream().filter(PlanBook::applies).toList();
    }

    /** A trace names tenants, nobody below them, and two meters. */
    static boolean applies(Limit limit) {
        return limit.level() == 0
                && limit.mode() != Limit.Mode.OFF
                && (limit.meter().equals(Job.REQUESTS) || limit.meter().equals(Job.TOKENS));
    }

    /** What a limit that denies lets nobody pass; empty if it denies nobody. */
    static OptionalLong ceiling(Limit limit) {
        Long capacity = limit.capacityOrNull();
        Long overage = limit.overageOrNull();
        return capacity == null || overage == null || limit.mode() != Limit.Mode.ENFORCE
                ? OptionalLong.empty()
                : OptionalLong.of(capacity + Math.min(overage, (1L << 62) - 1));
    }

    /** What the user should know about a plan: meters it does not count, limits it does not use. */
    static List<String> notes(Plan plan) {
        List<String> notes = new ArrayList<>();
        for (String meter : List.of(Job.REQUESTS, Job.TOKENS)) {
            if (limits(plan).stream().noneMatch(l -> l.meter().equals(meter))) {
                notes.add("plan " + plan.name() + " has no limit on a tenant's " + meter
                        + ": its calls ask for "
                        + (meter.equals(Job.REQUESTS) ? Job.TOKENS : Job.REQUESTS) + " only");
            }
        }
        for (Limit limit : plan.limits()) {
            if (!applies(limit)) {
                notes.add("limit " + limit.name() + " of plan " + plan.name() + " is not used: "
                        + (limit.mode() == Limit.Mode.OFF ? "it is off"
                                : limit.level() > 0 ? "it is on level " + limit.level()
                                        + ", and a trace names tenants only"
                                : "a trace has the meters " + Job.REQUESTS + " and "
                                        + Job.TOKENS + " only"));
            }
        }
        return notes;
    }
}
