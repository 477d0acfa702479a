package io.github.pgquota.tool.bench;

import io.github.pgquota.tool.PostgresServer;
import io.github.pgquota.tool.bench.Series.Spread;
import java.io.PrintWriter;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;

/** Many minutes on one hot scope: does anything grow, or slow down? */
final class Soak {

    private static final int SLICES = 20;
    private static final int TABLE_GROWTH = 2;

    private final Stage stage;
    private final Contender contender;
    private final PrintWriter log;

    private Soak(Stage stage, Contender contender, PrintWriter log) {
        this.stage = stage;
        this.contender = contender;
        this.log = log;
    }

    /** One part of it. */
    private record Reading(
            Slice slice, double updates, double hotUpdates, double tableBytes) {

        double hotShare() {
            return 100 * hotUpdates / updates;
        }
    }

    /**
     * Runs it: for all of the time alone, then for a quarter of it beside a transaction that keeps
     * its snapshot, so that no old version of the row may be removed. Returns what came of it.
     *
     * @param lines gets both parts
     */
    static List<Target> run(PostgresServer server, int callers, String path, Duration length,
            PrintWriter log, List<Series> lines) throws Exception {
        try (Stage stage = Stage.create(server, "soak", Stage.TENANTS);
                Door door = new Door(stage, () -> {
                    throw new NotRunException("not for so long");
                }, 0)) {
            Line line = Line.of("hot", path, callers);
            Contender.Local contender = door.contender(line);
            Soak soak = new Soak(stage, contender, log);
            List<Reading> alone = soak.read(length, SLICES);
            lines.add(series(new Line("soak", path, callers, Line.PLATFORM, 0), alone));
            List<Reading> beside = soak.readBesideSnapshot(length.dividedBy(4));
            lines.add(series(new Line("soak-snapshot", path, callers, Line.PLATFORM, 0), beside));
            return targets(alone, beside);
        }
    }

    private static Series series(Line line, List<Reading> readings) {
        return new Series(line, readings.stream().map(Reading::slice).toList());
    }

    private List<Reading> readBesideSnapshot(Duration length) throws Exception {
        try (Connection connection = stage.connection();
                Statement statement = connection.createStatement()) {
            statement.execute("begin isolation level repeatable read");
            statement.executeQuery("select count(*) from pgquota.counter").close();
            try {
                return read(length, SLICES / 4);
            } finally {
                statement.execute("rollback");
            }
        }
    }

    private List<Reading> read(Duration length, int slices) throws Exception {
        List<Reading> readings = new ArrayList<>();
        for (int i = 0; i < slices; i++) {
            double updates = updates("n_tup_upd");
            double hot = updates("n_tup_hot_upd");
            long stored = contender.stored();
            Slice slice = contender.run(length.dividedBy(slices));
            if (contender.stored() - stored != slice.granted()) {
                throw new VoidRoundException("soak: callers were granted " + slice.granted()
                        + " units, the server stored " + (contender.stored() - stored));
            }
            Reading reading = new Reading(slice, updates("n_tup_upd") - updates,
                    updates("n_tup_hot_upd") - hot,
                    stage.number("select pg_total_relation_size('pgquota.counter')"));
            readings.add(reading);
            log.printf(Locale.ROOT, "%-14s %,11.0f/s, p99 %.1f ms, HOT %.1f %%, %,.0f kB%n",
                    "soak " + (i + 1) + " of " + slices, slice.perSecond(), slice.millis(99),
                    reading.hotShare(), reading.tableBytes() / 1e3);
            log.flush();
        }
        return readings;
    }

    /** Counts of backends arrive when they are idle; a slice of many updates does not mind. */
    private long updates(String column) throws SQLException {
        return stage.number("select " + column + " from pg_stat_user_tables"
                + " where relid = 'pgquota.counter'::regclass");
    }

    private static List<Target> targets(List<Reading> alone, List<Reading> beside) {
        int quarter = alone.size() / 4;
        List<Reading> first = alone.subList(0, quarter);
        List<Reading> last = alone.subList(alone.size() - quarter, alone.size());
        double updates = alone.stream().mapToDouble(Reading::updates).sum();
        double hot = alone.stream().mapToDouble(Reading::hotUpdates).sum();
        return List.of(
                Target.atLeast(0.9, "soak, calls/s of the last quarter : first",
                        ratio(last, first, r -> r.slice().perSecond())),
                Target.atMost(1.25, "soak, p99 of the last quarter : first",
                        ratio(last, first, r -> r.slice().millis(99))),
                Target.atLeast(99, "soak, HOT updates in per cent", Spread.of(100 * hot / updates)),
                Target.atMost(TABLE_GROWTH, "soak, largest table of the second half : first",
                        Spread.of(largest(alone.subList(alone.size() / 2, alone.size()))
                                / largest(alone.subList(0, alone.size() / 2)))),
                Target.none("soak, calls/s beside an open snapshot : alone",
                        ratio(beside, alone, r -> r.slice().perSecond())));
    }

    private static double largest(List<Reading> readings) {
        return readings.stream().mapToDouble(Reading::tableBytes).max().orElseThrow();
    }

    private static Spread ratio(
            List<Reading> some, List<Reading> others, ToDoubleFunction<Reading> figure) {
        double base = Spread.of(others.stream().mapToDouble(figure).toArray()).median();
        return Spread.of(some.stream().mapToDouble(r -> figure.applyAsDouble(r) / base).toArray());
    }
}
