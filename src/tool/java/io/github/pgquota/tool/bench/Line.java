package io.github.pgquota.tool.bench;

import java.util.Locale;

/**
 * What a figure is about; a line of the table.
 *
 * @param workload what is called
 * @param path who answers
 * @param callers how many call at once, each waiting for its answer
 * @param kind what a caller is: platform, virtual or async
 * @param rttMillis network time added to each round trip
 */
record Line(String workload, String path, int callers, String kind, double rttMillis) {

    static final String PLATFORM = "platform";
    static final String VIRTUAL = "virtual";
    static final String ASYNC = "async";

    static Line of(String workload, String path, int callers) {
        return new Line(workload, path, callers, PLATFORM, 0);
    }

    /** The same of another path. */
    Line path(String other) {
        return new Line(workload, other, callers, kind, rttMillis);
    }

    @Override
    public String toString() {
        String where = String.format(Locale.ROOT, "%s %s, %,d %s", workload, path, callers, kind);
        return rttMillis == 0 ? where : where + String.format(Locale.ROOT, ", %.1f ms", rttMillis);
    }
}
