package io.github.pgquota;

import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;

/**
 * At least one limit refused; nothing was charged anywhere.
 *
 * @param scope the request's scope
 * @param asked units asked, by meter
 * @param limits every limit that applied, in the plan's order
 * @param at the database's time of the decision
 * @param retryAfterOrNull see {@link #retryAfter()}
 */
public record Denied(
        Scope scope,
        Map<String, Long> asked,
        List<Verdict> limits,
        Instant at,
        @Nullable Instant retryAfterOrNull)
        implements Decision {

    /** Copies the collections. */
    public Denied {
        asked = Map.copyOf(asked);
        limits = List.copyOf(limits);
    }

    /** The limits that refused, all of them, in the plan's order. */
    public List<Verdict> refusing() {
        return limits.stream()
                .filter(v -> !v.fits() && v.balance().mode() == Limit.Mode.ENFORCE)
                .toList();
    }

    /**
     * When all refusing limits have begun a new window: the latest of their resets. Empty when
     * waiting cannot help: a lifetime limit refused, or more was asked than a whole window holds.
     */
    public Optional<Instant> retryAfter() {
        return Optional.ofNullable(retryAfterOrNull);
    }

    /** Why, in a sentence: the refusing limits' messages, or their names and numbers. */
    public String reason() {
        return String.join("; ", refusing().stream().map(v -> sentence(v)).toList());
    }

    private String sentence(Verdict verdict) {
        Balance b = verdict.balance();
        OptionalLong capacity = b.capacity();
        return verdict.message().orElseGet(() -> "limit " + b.limit() + " of " + b.scope() + ": "
                + asked.getOrDefault(b.meter(), 0L) + " " + b.meter() + " asked, " + b.used()
                + " used and " + b.held() + " held of " + capacity.orElse(0));
    }

    /** @throws QuotaException.Exceeded always */
    @Override
    public Granted orThrow() {
        throw new QuotaException.Exceeded(this);
    }
}
