package io.github.pgquota;

import io.github.pgquota.internal.PgQuotas;
import java.sql.Connection;
import java.util.Objects;
import java.util.concurrent.Executor;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/**
 * Quotas kept in the database of a {@link DataSource}. One instance serves a whole application: it
 * is safe for concurrent use, on platform and virtual threads.
 *
 * <pre>{@code
 * try (Quotas quotas = Quotas.on(dataSource).build()) {
 *     quotas.consume(Request.of("acme").take("requests", 1)).orThrow();
 * }
 * }</pre>
 */
public interface Quotas extends Operations, AutoCloseable {

    /** Starts to build an instance on a DataSource that stays the caller's: it is never closed. */
    static Builder on(DataSource dataSource) {
        return new Builder(dataSource);
    }

    /**
     * The verbs inside the caller's transaction, on that connection only. They never commit or roll
     * back: the charge stands or falls with the caller's transaction, or savepoint. The counters
     * stay locked until then, so call them late. A connection in autocommit mode commits each call.
     *
     * <p>Under REPEATABLE READ and SERIALIZABLE a call throws {@link
     * QuotaException.RetryTransaction} when another transaction has been at its counters since the
     * snapshot was taken; plans are those of the snapshot. In a transaction that has failed already
     * or is read-only, it throws {@link QuotaException.Invalid}.
     *
     * <p>As unsafe for concurrent use as the connection is. For jOOQ see {@link JooqTransaction}.
     */
    Operations within(Connection connection);

    /**
     * The verbs, tried again after {@link QuotaException.Unavailable} and {@link
     * QuotaException.Overloaded}, which say that nothing was applied. After {@link
     * QuotaException.OutcomeUnknown} only what cannot be charged twice is repeated: requests with a
     * key (of {@code consumeAll}: all of them), {@code settle}, {@code release} and {@code check}.
     * When no attempt is left, the last failure is thrown, or the {@code OutcomeUnknown} if there
     * was one, with the others as suppressed exceptions.
     *
     * <p>A denial after a lost answer is told once the statement whose answer was lost can no
     * longer be under way, {@link Timeouts#statement} later: until then it may yet be granted.
     *
     * <p>Each attempt is a transaction of its own; in one of the caller's, see {@link #within},
     * nothing is tried again. Nor is {@code balances}, a report that charges nothing and decides
     * nothing: ask again. Safe for concurrent use.
     *
     * <pre>{@code
     * quotas.retrying(Retry.standard()).consume(call.key("call-7f3"));
     * }</pre>
     */
    Operations retrying(Retry policy);

    /**
     * The verbs, with calls let through while the database is away, as far as the policy says. One
     * gate serves a whole process; close it before these quotas.
     *
     * @throws QuotaException.Invalid if its file is in use, or cannot be read and written
     * @throws QuotaException.InvalidFile if it holds what was not written by a gate
     */
    Away.Gate away(Away policy);

    /** The verbs as futures; see {@link #close}. */
    AsyncOperations async();

    /** Plans, tenants, overrides, boosts, resets, as the database's user and without a reason. */
    default Plans plans() {
        return plans(null, null);
    }

    /**
     * Plans, tenants, overrides, boosts, resets.
     *
     * @param who is written to the audit; null for the database's user
     * @param why is written to the audit; may be null
     */
    Plans plans(@Nullable String who, @Nullable String why);

    /** The ledger, usage by window, reconciliation. */
    Reports reports();

    /** Housekeeping. */
    Upkeep upkeep();

    /**
     * Lets the calls that have come in have their answers; async calls that come later fail with
     * {@link QuotaException.Unavailable}, and blocking ones are decided one by one. The DataSource
     * stays open. A second call does nothing.
     */
    @Override
    void close();

    /** Builds {@link Quotas}. Not safe for concurrent use. */
    final class Builder {

        private final DataSource dataSource;
        private @Nullable Combining combining = Combining.standard();
        private Timeouts timeouts = Timeouts.standard();
        private @Nullable Executor executor;

        private Builder(DataSource dataSource) {
            this.dataSource = Objects.requireNonNull(dataSource, "dataSource");
        }

        /**
         * Completes the futures of {@link #async()}, and so runs what depends on them; stays the
         * caller's. Without one, daemon threads of the library's own do. {@code Runnable::run}
         * completes them on the thread that sends the calls, which then sends no others: what
         * depends on a future must not wait for these quotas then, by a blocking verb or {@link
         * Quotas#close}.
         */
        public Builder executor(Executor executor) {
            this.executor = Objects.requireNonNull(executor, "executor");
            return this;
        }

        /** How calls are combined; without it, as in {@link Combining#standard()}. */
        public Builder combining(Combining combining) {
            this.combining = Objects.requireNonNull(combining, "combining");
            return this;
        }

        /** How long the verbs wait; without it, as in {@link Timeouts#standard()}. */
        public Builder timeouts(Timeouts timeouts) {
            this.timeouts = Objects.requireNonNull(timeouts, "timeouts");
            return this;
        }

        /**
         * Makes every call a statement of its own, on its caller's thread; those of {@link
         * #async()} on the {@link #executor}'s.
         */
        public Builder direct() {
            this.combining = null;
            return this;
        }

        /** Builds it. Does not touch the database; {@link Schema#verify} does. */
        public Quotas build() {
            return new PgQuotas(dataSource, timeouts, combining, executor);
        }
    }
}
