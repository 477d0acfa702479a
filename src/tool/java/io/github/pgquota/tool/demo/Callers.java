package io.github.pgquota.tool.demo;

import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;

/** Callers that work through a list together, each taking the next item as soon as it is free. */
final class Callers {

    /** What a caller does with an item. */
    interface Work {
        /** Returns false if the caller died of it; another one takes its place. */
        boolean on(int item) throws Exception;
    }

    private final int items;
    private final Progress progress;
    private final Work work;
    private final AtomicInteger next = new AtomicInteger();
    private final AtomicReference<Throwable> failure = new AtomicReference<>();
    private final CountDownLatch gate = new CountDownLatch(1);
    private final CountDownLatch ended;

    private Callers(int callers, int items, Progress progress, Work work) {
        this.items = items;
        this.progress = progress;
        this.work = work;
        this.ended = new CountDownLatch(callers);
    }

    /**
     * Works through items 0 … {@code items} - 1, and returns how long that took.
     *
     * @throws Exception the first that a caller met; the others end after their item
     */
    static Duration run(int callers, int items, Progress progress, Work work) throws Exception {
        return new Callers(callers, items, progress, work).run(callers);
    }

    private Duration run(int callers) throws Exception {
        for (int i = 0; i < callers; i++) {
            start();
        }
        long before = System.nanoTime();
        gate.countDown();
        ended.await();
        long nanos = System.nanoTime() - before;
        Throwable met = failure.get();
        if (met instanceof Error error) {
            throw error;
        }
        if (met != null) {
            throw (Exception) met;
        }
        return Duration.ofNanos(nanos);
    }

    private void start() {
        Thread caller = new Thread(this::call, "caller");
        caller.setDaemon(true);
        caller.start();
    }

    private void call() {
        boolean alive = true;
        try {
            gate.await();
            while (alive && failure.get() == null) {
                int item = next.getAndIncrement();
                if (item >= items) {
                    break;
                }
                alive = work.on(item);
                progress.step();
            }
        } catch (Throwable e) {
            failure.compareAndSet(null, e);
        }
        if (alive) {
            ended.countDown();
        } else {
            start();
        }
    }
}
