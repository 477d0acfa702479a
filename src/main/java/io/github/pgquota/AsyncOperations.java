package io.github.pgquota;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * The verbs of {@link Operations} without blocking the caller. A future completes exceptionally
 * with the {@link QuotaException} that the blocking verb would throw. Cancelling one does not stop
 * the call, which may still be charged. Safe for concurrent use.
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
