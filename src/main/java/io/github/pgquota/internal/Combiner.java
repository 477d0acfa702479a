package io.github.pgquota.internal;

import io.github.pgquota.Combining;
import io.github.pgquota.Decision;
import io.github.pgquota.QuotaException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;

/**
 * Decides calls together: what arrives while statements are under way forms the next one. A call
 * that finds nothing under way goes at once, on its caller's thread. Safe for concurrent use.
 */
final class Combiner {

    private final Database database;
    private final Combining bounds;
    private final long longestWait;
    private final Executor completions;
    private final CallQueue queue;
    private final AtomicInteger underWay = new AtomicInteger();
    private final AtomicBoolean watched = new AtomicBoolean();
    private final ExecutorService senders = Executors.newCachedThreadPool(work -> {
        Thread thread = new Thread(work, "pgquota-combiner");
        thread.setDaemon(true);
        return thread;
    });
    private volatile boolean closed;

    /** @param completions completes futures */
    Combiner(Database database, Combining bounds, Executor completions) {
        this.database = database;
        this.bounds = bounds;
        this.longestWait = bounds.longestWait().toNanos();
        this.completions = completions;
        this.queue = new CallQueue(bounds.longestQueue());
    }

    /** Waits for the decision. */
    Decision decide(Change change) {
        if (closed) {
            return alone(change);
        }
        if (queue.isEmpty() && begin()) {
            try {
                return alone(change);
            } finally {
                underWay.decrementAndGet();
                start();
            }
        }
        if (Thread.currentThread().isInterrupted()) {
            throw new QuotaException.Withdrawn(); // it would not wait, and then not know
        }
        Waiting call = new Waiting(change, System.nanoTime() + longestWait);
        queue(call);
        return call.await();
    }

    /** Completes a future with the decision, by the executor. */
    CompletableFuture<Decision> submit(Change change) {
        if (closed) {
            return CompletableFuture.failedFuture(new QuotaException.Unavailable(
                    "these quotas are closed", null, null));
        }
        Promise call = new Promise(change, System.nanoTime() + longestWait);
        try {
            queue(call);
            return call.future;
        } catch (QuotaException e) {
            return CompletableFuture.failedFuture(e);
        }
    }

    /** Lets every call that has come in have its answer. */
    void close() {
        closed = true;
        boolean interrupted = false;
        while (queue.size() > 0 || underWay.get() > 0) {
            // who ends the last statement does not know that somebody waits
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(1));
            interrupted |= Thread.interrupted();
        }
        senders.shutdown();
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private Decision alone(Change change) {
        return Answers.decision(change, database.single(
                connection -> Store.apply(connection, List.of(change), null)).get(0), 0);
    }

    /** Whether one more statement may be under way; the caller begins it. */
    private boolean begin() {
        int now = underWay.get();
        return now < bounds.statements()
                && (underWay.compareAndSet(now, now + 1) || begin());
    }

    /** Does not leave waiting what came in while a statement was under way. */
    private void start() {
        if (!queue.isEmpty() && begin()) {
            elsewhere(this::send);
        }
    }

    /** Does it on a thread of its own; on this one if there is none, as there is after a close. */
    private void elsewhere(Runnable work) {
        try {
            senders.execute(work);
        } catch (RejectedExecutionException | OutOfMemoryError e) {
            work.run();
        }
    }

    private void queue(Call call) {
        if (!queue.add(call)) {
            throw overloaded("longestQueue", bounds.longestQueue());
        }
        start();
        watch();
    }

    /** Sends what waits until nothing does. */
    private void send() {
        do {
            try {
                List<Run> runs = queue.take(bounds.largestBatch());
                while (!runs.isEmpty()) {
                    send(runs);
                    runs = queue.take(bounds.largestBatch());
                }
            } finally {
                underWay.decrementAndGet();
            }
        } while (!queue.isEmpty() && begin());
    }

    private void send(List<Run> runs) {
        try {
            List<Change> changes = new ArrayList<>(runs.size());
            int[] times = new int[runs.size()];
            for (Run run : runs) {
                times[changes.size()] = run.calls().size();
                changes.add(run.change());
            }
            List<List<Row>> answers = database.statement(c -> Store.apply(c, changes, times));
            for (int i = 0; i < answers.size(); i++) {
                List<Call> calls = runs.get(i).calls();
                for (int n = 0; n < calls.size(); n++) {
                    calls.get(n).answer(answers.get(i), n);
                }
            }
        } catch (Failed e) {
            if (e.isRefusal() && halves(runs)) {
                return;
            }
            fail(runs, e);
        } catch (RuntimeException | Error e) {
            fail(runs, () -> new IllegalStateException("a batch of calls failed", e));
        }
        wake(runs);
    }

    /** One call that the database refuses fails alone: the others go without it. */
    private boolean halves(List<Run> runs) {
        int size = runs.size();
        if (size > 1) {
            send(runs.subList(0, size / 2));
            send(runs.subList(size / 2, size));
            return true;
        }
        Run run = runs.get(0);
        int calls = run.calls().size();
        if (calls > 1) {
            send(List.of(run.part(0, calls / 2)));
            send(List.of(run.part(calls / 2, calls)));
        }
        return calls > 1;
    }

    private static void fail(List<Run> runs, Failure failure) {
        for (Run run : runs) {
            run.calls().forEach(call -> call.fail(failure));
        }
    }

    private void wake(List<Run> runs) {
        runs.forEach(run -> run.calls().forEach(this::wake));
    }

    private void wake(Call call) {
        if (call instanceof Waiting waiting) {
            waiting.wake();
            return;
        }
        // each by itself: what depends on one may wait for another
        Runnable completion = ((Promise) call)::complete;
        try {
            completions.execute(completion);
        } catch (RuntimeException | Error e) { // full, closed, or broken
            elsewhere(completion);
        }
    }

    /** Looks for calls that have waited too long, as long as any waits. */
    private void watch() {
        if (!watched.get() && watched.compareAndSet(false, true)) {
            look(longestWait);
        }
    }

    private void look(long nanos) {
        CompletableFuture.delayedExecutor(nanos, TimeUnit.NANOSECONDS, this::elsewhere)
                .execute(() -> {
                    long now = System.nanoTime();
                    List<Call> late = new ArrayList<>();
                    Long next = queue.expire(now,
                            () -> overloaded("longestWait", bounds.longestWait()), late);
                    late.forEach(this::wake);
                    if (next != null) {
                        look(next - now);
                        return;
                    }
                    watched.set(false);
                    if (!queue.isEmpty()) {
                        watch();
                    }
                });
    }

    private static QuotaException overloaded(String bound, Object value) {
        return new QuotaException.Overloaded(bound, value);
    }
}
