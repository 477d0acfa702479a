package io.github.pgquota.tool.bench;

import io.github.pgquota.tool.bench.Series.Spread;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Paths side by side on one workload, and what is promised about them.
 *
 * @param name for the command line
 * @param inShortRun whether it is measured if nobody asks for it
 * @param workload what is called
 * @param callers how many call at once
 * @param kind what a caller is
 * @param rttMillis network time added to each round trip
 * @param entries who is called: {@code PATH}, or {@code WORKLOAD/PATH@CALLERS} with what differs
 * @param goals promises
 */
record Row(
        String name, boolean inShortRun, String workload, int callers, String kind,
        double rttMillis, List<String> entries, List<Goal> goals) {

    /** For those who can be called neither by futures nor by virtual threads. */
    private static final int MOST_THREADS = 512;

    /** A ratio of two figures, or, with nothing against it, a figure; between two bounds. */
    record Goal(
            Figure figure, String entry, Figure otherFigure, @Nullable String other, double least,
            double most) {

        /** What came of it, if both were measured. */
        @Nullable Target target(Row row, Map<Line, Series> measured) {
            Series one = measured.get(row.line(entry));
            if (one == null) {
                return null;
            }
            String what = words(figure) + one.line();
            if (other == null) {
                return new Target(what, one.spread(figure), least, most);
            }
            Series against = measured.get(row.line(other));
            if (against == null) {
                return null;
            }
            return new Target(what + " : " + words(otherFigure) + against.line(),
                    one.ratio(figure, against, otherFigure), least, most);
        }

        private static String words(Figure figure) {
            return figure == Figure.RATE ? "" : figure + " of ";
        }
    }

    static Row of(String name, String workload, int callers, String kind, String... entries) {
        return new Row(name, true, workload, callers, kind, 0, List.of(entries), List.of());
    }

    Row rtt(double millis) {
        return new Row(name, inShortRun, workload, callers, kind, millis, entries, goals);
    }

    /** Not measured unless somebody asks for it. */
    Row onRequest() {
        return new Row(name, false, workload, callers, kind, rttMillis, entries, goals);
    }

    /** The same in another way; what is promised holds for this way only. */
    Row with(@Nullable Integer newCallers, @Nullable String newKind, @Nullable Double newRtt,
            @Nullable List<String> newEntries) {
        if (newCallers == null && newKind == null && newRtt == null && newEntries == null) {
            return this;
        }
        return new Row(name, inShortRun, workload, newCallers == null ? callers : newCallers,
                newKind == null ? kind : newKind, newRtt == null ? rttMillis : newRtt,
                newEntries == null ? entries : newEntries, List.of());
    }

    private Row goal(Goal goal) {
        List<Goal> more = new ArrayList<>(goals);
        more.add(goal);
        return new Row(name, inShortRun, workload, callers, kind, rttMillis, entries, more);
    }

    /** One path does at least so many times the calls a second of the other. */
    Row atLeast(double times, String entry, String other) {
        return goal(new Goal(
                Figure.RATE, entry, Figure.RATE, other, times, Double.POSITIVE_INFINITY));
    }

    /** A latency of one path is at most so many times that of the other. */
    Row atMost(double times, Figure figure, String entry, Figure otherFigure, String other) {
        return goal(new Goal(
                figure, entry, otherFigure, other, Double.NEGATIVE_INFINITY, times));
    }

    /** A figure of a path lies between bounds. */
    Row between(double least, double most, Figure figure, String entry) {
        return goal(new Goal(figure, entry, figure, null, least, most));
    }

    List<Line> lines() {
        return entries.stream().map(this::line).toList();
    }

    /** The line of an entry. */
    Line line(String entry) {
        String[] parts = entry.split("@");
        String path = parts[0].substring(parts[0].indexOf('/') + 1);
        String called = parts[0].contains("/") ? parts[0].split("/")[0] : workload;
        int calling = parts.length > 1 ? Integer.parseInt(parts[1]) : callers;
        if (!kind.equals(Line.ASYNC) || isAsync(path)) {
            return new Line(called, path, calling, kind, rttMillis);
        }
        if (Client.hasVirtualThreads() && calling > MOST_THREADS) {
            return new Line(called, path, calling, Line.VIRTUAL, rttMillis);
        }
        return new Line(
                called, path, Math.min(calling, MOST_THREADS), Line.PLATFORM, rttMillis);
    }

    private static boolean isAsync(String path) {
        return path.startsWith("async") || path.equals("redis");
    }
}
