package io.github.pgquota.tool.bench;

import io.github.pgquota.tool.bench.Series.Spread;
import java.util.Locale;

/**
 * A promise about figures, and what came of it.
 *
 * @param what the figure in words
 * @param figure median and extremes
 */
record Target(String what, Spread figure, double least, double most) {

    static Target atLeast(double least, String what, Spread figure) {
        return new Target(what, figure, least, Double.POSITIVE_INFINITY);
    }

    static Target atMost(double most, String what, Spread figure) {
        return new Target(what, figure, Double.NEGATIVE_INFINITY, most);
    }

    /** No promise: only what came of it. */
    static Target none(String what, Spread figure) {
        return new Target(what, figure, Double.NEGATIVE_INFINITY, Double.POSITIVE_INFINITY);
    }

    boolean reached() {
        return figure.median() >= least && figure.median() <= most;
    }

    @Override
    public String toString() {
        if (Double.isInfinite(least) && Double.isInfinite(most)) {
            return String.format(Locale.ROOT, "%-7s %-82s %s", "is", what, figure.text("%.2f"));
        }
        return String.format(Locale.ROOT, "%-7s %-82s %-22s target %s",
                reached() ? "reached" : "MISSED", what, figure.text("%.2f"), bounds());
    }

    private String bounds() {
        String low = String.format(Locale.ROOT, "%.2f", least);
        String high = String.format(Locale.ROOT, "%.2f", most);
        if (Double.isInfinite(most)) {
            return "≥ " + low;
        }
        return Double.isInfinite(least) ? "≤ " + high : low + " to " + high;
    }
}
