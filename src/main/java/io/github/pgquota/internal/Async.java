package io.github.pgquota.internal;

import io.github.pgquota.AsyncOperations;
import io.github.pgquota.Balance;
import io.github.pgquota.Decision;
import io.github.pgquota.Granted;
import io.github.pgquota.OperationId;
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

/** The verbs as futures. */
final class Async implements AsyncOperations {

    private static final int THREADS = 16;

    private final PgQuotas quotas;
    private final Executor executor;
    private final @Nullable ExecutorService own;

    Async(PgQuotas quotas, @Nullable Executor executor) {
        this.quotas = quotas;
        this.own = executor == null ? threads() : null;
        this.executor = executor == null ? java.util.Objects.requireNonNull(own) : executor;
    }

    /** One of the pool's threads, which cannot wait for them all to end. */
    private static final class Worker extends Thread {
        private final Async of;

        Worker(Async of, Runnable work) {
            super(work, "pgquota-async");
            this.of = of;
            setDaemon(true);
        }
    }

    /** Starts no thread before it is used; they go when they have been idle. */
    private ExecutorService threads() {
        ThreadPoolExecutor pool = new ThreadPoolExecutor(
                THREADS, THREADS, 10, TimeUnit.SECONDS, new LinkedBlockingQueue<>(),
                work -> new Worker(this, work));
        pool.allowCoreThreadTimeOut(true);
        return pool;
    }

    /** Lets what has begun or waits finish; does not wait for it where that would be for itself. */
    void close() {
        if (own == null) {
            return;
        }
        own.shutdown();
        boolean interrupted = false;
        boolean isOwn = Thread.currentThread() instanceof Worker worker && worker.of == this;
        while (!isOwn && !own.isTerminated()) {
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

    /** Runs blocking work on the executor. */
    <T> CompletableFuture<T> run(Supplier<T> work) {
        try {
            return CompletableFuture.supplyAsync(work, executor);
        } catch (RejectedExecutionException e) {
            return CompletableFuture.failedFuture(new QuotaException.Unavailable(
                    "the executor took no more work: is it full, or closed?", null, e));
        }
    }

    /** A change that is never denied. */
    @SuppressWarnings("unchecked")
    private CompletableFuture<Granted> grant(Supplier<Change> change) {
        return (CompletableFuture<Granted>) (CompletableFuture<?>) quotas.submit(change);
    }

    @Override
    public CompletableFuture<Decision> consume(Request request) {
        return quotas.submit(() -> Change.consume(request));
    }

    @Override
    public CompletableFuture<Granted> consumeUpTo(Request request) {
        return grant(() -> Change.consumeUpTo(request));
    }

    @Override
    public CompletableFuture<Granted> record(Request request) {
        return grant(() -> Change.record(request));
    }

    @Override
    public CompletableFuture<Decision> reserve(Request request, Duration timeToLive) {
        return quotas.submit(() -> Change.reserve(request, timeToLive));
    }

    @Override
    public CompletableFuture<Granted> settle(OperationId hold, Map<String, Long> amounts) {
        return grant(() -> Change.settle(hold, amounts));
    }

    @Override
    public CompletableFuture<Granted> release(OperationId hold) {
        return grant(() -> Change.release(hold));
    }

    @Override
    public CompletableFuture<Decision> extend(
            OperationId hold, Map<String, Long> amounts, Duration timeToLive,
            @Nullable String key) {
        return quotas.submit(() -> Change.extend(hold, amounts, timeToLive, key));
    }

    @Override
    public CompletableFuture<Granted> refund(
            OperationId operation, Map<String, Long> amounts, @Nullable String key) {
        return grant(() -> Change.refund(operation, amounts, key));
    }

    @Override
    public CompletableFuture<Decision> check(Request request) {
        return quotas.submit(() -> Change.check(request));
    }

    @Override
    public CompletableFuture<List<Decision>> consumeAll(List<Request> requests) {
        return run(() -> quotas.consumeAll(requests));
    }

    @Override
    public CompletableFuture<List<Balance>> balances(Scope scope) {
        return run(() -> quotas.balances(scope));
    }
}
