package io.github.pgquota;

import java.nio.file.Path;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.util.List;
import java.util.Optional;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * Administration: what tenants may use. Each call is a transaction of its own, audited with who,
 * when, why, before and after, and obeyed by every process from its commit on. Needs the database
 * role {@code pgquota_admin}. Safe for concurrent use.
 *
 * <pre>{@code
 * Plans plans = quotas.plans("carol", "ticket 4711");
 * plans.publish(Plan.named("FREE").limit(Limit.named("requests").capacity(50)));
 * plans.assign("acme", "FREE");
 * }</pre>
 *
 * <p>All methods throw {@link QuotaException.Invalid} for what is malformed, {@link
 * QuotaException.Forbidden} without the role, and {@link QuotaException.Unavailable} or {@link
 * QuotaException.OutcomeUnknown} when the database fails; nothing is changed in part.
 */
public interface Plans {

    /** What becomes of usage when a tenant gets another plan. */
    enum Usage {
        /** What was used in the running windows stays used. */
        KEEP,
        /** The running windows of the tenant start again from zero, by visible ledger entries. */
        RESTART
    }

    /**
     * Publishes a version that is in force at once.
     *
     * @return its number; that of the version in force if that has the same limits
     */
    int publish(Plan plan);

    /**
     * Publishes a version that is in force from a time on; versions are never changed.
     *
     * @param effectiveFrom not in the past by the database's clock; leave it out for at once
     * @return its number; that of the version in force then if it has the same limits
     * @throws QuotaException.Invalid if the time is in the past
     */
    int publish(Plan plan, Instant effectiveFrom);

    /** The version of a plan that is in force. */
    Optional<Plan> plan(String name);

    /**
     * Gives tenants without a plan this one; null: they are refused.
     *
     * @throws QuotaException.NotFound if the plan was never published
     */
    void defaultPlan(@Nullable String plan);

    /** The zone of tenants that have none. */
    void defaultZone(ZoneId zone);

    /**
     * Gives a tenant a plan, and keeps its usage.
     *
     * @param plan null: the default plan, as for tenants that have none
     * @throws QuotaException.NotFound if the plan was never published
     */
    default void assign(String tenant, @Nullable String plan) {
        assign(tenant, plan, Usage.KEEP);
    }

    /**
     * Gives a tenant a plan.
     *
     * @param plan null: the default plan, as for tenants that have none
     * @throws QuotaException.NotFound if the plan was never published
     */
    void assign(String tenant, @Nullable String plan, Usage usage);

    /**
     * Gives a tenant a time zone, from the end of its running windows on; null: the default one.
     */
    void zone(String tenant, @Nullable ZoneId zone);

    /**
     * Gives a tenant's calendar windows a beginning: a date and time in its zone, from the end of
     * its running windows on; null: the first of a month, Monday, midnight.
     */
    void anchor(String tenant, @Nullable LocalDateTime anchor);

    /**
     * Replaces a limit's capacity for a scope and all below it; the override nearest to a counter's
     * scope wins.
     *
     * @param capacity units a window; null: unlimited
     * @param from when it begins; may be in the past or the future
     * @param until when it ends; null: never
     * @return what {@link #withdraw} takes
     * @throws QuotaException.NotFound if the tenant's plan has no such limit
     */
    UUID override(
            Scope scope,
            String limit,
            @Nullable Long capacity,
            Instant from,
            @Nullable Instant until,
            String reason);

    /**
     * Adds to a limit's capacity for a scope and all below it.
     *
     * @param units units a window
     * @param from when it begins; may be in the past or the future
     * @param until when it ends; null: never
     * @return what {@link #withdraw} takes
     * @throws QuotaException.NotFound if the tenant's plan has no such limit
     */
    UUID boost(
            Scope scope,
            String limit,
            long units,
            Instant from,
            @Nullable Instant until,
            String reason);

    /**
     * Ends an override or boost now.
     *
     * @throws QuotaException.NotFound if there is no such one
     */
    void withdraw(String tenant, UUID adjustment);

    /**
     * Sets the running windows of a scope and all below it back to zero, by visible ledger entries.
     * Holds stay. Of an unknown tenant there is nothing to reset.
     *
     * @param dryRun only tells what would be reset
     * @return the counters that had been used, as they were
     */
    List<Balance> reset(Scope scope, boolean dryRun);

    /**
     * Brings a tenant's counters back to what ledger and holds say. The ledger is never written
     * over: a counter that says too much or too little gets two entries, one that writes the
     * difference down and one that takes it back. A ledger that is broken in itself stays so, and
     * {@link Reports#reconcile} goes on to report it: rows were lost or changed behind the
     * library's back.
     *
     * @return the differences that are gone
     */
    List<Reports.Difference> repair(String tenant);

    /**
     * What {@link #apply} would change, a line a change; empty if nothing.
     *
     * @throws QuotaException.InvalidFile with line and field
     */
    List<String> diff(Path yaml);

    /**
     * Publishes and assigns what a YAML file says, in one transaction; doing it again changes
     * nothing.
     *
     * @return what was changed, a line a change
     * @throws QuotaException.InvalidFile with line and field; nothing was changed
     */
    List<String> apply(Path yaml);
}
