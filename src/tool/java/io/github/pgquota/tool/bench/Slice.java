package io.github.pgquota.tool.bench;

import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;
import org.HdrHistogram.Histogram;

/**
 * A short stretch in which callers call one contender as fast as it answers.
 *
 * @param calls how many were answered
 * @param granted units granted by those answers
 * @param seconds from the common start to the last answer
 * @param latency nanoseconds a call
 */
record Slice(long calls, long granted, double seconds, Histogram latency) {

    private static final int DIGITS = 3;

    double perSecond() {
        return calls / seconds;
    }

    /** Runs it; the executor has at least as many threads as the line has callers. */
    static Slice run(Contender contender, ExecutorService callers, Duration length) {
        int n = contender.line().callers();
        AtomicLong start = new AtomicLong();
        CyclicBarrier together = new CyclicBarrier(n, () -> start.set(System.nanoTime()));
        Callable<Slice> caller = () -> caller(contender, together, start, length);
        try {
            List<Slice> parts = new ArrayList<>();
            for (Future<Slice> part : callers.invokeAll(Collections.nCopies(n, caller))) {
                parts.add(part.get());
            }
            return sum(parts);
        } catch (ExecutionException e) {
            throw new IllegalStateException(contender.line() + " fails", e.getCause());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }

    private static Slice caller(
            Contender contender, CyclicBarrier together, AtomicLong start, Duration length)
            throws InterruptedException, BrokenBarrierException, SQLException {
        Histogram latency = new Histogram(DIGITS);
        long granted = 0;
        together.await();
        long begin = System.nanoTime();
        long end = start.get() + length.toNanos();
        while (begin < end) {
            granted += contender.call();
            long now = System.nanoTime();
            latency.recordValue(now - begin);
            begin = now;
        }
        return new Slice(latency.getTotalCount(), granted, (begin - start.get()) / 1e9, latency);
    }

    private static Slice sum(List<Slice> parts) {
        Histogram latency = new Histogram(DIGITS);
        long granted = 0;
        double seconds = 0;
        for (Slice part : parts) {
            latency.add(part.latency());
            granted += part.granted();
            seconds = Math.max(seconds, part.seconds());
        }
        return new Slice(latency.getTotalCount(), granted, seconds, latency);
    }
}
