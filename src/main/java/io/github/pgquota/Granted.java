package io.github.pgquota;

import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What was asked is counted.
 *
 * @param scope the request's scope; for a hold or a refund, the tenant
 * @param asked units asked, by meter
 * @param granted units granted, by meter: less than asked only for {@code consumeUpTo}; for
 *     {@code settle} the units charged, for {@code refund} those given back
 * @param limits every limit that applied, in the plan's order
 * @param at the database's time of the decision
 * @param operationOrNull the operation's id; null if nothing is {@linkplain #isCharged charged}
 * @param replayed whether this is the first answer to a key or the first outcome of a hold, again
 * @param late whether a settlement came after the hold's expiry
 * @param holdOrNull the hold that was opened or changed, if any
 */
public record Granted(
        Scope scope,
        Map<String, Long> asked,
        Map<String, Long> granted,
        List<Verdict> limits,
        Instant at,
        @Nullable OperationId operationOrNull,
        boolean replayed,
        boolean late,
        @Nullable Hold holdOrNull)
        implements Decision {

    /** Copies the collections. */
    public Granted {
        asked = Map.copyOf(asked);
        granted = Map.copyOf(granted);
        limits = List.copyOf(limits);
    }

    /**
     * The operation's id.
     *
     * @throws IllegalStateException if nothing is {@linkplain #isCharged charged}
     */
    public OperationId operation() {
        if (operationOrNull == null) {
            throw new IllegalStateException("there is no operation: check changes nothing, and"
                    + " what is let through while the database is away is charged later");
        }
        return operationOrNull;
    }

    /**
     * Whether it is in the database's counters. {@code check} changes nothing; what {@link Away}
     * lets through is charged later.
     */
    public boolean isCharged() {
        return operationOrNull != null;
    }

    /** The hold that was opened, changed or ended, if the verb was about one. */
    public Optional<Hold> hold() {
        return Optional.ofNullable(holdOrNull);
    }

    /** Units by which the operation went over a capacity: the largest of its limits' overages. */
    public long overage() {
        long most = 0;
        for (Verdict limit : limits) {
            most = Math.max(most, limit.overage());
        }
        return most;
    }

    @Override
    public Granted orThrow() {
        return this;
    }
}
