package io.github.pgquota;

import java.time.Instant;
import java.util.Optional;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;

/**
 * How a limit stands: at the moment of a decision, or when {@link Operations#balances} looked.
 *
 * @param limit the limit's name in the plan
 * @param meter what it counts
 * @param scope whose counter it is: the request's scope, cut at the limit's level
 * @param mode whether it refuses, only reports, or is off
 * @param capacityOrNull units a window, overrides and boosts included; null if unlimited
 * @param used units used in the window
 * @param held units that open holds take of it
 * @param startOrNull where the window begins; null for a lifetime
 * @param endOrNull where the window ends and the count begins anew; null for a lifetime
 */
public record Balance(
        String limit,
        String meter,
        Scope scope,
        Limit.Mode mode,
        @Nullable Long capacityOrNull,
        long used,
        long held,
        @Nullable Instant startOrNull,
        @Nullable Instant endOrNull) {

    /** Units a window, overrides and boosts included; empty if unlimited. */
    public OptionalLong capacity() {
        return capacityOrNull == null ? OptionalLong.empty() : OptionalLong.of(capacityOrNull);
    }

    /** What is neither used nor held, at least 0; empty if unlimited. */
    public OptionalLong remaining() {
        return capacityOrNull == null
                ? OptionalLong.empty()
                : OptionalLong.of(Math.max(0, capacityOrNull - used - held));
    }

    /** Where the window begins; empty for a lifetime. */
    public Optional<Instant> windowStart() {
        return Optional.ofNullable(startOrNull);
    }

    /** Where the window ends and the count begins anew; empty for a lifetime. */
    public Optional<Instant> resetsAt() {
        return Optional.ofNullable(endOrNull);
    }
}
