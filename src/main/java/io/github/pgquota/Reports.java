package io.github.pgquota;

import java.time.Instant;
import java.util.List;
import java.util.OptionalLong;

/**
 * Reads what was counted. The same is there in SQL: {@code pgquota.balance}, {@code pgquota.usage},
 * {@code pgquota.ledger_line}, {@code pgquota.alert_line}. Needs the database role {@code
 * pgquota_report}, but for {@link #balances}, which {@code pgquota_app} may read as well. Each call
 * is one statement of its own, and changes nothing. How long it may take: {@link Timeouts}. Safe
 * for concurrent use.
 *
 * <pre>{@code
 * for (Reports.WindowUsage window : quotas.reports().usage("acme", Instant.EPOCH)) {
 *     System.out.println(window.meter() + " from " + window.start() + ": " + window.used());
 * }
 * }</pre>
 *
 * <p>Of a tenant that is not known the lists are empty; only {@link #balances} shows the limits of
 * the default plan, if there is one.
 *
 * <p>All methods throw {@link QuotaException.Forbidden} without the role, and {@link
 * QuotaException.Unavailable} when the database fails, or its answer is lost: ask again.
 */
public interface Reports {

    /** See {@link Operations#balances}. */
    List<Balance> balances(String scope);

    /**
     * Usage a window of a tenant's counters, closed windows too, newest first.
     *
     * @param since windows that end after this
     */
    List<WindowUsage> usage(String tenant, Instant since);

    /** The ledger entries of an operation, oldest first. */
    List<LedgerEntry> ledger(OperationId operation);

    /**
     * The ledger entries of a tenant in a span of time, oldest first.
     *
     * @param most at most so many
     */
    List<LedgerEntry> ledger(String tenant, Instant from, Instant until, int most);

    /** Thresholds that a tenant's limits have reached in a span of time, oldest first. */
    List<Alert> alerts(String tenant, Instant from, Instant until);

    /**
     * Every difference between counters, holds and ledger; empty is the proof that they agree.
     * Changes nothing. One snapshot; reads the whole ledger of the tenant.
     */
    List<Difference> reconcile(String tenant);

    /**
     * A window of a counter.
     *
     * @param scope whose
     * @param meter what
     * @param window its kind, as {@link Window#text()}
     * @param start where it begins; null for a lifetime
     * @param end where it ends; null for a lifetime
     * @param used units used
     * @param held units held
     */
    record WindowUsage(
            Scope scope,
            String meter,
            String window,
            @org.jspecify.annotations.Nullable Instant start,
            @org.jspecify.annotations.Nullable Instant end,
            long used,
            long held) {}

    /**
     * A difference that should not be.
     *
     * @param scope whose counter
     * @param meter which meter
     * @param windowStart which window; null for a lifetime
     * @param problem what disagrees, in words
     * @param expected what ledger or holds say
     * @param found what the counter says
     */
    record Difference(
            Scope scope,
            String meter,
            @org.jspecify.annotations.Nullable Instant windowStart,
            String problem,
            OptionalLong expected,
            OptionalLong found) {}
}
