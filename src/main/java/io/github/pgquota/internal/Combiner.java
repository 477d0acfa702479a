package io.github.pgquota.internal;

import io.github.pgquota.Combining;
import io.github.pgquota.Decision;
import io.github.pgquota.QuotaException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.ForkJoinTask;
import java.util.concurrent.ForkJoinWorkerThread;
import java.util.concurrent.RecursiveAction;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Decides calls together: what arrives while statements are under way forms the next one. A call
 * that finds nothing under way goes at once, on its caller's thread. Safe for concurrent use.
 */
final class Combiner {

    /**
     * Milliseconds that a statement waits for a counter that somebody else has locked, such as a
     * transaction of the application. After that its tenant goes by itself, and nobody else waits
     * with it.
     */
    private static final int PATIENCE = 100;

    private final Database database;
    private final Combining bounds;
    private final long longestWait;
    private final Executor completions;
    private final CallQueue queue;
    private final AtomicInteger underWay = new AtomicInteger();

    /** For statements that wait longer for a locked counter, beside those under way. */
    private final Semaphore patient;

    /** Those, and who waits to be one. */
    private final AtomicInteger apart = new AtomicInteger();
    private final AtomicBoolean watched = new AtomicBoolean();
    private final ExecutorService senders = Executors.newCachedThreadPool(work -> {
        Thread thread = new Thread(work, "pgquota-combiner");
        thread.setDaemon(true);
        return thread;
    });
    private final ForkJoinPool own = new ForkJoinPool(
            Math.max(2, Runtime.getRuntime().availableProcessors()), pool -> {
                ForkJoinWorkerThread thread =
                        ForkJoinPool.defaultForkJoinWorkerThreadFactory.newThread(pool);
                thread.setName("pgquota-async-" + thread.getPoolIndex());
                return thread;
            }, null, false);
    private volatile boolean closed;

    /** @param completions completes futures; null for threads of the library's own */
    Combiner(Database database, Combining bounds, @Nullable Executor completions) {
        this.database = database;
        this.bounds = bounds;
        this.longestWait = bounds.longestWait().toNanos();
        this.completions = completions == null ? own : completions;
        this.queue = new CallQueue(bounds.longestQueue(), bounds.statements());
        this.patient = new Semaphore(2 * bounds.statements(), true);
    }

    /** Waits for the decision. */
    Decision decide(Change change) {
        if (closed) {
            return alone(change);
        }
        String tenant = change.scope().tenant();
        if (!queue.isBusy(tenant) && queue.isEmpty() && begin()) {
            if (queue.occupy(tenant)) {
                return atOnce(change, tenant);
            }
            end();
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
        while (queue.size() > 0 || underWay.get() > 0 || apart.get() > 0) {
            // who ends the last statement does not know that somebody waits
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(1));
            interrupted |= Thread.interrupted();
        }
        senders.shutdown();
        own.shutdown();
        while (ForkJoinTask.getPool() != own && !own.isTerminated()) {
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

    private Decision alone(Change change) {
        try {
            return alone(change, null);
        } catch (Failed e) {
            throw e.told();
        }
    }

    private Decision alone(Change change, @Nullable Integer patience) throws Failed {
        return Answers.decision(change, database.statement(connection ->
                Store.apply(connection, List.of(change), null, patience)).get(0), 0);
    }

    /** Sends a call that found nothing to wait for, as a statement that has begun. */
    private Decision atOnce(Change change, String tenant) {
        try {
            try {
                return alone(change, PATIENCE);
            } catch (Failed e) {
                if (!e.isLocked()) {
                    throw e.told();
                }
            } finally {
                apart.incrementAndGet();
                end();
            }
            mayWait();
            try {
                return alone(change, longestPatience());
            } catch (Failed e) {
                throw e.told();
            } finally {
                patient.release();
            }
        } finally {
            queue.release(tenant);
            apart.decrementAndGet();
            start();
        }
    }

    /** Returns when one more statement may wait for a locked counter. */
    private void mayWait() {
        try {
            if (patient.tryAcquire(longestWait, TimeUnit.NANOSECONDS)) {
                return;
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new QuotaException.Withdrawn();
        }
        throw overloaded("longestWait", bounds.longestWait());
    }

    private int longestPatience() {
        return (int) Math.max(PATIENCE + 1, TimeUnit.NANOSECONDS.toMillis(longestWait));
    }

    /** Whether one more statement may be under way; the caller begins it. */
    private boolean begin() {
        int now = underWay.get();
        return now < bounds.statements()
                && (underWay.compareAndSet(now, now + 1) || begin());
    }

    private void end() {
        underWay.decrementAndGet();
        start();
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
        if (!queue.isBusy(call.tenant)) {
            start();
        } // else it is sent by who releases the tenant
        watch();
    }

    /** Sends what waits until nothing does. */
    private void send() {
        do {
            try {
                List<Run> runs = queue.take(bounds.largestBatch());
                while (!runs.isEmpty()) {
                    start(); // there may be enough for another statement
                    send(runs, PATIENCE);
                    runs = queue.take(bounds.largestBatch());
                }
            } finally {
                underWay.decrementAndGet();
            }
        } while (!queue.isEmpty() && begin());
    }

    private void send(List<Run> runs, int patience) {
        try {
            List<Change> changes = new ArrayList<>(runs.size());
            int[] times = new int[runs.size()];
            for (Run run : runs) {
                times[changes.size()] = run.calls().size();
                changes.add(run.change());
            }
            List<List<Row>> answers = database.statement(c ->
                    Store.apply(c, changes, times, patience));
            for (int i = 0; i < answers.size(); i++) {
                List<Call> calls = runs.get(i).calls();
                for (int n = 0; n < calls.size(); n++) {
                    calls.get(n).answer(answers.get(i), n);
                }
            }
        } catch (Failed e) {
            if (e.isRefusal() && halves(runs, patience)
                    || e.isLocked() && patience == PATIENCE && apart(runs)) {
                return;
            }
            fail(runs, e);
        } catch (RuntimeException | Error e) {
            fail(runs, () -> new QuotaException.OutcomeUnknown(null, e)); // it may have been sent
        }
        wake(runs);
    }

    /** One call that the database refuses fails alone: the others go without it. */
    private boolean halves(List<Run> runs, int patience) {
        int size = runs.size();
        if (size > 1) {
            send(runs.subList(0, size / 2), patience);
            send(runs.subList(size / 2, size), patience);
            return true;
        }
        Run run = runs.get(0);
        int calls = run.calls().size();
        if (calls > 1) {
            send(List.of(run.part(0, calls / 2)), patience);
            send(List.of(run.part(calls / 2, calls)), patience);
        }
        return calls > 1;
    }

    /** A tenant whose counter is locked goes by itself, and nobody waits with it. */
    private boolean apart(List<Run> runs) {
        Map<String, List<Run>> tenants = runs.stream().collect(Collectors.groupingBy(
                Run::tenant, LinkedHashMap::new, Collectors.toList()));
        List<List<Run>> groups = List.copyOf(tenants.values());
        int size = groups.size();
        if (size > 1) {
            send(joined(groups.subList(0, size / 2)), PATIENCE);
            send(joined(groups.subList(size / 2, size)), PATIENCE);
            return true;
        }
        apart.incrementAndGet();
        elsewhere(() -> {
            try {
                mayWait();
                try {
                    send(runs, longestPatience());
                } finally {
                    patient.release();
                }
            } catch (QuotaException e) {
                fail(runs, () -> overloaded("longestWait", bounds.longestWait()));
                wake(runs);
            } finally {
                apart.decrementAndGet();
                start(); // what has come in meanwhile
            }
        });
        return true;
    }

    private static List<Run> joined(List<List<Run>> groups) {
        return groups.stream().flatMap(List::stream).toList();
    }

    private static void fail(List<Run> runs, Failure failure) {
        for (Run run : runs) {
            run.calls().forEach(call -> call.fail(failure));
        }
    }

    /**
     * What is answered is told, and its tenants may send again. In this order: threads that are
     * woken first are back for the next statement. But what depends on a future may take its time.
     */
    private void wake(List<Run> runs) {
        List<Promise> promises = new ArrayList<>();
        Set<String> tenants = new HashSet<>();
        for (Run run : runs) {
            wake(run.calls(), promises);
            tenants.add(run.tenant());
        }
        tenants.forEach(queue::release);
        complete(promises);
    }

    /** Wakes those whose threads wait, and adds the others to the list. */
    private static void wake(List<Call> calls, List<Promise> promises) {
        for (Call call : calls) {
            if (call instanceof Waiting waiting) {
                waiting.wake();
            } else {
                promises.add((Promise) call);
            }
        }
    }

    private void complete(List<Promise> promises) {
        if (completions instanceof ForkJoinPool && !promises.isEmpty()) {
            complete(new Completion(promises, 0, promises.size())::invoke);
        } else {
            promises.forEach(promise -> complete(promise::complete));
        }
    }

    private void complete(Runnable completion) {
        try {
            completions.execute(completion);
        } catch (RuntimeException | Error e) { // full, closed, or broken
            elsewhere(completion);
        }
    }

    /**
     * Completes futures, each in a task of its own, because what depends on one may wait for
     * another: the rest is there for other threads to take.
     */
    private static final class Completion extends RecursiveAction {
        private static final long serialVersionUID = 1L;
        private final transient List<Promise> promises;
        private final int from;
        private final int to;

        Completion(List<Promise> promises, int from, int to) {
            this.promises = promises;
            this.from = from;
            this.to = to;
        }

        @Override
        protected void compute() {
            int end = to;
            while (end - from > 1) {
                int half = (from + end) / 2;
                new Completion(promises, half, end).fork();
                end = half;
            }
            promises.get(from).complete();
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
                    List<Promise> promises = new ArrayList<>();
                    wake(late, promises);
                    complete(promises);
                    if (next != null) {
                        look(next - now);
                        return;
                    }
                    watched.set(false);
                    if (queue.size() > 0) {
                        watch();
                    }
                });
    }

    private static QuotaException overloaded(String bound, Object value) {
        return new QuotaException.Overloaded(bound, value);
    }
}
