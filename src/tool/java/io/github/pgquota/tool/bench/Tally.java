package io.github.pgquota.tool.bench;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAccumulator;
import java.util.concurrent.atomic.LongAdder;
import org.HdrHistogram.AtomicHistogram;
import org.HdrHistogram.Histogram;

/**
 * Counts the answers of a slice, from any number of threads: in a few histograms that threads
 * share, as ten thousand of them would take gigabytes.
 */
final class Tally {

    private static final int DIGITS = 3;
    private static final long LONGEST = TimeUnit.HOURS.toNanos(1);
    private static final int STRIPES = 8;

    private final AtomicHistogram[] latency = new AtomicHistogram[STRIPES];
    private final LongAdder granted = new LongAdder();
    private final LongAccumulator lastAnswer = new LongAccumulator(Math::max, 0);
    private final Cost before = Client.read();
    private final long start;

    /** Begins now. */
    Tally() {
        for (int i = 0; i < STRIPES; i++) {
            latency[i] = new AtomicHistogram(LONGEST, DIGITS);
        }
        start = System.nanoTime();
    }

    long start() {
        return start;
    }

    /** An answer that came at a time to a call that was due at another. */
    void add(long due, long answered, long units) {
        long nanos = Math.min(Math.max(answered - due, 0), LONGEST);
        latency[(int) (Thread.currentThread().getId() % STRIPES)].recordValue(nanos);
        granted.add(units);
        lastAnswer.accumulate(answered - start);
    }

    /** All of them; everybody has been answered. */
    Slice slice() {
        Histogram all = new Histogram(DIGITS);
        for (AtomicHistogram part : latency) {
            all.add(part);
        }
        return new Slice(all.getTotalCount(), granted.sum(), lastAnswer.get() / 1e9, all,
                Client.read().minus(before));
    }
}
