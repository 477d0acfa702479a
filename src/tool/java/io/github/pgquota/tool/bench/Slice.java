package io.github.pgquota.tool.bench;

import java.nio.ByteBuffer;
import java.util.Base64;
import java.util.zip.DataFormatException;
import org.HdrHistogram.Histogram;

/**
 * A short stretch in which callers call one contender.
 *
 * @param calls how many were answered
 * @param granted units granted by those answers
 * @param seconds from the common start to the last answer
 * @param latency nanoseconds a call
 * @param cost what it took
 */
record Slice(long calls, long granted, double seconds, Histogram latency, Cost cost) {

    double perSecond() {
        return calls / seconds;
    }

    /** Milliseconds that so many per cent of the calls took at most. */
    double millis(double percentile) {
        return latency.getValueAtPercentile(percentile) / 1e6;
    }

    /** The same with what the server spent. */
    Slice and(Cost server) {
        return new Slice(calls, granted, seconds, latency, cost.and(server));
    }

    Slice withoutClient() {
        return new Slice(calls, granted, seconds, latency, new Cost(Double.NaN,
                cost.serverNanos(), cost.walBytes(), Double.NaN, cost.trips()));
    }

    /** Both, which ran at the same time. */
    Slice plus(Slice other) {
        Histogram both = latency.copy();
        both.add(other.latency);
        return new Slice(calls + other.calls, granted + other.granted,
                Math.max(seconds, other.seconds), both, cost.plus(other.cost));
    }

    /** One line of text, for {@link #decode}. */
    String encode() {
        ByteBuffer bytes = ByteBuffer.allocate(latency.getNeededByteBufferCapacity());
        int length = latency.encodeIntoCompressedByteBuffer(bytes);
        byte[] histogram = java.util.Arrays.copyOf(bytes.array(), length);
        return String.join(" ", Long.toString(calls), Long.toString(granted),
                Double.toString(seconds), Double.toString(cost.clientNanos()),
                Double.toString(cost.allocatedBytes()),
                Base64.getEncoder().encodeToString(histogram));
    }

    static Slice decode(String text) {
        String[] words = text.split(" ");
        Cost cost = new Cost(Double.parseDouble(words[3]), Double.NaN, Double.NaN,
                Double.parseDouble(words[4]), Double.NaN);
        try {
            Histogram latency = Histogram.decodeFromCompressedByteBuffer(
                    ByteBuffer.wrap(Base64.getDecoder().decode(words[5])), 0);
            return new Slice(Long.parseLong(words[0]), Long.parseLong(words[1]),
                    Double.parseDouble(words[2]), latency, cost);
        } catch (DataFormatException e) {
            throw new IllegalArgumentException(text, e);
        }
    }
}
