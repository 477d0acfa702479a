package io.github.pgquota;

import java.time.Instant;
import org.jspecify.annotations.Nullable;

/**
 * A threshold that was reached: once for a limit, window, per cent and capacity, written with the
 * charge that reached it.
 *
 * @param scope whose limit
 * @param limit which limit
 * @param windowStart which window; null for a lifetime
 * @param percent the threshold
 * @param capacity of what
 * @param used units used then
 * @param operation what reached it
 * @param at the database's time
 */
public record Alert(
        Scope scope,
        String limit,
        @Nullable Instant windowStart,
        int percent,
        long capacity,
        long used,
        OperationId operation,
        Instant at) {}
