package io.github.pgquota;

import java.time.Instant;
import org.jspecify.annotations.Nullable;

/**
 * One counter's share in an operation: a row of the ledger.
 *
 * @param operation the operation
 * @param at the database's time
 * @param verb consume, consume_up_to, record, settle, refund, reset or repair
 * @param scope whose counter
 * @param meter which meter
 * @param windowStart which window; null for a lifetime
 * @param entry its number within the counter's window, from 1 without a gap
 * @param amount units; negative gives back
 * @param usedAfter the counter after it
 * @param ref the hold that was settled, or the operation that was refunded; or null
 */
public record LedgerEntry(
        OperationId operation,
        Instant at,
        String verb,
        Scope scope,
        String meter,
        @Nullable Instant windowStart,
        long entry,
        long amount,
        long usedAfter,
        @Nullable OperationId ref) {}
