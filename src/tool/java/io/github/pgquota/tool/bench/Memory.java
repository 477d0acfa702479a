package io.github.pgquota.tool.bench;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Heap in use after so many calls: what the library, the pool and the driver keep. */
final class Memory {

    private static final int THREADS = 8;
    private static final int MIX = 64;
    private static final int DENIED = 4;
    private static final double MEGABYTE = 1 << 20;

    private final List<Contender.Local> contenders;

    private Memory(List<Contender.Local> contenders) {
        this.contenders = contenders;
    }

    /** Heap after a number of calls. */
    record Reading(long calls, double megabytes) {

        @Override
        public String toString() {
            return String.format(Locale.ROOT, "%,d calls: %.1f MB", calls, megabytes);
        }
    }

    /**
     * Calls until each of the given numbers is reached. Most are unkeyed consumes, the quickest; a
     * few are denied, keyed, or a reservation, so that nothing can be kept by scope, key or hold.
     */
    static List<Reading> measure(Door door, long... calls) throws Exception {
        List<Contender.Local> mix = new ArrayList<>();
        mix.addAll(Collections.nCopies(DENIED, of(door, "denied")));
        mix.add(of(door, "keyed"));
        mix.add(of(door, "reserve"));
        mix.addAll(Collections.nCopies(MIX - mix.size(), of(door, "spread")));
        return new Memory(mix).measure(calls);
    }

    private static Contender.Local of(Door door, String workload) throws Exception {
        return door.contender(Line.of(workload, "combined", THREADS));
    }

    private List<Reading> measure(long... calls) throws Exception {
        List<Reading> readings = new ArrayList<>();
        ExecutorService threads = Executors.newFixedThreadPool(THREADS);
        try {
            long done = 0;
            for (long goal : calls) {
                call(threads, goal - done);
                done = goal;
                readings.add(new Reading(done, heap()));
            }
            return readings;
        } finally {
            threads.shutdownNow();
        }
    }

    private void call(ExecutorService threads, long calls) throws Exception {
        List<Future<?>> parts = new ArrayList<>();
        for (int t = 0; t < THREADS; t++) {
            long from = calls * t / THREADS;
            long to = calls * (t + 1) / THREADS;
            parts.add(threads.submit(() -> {
                for (long i = from; i < to; i++) {
                    contenders.get((int) (i % contenders.size())).call();
                }
                return null;
            }));
        }
        for (Future<?> part : parts) {
            part.get();
        }
    }

    private static double heap() {
        for (int i = 0; i < 3; i++) {
            System.gc();
        }
        Runtime runtime = Runtime.getRuntime();
        return (runtime.totalMemory() - runtime.freeMemory()) / MEGABYTE;
    }
}
