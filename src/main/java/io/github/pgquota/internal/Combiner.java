package io.github.pgquota.internal;

import io.github.pgquota.Combining;
import io.github.pgquota.Decision;
import io.github.pgquota.QuotaException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
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

    /** The same while it is looked for whose counter that is. */
    private static final int PROBE = 10;

    /** Nanoseconds between two looks for calls that have waited too long. */
    private static final long LOOKS = TimeUnit.MILLISECONDS.toNanos(1);

    private final Database database;
    private final Combining bounds;

    /** How long a tenant waits by itself for a locked counter. */
    private final Waits patiently;

    /** The same with {@link #PATIENCE}. */
    private final Waits briefly;
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
    Combiner(Database database, Combining bounds, Waits waits,
            @Nullable Executor completions) {
        this.database = database;
        this.bounds = bounds;
        this.patiently = waits.lock(Math.max(waits.lock(), PATIENCE + 1));
        this.briefly = waits.lock(PATIENCE);
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
            boolean mine = false;
            try {
                mine = queue.occupy(tenant);
            } finally {
                if (!mine) {
                    end();
                }
            }
            if (mine) {
                return atOnce(change, tenant);
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
            return alone(change, patiently);
        } catch (Failed e) {
            throw e.told();
        }
    }

    private Decision alone(Change change, Waits waits) throws Failed {
        List<List<Row>> answers;
        try {
            answers = database.statement(connection ->
                    Store.apply(connection, List.of(change), null, waits));
        } catch (RuntimeException e) {
            throw unknown(e).told();
        }
        return Answers.decision(change, answers.get(0), 0);
    }

    /** Sends a call that found nothing to wait for, as a statement that has begun. */
    private Decision atOnce(Change change, String tenant) {
        try {
            try {
                return alone(change, briefly);
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
                return alone(change, patiently);
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

    /** The same by one who sends: if there is no thread for another, he will look again himself. */
    private void another() {
        if (!queue.isEmpty() && begin()) {
            try {
                senders.execute(this::send);
            } catch (RejectedExecutionException | OutOfMemoryError e) {
                underWay.decrementAndGet();
            }
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
                    another(); // there may be enough for it
                    deliver(runs);
                    runs = queue.take(bounds.largestBatch());
                }
            } catch (RuntimeException | Error e) {
                end();
                throw e;
            }
            underWay.decrementAndGet();
        } while (!queue.isEmpty() && begin());
    }

    /** Whatever happens, all are told. */
    private void deliver(List<Run> runs) {
        try {
            send(runs, briefly);
        } catch (RuntimeException | Error e) {
            fail(runs, unknown(e));
            wake(runs);
            throw e;
        }
    }

    /** Sends calls, with all of a tenant's that were taken. Each is told, or goes on by itself. */
    private void send(List<Run> runs, Waits waits) {
        Failed e = attempt(runs, waits);
        if (e == null || !e.isRefusal() && !(e.isLocked() && isBrief(waits))) {
            fail(runs, e);
            wake(runs);
            return;
        }
        List<List<Run>> tenants = tenants(runs);
        int n = tenants.size();
        if (n > 1) {
            Waits left = e.isLocked() ? waits.lock(Math.min(waits.lock(), PROBE)) : waits;
            send(joined(tenants.subList(0, n / 2)), left);
            another(); // the tenants of the first half may have sent again
            send(joined(tenants.subList(n / 2, n)), left);
        } else if (e.isRefusal()) {
            pick(runs, e, waits);
            wake(runs);
        } else {
            apart(runs);
        }
    }

    private static boolean isBrief(Waits waits) {
        return waits.lock() <= PATIENCE;
    }

    /** Gives calls their answers, or says why there are none. */
    private @Nullable Failed attempt(List<Run> runs, Waits waits) {
        try {
            List<Change> changes = new ArrayList<>(runs.size());
            int[] times = new int[runs.size()];
            for (Run run : runs) {
                times[changes.size()] = run.calls().size();
                changes.add(run.change());
            }
            List<List<Row>> answers = database.statement(c ->
                    Store.apply(c, changes, times, waits));
            for (int i = 0; i < answers.size(); i++) {
                List<Call> calls = runs.get(i).calls();
                for (int n = 0; n < calls.size(); n++) {
                    calls.get(n).answer(answers.get(i), n);
                }
            }
            return null;
        } catch (Failed e) {
            return e;
        } catch (RuntimeException | Error e) {
            fail(runs, unknown(e));
            return null;
        }
    }

    /** It may have been sent. */
    private static Failure unknown(Throwable e) {
        return () -> new QuotaException.OutcomeUnknown(null, e);
    }

    /**
     * Of calls of one tenant that the database refuses, that one fails alone of which it does so:
     * the others go without it, in order.
     */
    private void pick(List<Run> runs, Failed refusal, Waits waits) {
        List<List<Run>> halves = halves(runs);
        if (halves.isEmpty()) {
            fail(runs, refusal);
        }
        for (List<Run> half : halves) {
            Failed e = attempt(half, waits);
            if (e != null && e.isLocked() && isBrief(waits)) {
                e = attempt(half, patiently);
            }
            if (e != null && e.isRefusal()) {
                pick(half, e, waits);
            } else {
                fail(half, e);
            }
        }
    }

    /** None of a single call. */
    private static List<List<Run>> halves(List<Run> runs) {
        int n = runs.size();
        if (n > 1) {
            return List.of(runs.subList(0, n / 2), runs.subList(n / 2, n));
        }
        Run run = runs.get(0);
        int calls = run.calls().size();
        return calls == 1 ? List.of()
                : List.of(List.of(run.part(0, calls / 2)), List.of(run.part(calls / 2, calls)));
    }

    /** A tenant whose counter is locked goes by itself, and nobody waits with it. */
    private void apart(List<Run> runs) {
        apart.incrementAndGet();
        elsewhere(() -> {
            try {
                mayWait();
                try {
                    send(runs, patiently);
                } finally {
                    patient.release();
                }
            } catch (QuotaException e) {
                fail(runs, () -> overloaded("longestWait", bounds.longestWait()));
                wake(runs);
            } catch (RuntimeException | Error e) {
                fail(runs, unknown(e));
                wake(runs);
                throw e;
            } finally {
                apart.decrementAndGet();
                start(); // what has come in meanwhile
            }
        });
    }

    private static List<List<Run>> tenants(List<Run> runs) {
        return List.copyOf(runs.stream().collect(Collectors.groupingBy(
                Run::tenant, LinkedHashMap::new, Collectors.toList())).values());
    }

    private static List<Run> joined(List<List<Run>> groups) {
        return groups.stream().flatMap(List::stream).toList();
    }

    /** Those that have no answer yet; null if all have. */
    private static void fail(List<Run> runs, @Nullable Failure failure) {
        if (failure != null) {
            for (Run run : runs) {
                run.calls().stream().filter(call -> !call.isAnswered())
                        .forEach(call -> call.fail(failure));
            }
        }
    }

    /**
     * What is answered is told, and its tenants may send again. In this order: threads that are
     * woken first are back for the next statement. But what depends on a future may take its time,
     * perhaps on this thread.
     */
    private void wake(List<Run> runs) {
        List<Promise> promises = new ArrayList<>();
        Set<String> tenants = new HashSet<>();
        for (Run run : runs) {
            wake(run.calls(), promises);
            tenants.add(run.tenant());
        }
        tenants.forEach(queue::release);
        if (!promises.isEmpty() && completions != own) {
            another();
        }
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
                    if (next != null) {
                        look(Math.max(next - now, LOOKS));
                    } else {
                        watched.set(false);
                        if (queue.size() > 0) {
                            watch();
                        }
                    }
                    // at last, as what depends on a future may take its time on this thread
                    List<Promise> promises = new ArrayList<>();
                    wake(late, promises);
                    complete(promises);
                });
    }

    private static QuotaException overloaded(String bound, Object value) {
        return new QuotaException.Overloaded(bound, value);
    }
}
