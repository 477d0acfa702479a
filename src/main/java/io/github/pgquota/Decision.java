package io.github.pgquota;

import java.time.Instant;
import java.util.List;
import java.util.Map;

/**
 * The answer to a request: {@link Granted} or {@link Denied}. A denial is a value; nothing was
 * charged then, under any limit. Immutable.
 *
 * <pre>{@code
 * Decision decision = quotas.consume(call);
 * if (decision instanceof Denied denied) {
 *     return tooManyRequests(denied.retryAfter());
 * }
 * }</pre>
 */
public sealed interface Decision permits Granted, Denied {

    /** The request's scope; for a hold or a refund, the tenant. */
    Scope scope();

    /** Units asked, by meter. */
    Map<String, Long> asked();

    /** Every limit that applied, in the plan's order. */
    List<Verdict> limits();

    /** The database's time of the decision. */
    Instant at();

    /** Whether it was granted. */
    default boolean isGranted() {
        return this instanceof Granted;
    }

    /**
     * This, if it was granted.
     *
     * @throws QuotaException.Exceeded if it was denied
     */
    Granted orThrow();
}
