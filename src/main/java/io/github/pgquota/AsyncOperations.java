package io.github.pgquota;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * The verbs of {@link Operations} without blocking the caller. A future completes exceptionally
 * with the {@link QuotaException} that the blocking verb would throw. Safe for concurrent use.
 *
 * <p>{@code cancel} tells the truth for a future of these methods themselves: if it is true, the
 * call was not sent and nothing is charged; if false, it is under way and its answer will come.
 * {@code orTimeout} and {@code complete} do not withdraw it. Of {@code consumeAll} and {@code
 * balances}, and of {@link Quotas.Builder#direct() direct} quotas, a cancelled call may still be
 * charged.
 *
 * <pre>{@code
 * quotas.async().consume(call).thenAccept(decision -> answer(decision.isGranted()));
 * }</pre>
 */
public interface AsyncOperations {

    /** See {@link Operations#consume}. */
    CompletableFuture<Decision> consume(Request request);

    /** See {@link Operations#consumeUpTo}. */
    CompletableFuture<Granted> consumeUpTo(Request request);

    /** See {@link Operations#record}. */
    CompletableFuture<Granted> record(Request request);

    /** See {@link Operations#reserve}. */
    CompletableFuture<Decision> reserve(Request request, Duration timeToLive);

    /** See {@link Operations#settle}. */
    CompletableFuture<Granted> settle(OperationId hold, Map<String, Long> amounts);

    /** See {@link Operations#release}. */
    CompletableFuture<Granted> release(OperationId hold);

    /** See {@link Operations#extend}. */
    CompletableFuture<Decision> extend(
            OperationId hold, Map<String, Long> amounts, Duration timeToLive, @Nullable String key);

    /** See {@link Operations#refund}. */
    CompletableFuture<Granted> refund(
            OperationId operation, Map<String, Long> amounts, @Nullable String key);

    /** See {@link Operations#check}. */
    CompletableFuture<Decision> check(Request request);

    /** See {@link Operations#consumeAll}. */
    CompletableFuture<List<Decision>> consumeAll(List<Request> requests);

    /** See {@link Operations#balances}. */
    CompletableFuture<List<Balance>> balances(Scope scope);
}
