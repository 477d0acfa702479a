package io.github.pgquota.tool.bench;

import java.util.function.ToDoubleFunction;

/** What is read off a slice. */
enum Figure {
    RATE("calls/s", "per_second", 1, Slice::perSecond),
    P50("p50 ms", "p50_ms", 3, slice -> slice.millis(50)),
    P99("p99 ms", "p99_ms", 3, slice -> slice.millis(99)),
    P999("p99.9 ms", "p999_ms", 3, slice -> slice.millis(99.9)),
    CLIENT("client µs", "client_cpu_us", 2, slice -> each(slice, slice.cost().clientNanos()) / 1e3),
    SERVER("server µs", "server_cpu_us", 2, slice -> each(slice, slice.cost().serverNanos()) / 1e3),
    WAL("WAL bytes", "wal_bytes", 1, slice -> each(slice, slice.cost().walBytes())),
    ALLOCATED("heap bytes", "allocated_bytes", 0,
            slice -> each(slice, slice.cost().allocatedBytes())),
    TRIPS("round trips", "round_trips", 3, slice -> each(slice, slice.cost().trips()));

    private final String words;
    private final String field;
    private final int digits;
    private final ToDoubleFunction<Slice> reading;

    Figure(String words, String field, int digits, ToDoubleFunction<Slice> reading) {
        this.words = words;
        this.field = field;
        this.digits = digits;
        this.reading = reading;
    }

    private static double each(Slice slice, double all) {
        return all / slice.calls();
    }

    double of(Slice slice) {
        return reading.applyAsDouble(slice);
    }

    /** Its name in a file. */
    String field() {
        return field;
    }

    /** Digits after the point that are written. */
    int digits() {
        return digits;
    }

    /** What it is, with its unit. */
    @Override
    public String toString() {
        return words;
    }
}
