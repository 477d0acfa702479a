package io.github.pgquota.internal;

import io.github.pgquota.AsyncOperations;
import io.github.pgquota.Balance;
import io.github.pgquota.Decision;
import io.github.pgquota.Granted;
import io.github.pgquota.OperationId;
import io.github.pgquota.Operations;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** The verbs as futures: each runs the blocking verb on an executor. */
final class Async implements AsyncOperations {

    private static final int THREADS = 16;

    private final Operations verbs;
    private final Executor executor;
    private final @Nullable ExecutorService own;

    Async(Operations verbs, @Nullable Executor executor) {
        this.verbs = verbs;
        this.own = executor == null ? threads() : null;
        this.executor = executor == null ? java.util.Objects.requireNonNull(own) : executor;
    }

    /** Starts no thread before it is used; they go when they have been idle. */
    private static ExecutorService threads() {
        ThreadPoolExecutor pool = new ThreadPoolExecutor(
                THREADS, THREADS, 10, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), work -> {
                    Thread thread = new Thread(work, "pgquota-async");
                    thread.setDaemon(true);
                    return thread;
                });
        pool.allowCoreThreadTimeOut(true);
        return pool;
    }

    /** Lets what has begun or waits finish. */
    void close() {
        if (own == null) {
            return;
        }
        own.shutdown();
        boolean interrupted = false;
        while (!own.isTerminated()) {
            try {
                own.awaitTermination(1, TimeUnit.DAYS);
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private <T> CompletableFuture<T> run(Supplier<T> verb) {
        try {
            return CompletableFuture.supplyAsync(verb, executor);
        } catch (RejectedExecutionException e) {
            return CompletableFuture.failedFuture(new QuotaException.Unavailable(
                    "the executor took no more work: is it full, or closed?", null, e));
        }
    }

    @Override
    public CompletableFuture<Decision> consume(Request request) {
        return run(() -> verbs.consume(request));
    }

    @Override
    public CompletableFuture<Granted> consumeUpTo(Request request) {
        return run(() -> verbs.consumeUpTo(request));
    }

    @Override
    public CompletableFuture<Granted> record(Request request) {
        return run(() -> verbs.record(request));
    }

    @Override
    public CompletableFuture<Decision> reserve(Request request, Duration timeToLive) {
        return run(() -> verbs.reserve(request, timeToLive));
    }

    @Override
    public CompletableFuture<Granted> settle(OperationId hold, Map<String, Long> amounts) {
        return run(() -> verbs.settle(hold, amounts));
    }

    @Override
    public CompletableFuture<Granted> release(OperationId hold) {
        return run(() -> verbs.release(hold));
    }

    @Override
    public CompletableFuture<Decision> extend(
            OperationId hold, Map<String, Long> amounts, Duration timeToLive,
            @Nullable String key) {
        return run(() -> verbs.extend(hold, amounts, timeToLive, key));
    }

    @Override
    public CompletableFuture<Granted> refund(
            OperationId operation, Map<String, Long> amounts, @Nullable String key) {
        return run(() -> verbs.refund(operation, amounts, key));
    }

    @Override
    public CompletableFuture<Decision> check(Request request) {
        return run(() -> verbs.check(request));
    }

    @Override
    public CompletableFuture<List<Decision>> consumeAll(List<Request> requests) {
        return run(() -> verbs.consumeAll(requests));
    }

    @Override
    public CompletableFuture<List<Balance>> balances(Scope scope) {
        return run(() -> verbs.balances(scope));
    }
}
