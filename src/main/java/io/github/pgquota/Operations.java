package io.github.pgquota;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The verbs. Each call is one round trip and takes one connection for as long as that. A request
 * over several meters and levels is charged everywhere or nowhere.
 *
 * <p>{@link Quotas} itself runs each call in a transaction of its own. {@link Quotas#within} gives
 * the same verbs inside the caller's transaction: they commit or roll back with it.
 *
 * <p>Safe for concurrent use, except where {@link Quotas#within} says otherwise.
 *
 * <p>All verbs throw {@link QuotaException.Invalid} (malformed), {@link QuotaException.Forbidden}
 * (the database's user may not), {@link QuotaException.SchemaMismatch} (no schema), {@link
 * QuotaException.UnknownTenant} (no plan), {@link QuotaException.UnknownMeter} (no limit applies),
 * {@link QuotaException.Unavailable} (certainly not applied), {@link QuotaException.OutcomeUnknown}
 * (perhaps applied), {@link QuotaException.KeyConflict} and {@link QuotaException.KeyExpired}, and
 * within a transaction {@link QuotaException.RetryTransaction}.
 */
public interface Operations {

    /**
     * Charges the amounts, if all limits have room for them.
     *
     * <pre>{@code
     * Decision decision = quotas.consume(Request.of("acme/search/alice").take("requests", 1));
     * }</pre>
     */
    Decision consume(Request request);

    /** Charges of each meter what is free, up to the amount asked; perhaps nothing. */
    Granted consumeUpTo(Request request);

    /** Charges what has happened already, whether it fits or not; tells the overage. */
    Granted record(Request request);

    /**
     * Sets the amounts aside, if all limits have room for them, until they are settled or released,
     * or the time to live is over. They count against the window they were taken in.
     *
     * @param timeToLive at least a millisecond; cut to the database's setting {@code longest_hold}
     */
    Decision reserve(Request request, Duration timeToLive);

    /**
     * Like {@link #reserve}, for a try block.
     *
     * @throws QuotaException.Exceeded if it is denied
     */
    default Reservation hold(Request request, Duration timeToLive) {
        return new Reservation(this, reserve(request, timeToLive).orThrow());
    }

    /**
     * Ends a hold and charges what was really used: less than was held, as much, more (the overage
     * is told) or nothing. After its expiry it is charged all the same, and called late. Settling a
     * hold that was settled or released gives its first outcome and changes nothing.
     *
     * @param hold any process's
     * @param amounts units by meter; a meter of the hold that is not named is charged as held
     * @throws QuotaException.NotFound if there is no such hold
     * @throws QuotaException.Invalid if the hold has not got one of the meters
     */
    Granted settle(OperationId hold, Map<String, Long> amounts);

    /**
     * Ends a hold and charges nothing. Releasing a hold that has ended gives its first outcome.
     *
     * @throws QuotaException.NotFound if there is no such hold
     */
    Granted release(OperationId hold);

    /**
     * Gives a hold more time, and more units if there is room for them.
     *
     * @param amounts units to add, by meter of the hold; may be empty
     * @param timeToLive from now on; never shortens the hold, nor lengthens it past {@code
     *     longest_hold} from when it was taken
     * @param key makes it exactly-once; or null
     * @throws QuotaException.HoldEnded if it was settled or released, or has expired
     * @throws QuotaException.NotFound if there is no such hold
     */
    Decision extend(
            OperationId hold, Map<String, Long> amounts, Duration timeToLive, @Nullable String key);

    /**
     * Gives back units that an operation was charged, in the window that was charged. Limits that
     * are not billed keep no record, so nothing is given back there.
     *
     * @param operation what charged; of a hold, the operation that settled it
     * @param amounts units by meter; empty for all that is left to give back
     * @param key makes it exactly-once; or null
     * @throws QuotaException.RefundTooLarge if less than that is left
     * @throws QuotaException.NotFound if the ledger has no such operation
     */
    Granted refund(OperationId operation, Map<String, Long> amounts, @Nullable String key);

    /** What {@link #consume} would answer now. Changes nothing; advice, never a permit. */
    Decision check(Request request);

    /**
     * Independent requests in one round trip, each decided on its own, in their order. All of them
     * have the time of one statement ({@link Timeouts}), and keep their counters locked as long:
     * send hundreds, not hundreds of thousands.
     *
     * @throws QuotaException if one of them is in error; the others are decided and stay so, see
     *     {@link QuotaException.Partial}
     */
    List<Decision> consumeAll(List<Request> requests);

    /**
     * Every limit that applies to a scope, in the plan's order. An unknown tenant, when there is no
     * default plan, has no limits: the list is empty, where a charge is refused.
     */
    List<Balance> balances(Scope scope);
}
