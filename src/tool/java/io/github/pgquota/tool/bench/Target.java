package io.github.pgquota.tool.bench;

import io.github.pgquota.tool.bench.Series.Spread;
import java.util.Locale;

/**
 * A promise about figures, and what came of it.
 *
 * @param what the figure in words
 * @param figure median and extremes
 * @param format of the figure
 */
record Target(String what, Spread figure, String format, double least, double most) {

    static Target atLeast(double least, String what, Spread figure) {
        return new Target(what, figure, "%.2f", least, Double.POSITIVE_INFINITY);
    }

    static Target atMost(double most, String what, Spread figure) {
        return new Target(what, figure, "%.2f", Double.NEGATIVE_INFINITY, most);
    }

    static Target between(double least, double most, String what, Spread figure) {
        return new Target(what, figure, "%.2f", least, most);
    }

    boolean reached() {
        return figure.median() >= least && figure.median() <= most;
    }

    @Override
    public String toString() {
        return String.format(Locale.ROOT, "%-7s %-62s %-20s target %s",
                reached() ? "reached" : "MISSED", what, figure.text(format), bounds());
    }

    private String bounds() {
        String low = String.format(Locale.ROOT, format, least);
        String high = String.format(Locale.ROOT, format, most);
        if (Double.isInfinite(most)) {
            return "≥ " + low;
        }
        return Double.isInfinite(least) ? "≤ " + high : low + " to " + high;
    }
}
