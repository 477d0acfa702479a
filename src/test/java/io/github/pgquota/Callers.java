package io.github.pgquota;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** Threads that begin at the same moment. */
final class Callers {

    /** What a caller does; it is told its number, from 0. */
    @FunctionalInterface
    interface Work<T> {
        T call(int caller) throws Exception;
    }

    private Callers() {}

    /** What each of n callers returned. The first that failed fails the test. */
    static <T> List<T> run(int n, Work<T> work) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(n);
        try {
            CountDownLatch ready = new CountDownLatch(n);
            List<Future<T>> futures = new ArrayList<>();
            for (int i = 0; i < n; i++) {
                int caller = i;
                futures.add(threads.submit(() -> {
                    ready.countDown();
                    ready.await();
                    return work.call(caller);
                }));
            }
            List<T> results = new ArrayList<>();
            for (Future<T> future : futures) {
                results.add(future.get(120, TimeUnit.SECONDS));
            }
            return results;
        } catch (ExecutionException e) {
            if (e.getCause() instanceof Exception cause) {
                throw cause;
            }
            throw e;
        } finally {
            threads.shutdownNow();
        }
    }
}
