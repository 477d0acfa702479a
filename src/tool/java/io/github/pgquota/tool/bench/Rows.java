package io.github.pgquota.tool.bench;

import java.util.List;

/** What is measured, side by side in each row, and what is promised. */
final class Rows {

    private static final String[] ALL = {
        "bare", "direct", "combined", "bucket4j-update", "bucket4j-advisory", "bucket4j-batching",
        "redis"
    };
    private static final String[] BEST = {
        "bare", "direct", "combined", "bucket4j-batching", "redis"
    };
    private static final int MANY = 512;
    private static final int MOST = 10_000;

    private Rows() {}

    static List<Row> all() {
        return List.of(
                Row.of("hot-64", "hot", 64, Line.PLATFORM, ALL)
                        .atLeast(1.3, "combined", "redis")
                        .atLeast(0.9, "combined", "bucket4j-batching")
                        .atLeast(15, "combined", "bare"),
                Row.of("hot-512", "hot", MANY, Line.PLATFORM, BEST)
                        .atLeast(3, "combined", "redis")
                        .atLeast(0.9, "combined", "bucket4j-batching")
                        .atLeast(30, "combined", "bare"),
                // ten thousand would wait for the one row for seconds, and get no more out of it
                most(Row.of("hot-virtual", "hot", MOST, Line.VIRTUAL,
                        "bare@512", "combined", "bucket4j-batching", "redis"), "combined"),
                most(Row.of("hot-async", "hot", MOST, Line.ASYNC,
                        "bare@512", "async", "bucket4j-batching", "redis"), "async"),
                far(Row.of("hot-64-near", "hot", 64, Line.PLATFORM, BEST).rtt(0.5)),
                far(Row.of("hot-64-far", "hot", 64, Line.PLATFORM, BEST).rtt(2)),
                Row.of("hot-1", "hot", 1, Line.PLATFORM, BEST)
                        .atMost(1.2, Figure.P50, "direct", Figure.P50, "bare")
                        .atMost(1.2, Figure.P50, "combined", Figure.P50, "bare"),
                Row.of("spread-64", "spread", 64, Line.PLATFORM,
                        "bare", "direct", "combined", "bucket4j-update", "redis"),
                Row.of("spread-512", "spread", MANY, Line.PLATFORM,
                                "bare", "direct", "combined", "bucket4j-update", "redis")
                        .atLeast(1, "combined", "redis")
                        .atLeast(4, "combined", "bare")
                        .atLeast(30, "combined", "bucket4j-update"),
                Row.of("spread-virtual", "spread", MOST, Line.VIRTUAL, "bare", "combined", "redis")
                        .atLeast(0.8, "combined", "redis")
                        .atLeast(5, "combined", "bare"),
                Row.of("spread-async", "spread", MOST, Line.ASYNC, "bare", "async", "redis")
                        .atLeast(0.8, "async", "redis")
                        .atLeast(5, "async", "bare"),
                Row.of("zipf-512", "zipf", MANY, Line.PLATFORM, BEST),
                Row.of("hierarchy-512", "hierarchy", MANY, Line.PLATFORM,
                                "spread/bare", "direct", "combined")
                        .atLeast(1, "combined", "spread/bare"),
                Row.of("keyed-hot-512", "keyed-hot", MANY, Line.PLATFORM,
                                "hot/combined", "direct", "combined")
                        .atLeast(0.5, "combined", "hot/combined"),
                Row.of("keyed-512", "keyed", MANY, Line.PLATFORM,
                                "spread/combined", "direct", "combined")
                        .atLeast(0.5, "combined", "spread/combined"),
                Row.of("reserve-512", "reserve", MANY, Line.PLATFORM,
                        "spread/bare", "direct", "combined"),
                Row.of("denied-512", "denied", MANY, Line.PLATFORM,
                                "hot/bare", "direct", "combined", "bucket4j-batching", "redis")
                        .atLeast(50, "combined", "hot/bare")
                        .between(0, 1, Figure.WAL, "combined"),
                Row.of("processes", "hot", MANY, Line.PLATFORM, "combined-1jvm", "combined-2jvm")
                        .atLeast(0.9, "combined-2jvm", "combined-1jvm"),
                Row.of("half-load", "hot", MOST, Line.ASYNC, "bare@1", "async", "async-half")
                        .atMost(5, Figure.P99, "async-half", Figure.P50, "bare@1"),
                apart(),
                Row.of("rtt", "hot", 1, Line.PLATFORM, "bare", "direct", "combined").rtt(20)
                        .onRequest()
                        .between(20, 40, Figure.P50, "bare")
                        .between(20, 40, Figure.P50, "direct")
                        // the pool asks an idle connection whether it lives
                        .between(1, 1.2, Figure.TRIPS, "direct"));
    }

    private static Row most(Row row, String path) {
        return row.atLeast(4, path, "redis")
                .atLeast(1, path, "bucket4j-batching")
                .atLeast(150, path, "bare@512");
    }

    private static Row far(Row row) {
        return row.atLeast(3, "combined", "bucket4j-batching").atLeast(10, "combined", "bare");
    }

    /** Every call a statement of its own, as it was before calls were combined. */
    private static Row apart() {
        return Row.of("direct-64", "spread", 64, Line.PLATFORM, "hot/bare", "hot/direct",
                        "denied/direct", "bare", "direct", "keyed/direct", "reserve/direct")
                .onRequest()
                .atLeast(0.9, "hot/direct", "hot/bare")
                .atLeast(5, "denied/direct", "hot/direct")
                .atLeast(0.7, "direct", "bare")
                .atLeast(0.5, "keyed/direct", "bare")
                .atLeast(0.3, "reserve/direct", "bare");
    }
}
