package io.github.pgquota.tool.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;

/** A line's slices, one a round. */
record Series(Line line, List<Slice> rounds) {

    Series(Line line) {
        this(line, new ArrayList<>());
    }

    /** A figure over the rounds. */
    Spread spread(Figure figure) {
        return Spread.of(rounds.stream().mapToDouble(figure::of).toArray());
    }

    /**
     * Figure by figure, round by round: a pair ran within seconds, so what else the machine did
     * meanwhile weighs on both.
     */
    Spread ratio(Figure figure, Series other, Figure otherFigure) {
        return Spread.of(IntStream.range(0, rounds.size())
                .mapToDouble(i -> figure.of(rounds.get(i)) / otherFigure.of(other.rounds.get(i)))
                .toArray());
    }

    /** The median of a figure over the rounds, and its extremes. */
    record Spread(double median, double min, double max) {

        static Spread of(double... values) {
            double[] sorted = values.clone();
            Arrays.sort(sorted);
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
