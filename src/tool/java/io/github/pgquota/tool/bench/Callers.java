package io.github.pgquota.tool.bench;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/** Those who call: in a closed loop, each when it has been answered, or in an open one. */
final class Callers {

    private static final ExecutorService PLATFORM = Executors.newCachedThreadPool(work -> {
        Thread thread = new Thread(work, "caller");
        thread.setDaemon(true);
        return thread;
    });

    private Callers() {}

    /** What they call. */
    interface Job {

        /** Calls, and waits. Returns the units granted. */
        long call() throws Exception;

        /** Calls. */
        CompletionStage<Long> start();
    }

    /** So many callers, each of which calls again as soon as it is answered. */
    static Slice closed(Job job, int callers, String kind, long nanos) throws Exception {
        switch (kind) {
            case Line.PLATFORM:
                return threads(job, callers, PLATFORM, nanos);
            case Line.VIRTUAL:
                ExecutorService threads = Client.virtualThreads();
                try {
                    return threads(job, callers, threads, nanos);
                } finally {
                    threads.shutdown();
                }
            case Line.ASYNC:
                return futures(job, callers, nanos);
            default:
                throw new IllegalArgumentException(kind);
        }
    }

    private static Slice threads(Job job, int callers, ExecutorService threads, long nanos)
            throws Exception {
        CountDownLatch ready = new CountDownLatch(callers);
        CountDownLatch go = new CountDownLatch(1);
        AtomicReference<@Nullable Tally> shared = new AtomicReference<>();
        Callable<@Nullable Void> caller = () -> {
            ready.countDown();
            go.await();
            Tally tally = shared.get();
            long begin = System.nanoTime();
            while (begin - tally.start() < nanos) {
                long units = job.call();
                long now = System.nanoTime();
                tally.add(begin, now, units);
                begin = now;
            }
            return null;
        };
        List<Future<@Nullable Void>> parts = new ArrayList<>();
        Collections.nCopies(callers, caller).forEach(task -> parts.add(threads.submit(task)));
        ready.await();
        Tally tally = new Tally();
        shared.set(tally);
        go.countDown();
        for (Future<@Nullable Void> part : parts) {
            try {
                part.get();
            } catch (ExecutionException e) {
                throw new IllegalStateException("a call fails", e.getCause());
            }
        }
        return tally.slice();
    }

    private static Slice futures(Job job, int callers, long nanos) throws Exception {
        CountDownLatch finished = new CountDownLatch(callers);
        AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
        Tally tally = new Tally();
        for (int i = 0; i < callers; i++) {
            new AsyncCaller(job, tally, nanos, finished, failure).run();
        }
        finished.await();
        throwIfAny(failure);
        return tally.slice();
    }

    private static void throwIfAny(AtomicReference<@Nullable Throwable> failure) {
        if (failure.get() != null) {
            throw new IllegalStateException("a call fails", failure.get());
        }
    }

    /**
     * Calls again from where it is answered, so that no thread has to do it for all. An answer
     * that is there at once must not do so on top of the call, or the stack would overflow: of call
     * and answer, whoever comes second goes on.
     */
    private record AsyncCaller(
            Job job, Tally tally, long nanos, CountDownLatch finished,
            AtomicReference<@Nullable Throwable> failure, AtomicInteger come) {

        AsyncCaller(Job job, Tally tally, long nanos, CountDownLatch finished,
                AtomicReference<@Nullable Throwable> failure) {
            this(job, tally, nanos, finished, failure, new AtomicInteger());
        }

        void run() {
            do {
                long begin = System.nanoTime();
                if (begin - tally.start() >= nanos || failure.get() != null) {
                    finished.countDown();
                    return;
                }
                come.set(0);
                start().whenComplete((units, error) -> answered(begin, units, error));
            } while (come.incrementAndGet() == 2);
        }

        private CompletionStage<Long> start() {
            try {
                return job.start();
            } catch (RuntimeException e) {
                return CompletableFuture.failedFuture(e);
            }
        }

        private void answered(long begin, @Nullable Long units, @Nullable Throwable error) {
            if (units == null) {
                failure.compareAndSet(null, error);
            } else {
                tally.add(begin, System.nanoTime(), units);
            }
            if (come.incrementAndGet() == 2) {
                run();
            }
        }
    }

    /**
     * Calls that come when they come, at random, so many a second in the mean. A call's time begins
     * when it was due, even if those before it have held it up: nothing is omitted.
     */
    static Slice open(Job job, double perSecond, long nanos) throws InterruptedException {
        AtomicLong open = new AtomicLong(1);
        CountDownLatch finished = new CountDownLatch(1);
        AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
        Tally tally = new Tally();
        double due = 0;
        while (failure.get() == null) {
            due += -Math.log(1 - ThreadLocalRandom.current().nextDouble()) * 1e9 / perSecond;
            if (due >= nanos) {
                break;
            }
            long at = tally.start() + (long) due;
            for (long left = at - System.nanoTime(); left > 0; left = at - System.nanoTime()) {
                LockSupport.parkNanos(left);
            }
            open.incrementAndGet();
            job.start().whenComplete((units, error) -> {
                if (units == null) {
                    failure.compareAndSet(null, error);
                } else {
                    tally.add(at, System.nanoTime(), units);
                }
                if (open.decrementAndGet() == 0) {
                    finished.countDown();
                }
            });
        }
        if (open.decrementAndGet() > 0) {
            finished.await();
        }
        throwIfAny(failure);
        return tally.slice();
    }
}
