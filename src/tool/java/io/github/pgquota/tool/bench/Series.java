package io.github.pgquota.tool.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;
import java.util.stream.IntStream;

/** A line's slices, one a round. */
record Series(Line line, List<Slice> rounds) {

    private static final double NANOS = 1e6;

    Series(Line line) {
        this(line, new ArrayList<>());
    }

    /** Calls a second. */
    Spread perSecond() {
        return over(Slice::perSecond);
    }

    /** Milliseconds that so many per cent of a round's calls took at most. */
    Spread millis(double percentile) {
        return over(slice -> slice.latency().getValueAtPercentile(percentile) / NANOS);
    }

    /**
     * Rate by rate, round by round: a pair ran within seconds, so what else the machine did
     * meanwhile weighs on both.
     */
    Spread ratioTo(Series other) {
        return Spread.of(IntStream.range(0, rounds.size())
                .mapToDouble(i -> rounds.get(i).perSecond() / other.rounds.get(i).perSecond())
                .toArray());
    }

    private Spread over(ToDoubleFunction<Slice> figure) {
        return Spread.of(rounds.stream().mapToDouble(figure).toArray());
    }

    /** The median of a figure over the rounds, and its extremes. */
    record Spread(double median, double min, double max) {

        static Spread of(double... values) {
            double[] sorted = values.clone();
            java.util.Arrays.sort(sorted);
            int n = sorted.length;
            return new Spread((sorted[(n - 1) / 2] + sorted[n / 2]) / 2, sorted[0], sorted[n - 1]);
        }

        /** Median and extremes, each in a format. */
        String text(String format) {
            return String.format(Locale.ROOT, format + " (" + format + "–" + format + ")",
                    median, min, max);
        }
    }
}
