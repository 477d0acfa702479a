package io.github.pgquota.tool.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.function.DoubleSupplier;
import java.util.function.Supplier;
import java.util.stream.LongStream;
import java.util.stream.Stream;

/**
 * Readings of a server that only grow: the difference is what was spent.
 *
 * @param cpu nanoseconds, NaN where nobody can tell
 * @param wal bytes, NaN if it has none
 * @param trips round trips that a proxy has counted, NaN without one
 */
record Gauge(DoubleSupplier cpu, DoubleSupplier wal, DoubleSupplier trips) {

    static final DoubleSupplier NONE = () -> Double.NaN;

    /** What was spent by now. */
    Cost read() {
        return new Cost(Double.NaN, cpu.getAsDouble(), wal.getAsDouble(), Double.NaN,
                trips.getAsDouble());
    }

    /** The CPU that processes of this machine have used, on Linux: all threads that still live. */
    static DoubleSupplier cpu(Supplier<LongStream> pids) {
        return () -> pids.get().mapToDouble(Gauge::nanos).sum();
    }

    private static double nanos(long pid) {
        try (Stream<Path> threads = Files.list(Path.of("/proc", Long.toString(pid), "task"))) {
            return threads.mapToDouble(thread -> firstNumber(thread.resolve("schedstat"))).sum();
        } catch (IOException | UncheckedIOException e) {
            return Files.exists(Path.of("/proc/self/schedstat")) ? 0 : Double.NaN; // it has ended
        }
    }

    private static double firstNumber(Path file) {
        try {
            return Double.parseDouble(List.of(Files.readString(file).split(" ")).get(0));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
