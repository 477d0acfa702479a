package io.github.pgquota.tool.demo;

import io.github.pgquota.Limit;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/**
 * What the database has counted for the tenants of a replay, each figure from its own source.
 *
 * @param counters the rows of the table of counters, closed windows too
 * @param ledger sums of ledger rows, by counter
 * @param usage sums of the view {@code usage}
 * @param standings the rows of the view {@code balance}
 * @param holds how many holds are in which state
 */
record Figures(
        List<Counter> counters,
        Map<Long, Long> ledger,
        Map<Key, Long> usage,
        Map<Key, Standing> standings,
        Map<String, Long> holds) {

    /** A tenant's counters of one kind, or its limit: the names that the database uses. */
    record Key(String tenant, String name, String window) {

        /** The counters of a limit. */
        static Key counters(Tenant tenant, Limit limit) {
            return new Key(tenant.name(), limit.meter(), limit.window().text());
        }

        /** A limit. */
        static Key limit(Tenant tenant, Limit limit) {
            return new Key(tenant.name(), limit.name(), "");
        }
    }

    /** A row of the table of counters. */
    record Counter(long id, Key key, long used, long held, boolean billed) {}

    /** How a limit stands in the running window; what remains of one that is unlimited is 0. */
    record Standing(long remaining, long held, @Nullable Instant resetsAtOrNull) {}

    private static final String COUNTERS = """
            select id, tenant, meter, per, used, held, billed
              from pgquota.counter where tenant = any (?) and scope = tenant
            """;

    private static final String LEDGER = """
            select counter, sum(amount)
              from pgquota.ledger where tenant = any (?) and at >= ?
             group by counter
            """;

    private static final String USAGE = """
            select tenant, meter, per, sum(used)
              from pgquota.usage where tenant = any (?) and scope = tenant
             group by tenant, meter, per
            """;

    private static final String BALANCE = """
            select tenant, limit_name, remaining, held, resets_at
              from pgquota.balance where tenant = any (?) and scope = tenant
            """;

    private static final String HOLDS = """
            select state, count(*) from pgquota.hold where tenant = any (?) group by state
            """;

    /** Reads them. Nobody may be writing meanwhile. */
    static Figures read(DataSource source, List<Tenant> tenants, Instant since)
            throws SQLException {
        List<Counter> counters = new ArrayList<>();
        Map<Long, Long> ledger = new HashMap<>();
        Map<Key, Long> usage = new HashMap<>();
        Map<Key, Standing> standings = new HashMap<>();
        Map<String, Long> holds = new HashMap<>();
        try (Connection connection = source.getConnection()) {
            Object[] names = tenants.stream().map(Tenant::name).toArray();
            Query query = new Query(connection, names, since);
            query.each(COUNTERS, row -> counters.add(new Counter(row.getLong(1),
                    new Key(row.getString(2), row.getString(3), row.getString(4)),
                    row.getLong(5), row.getLong(6), row.getBoolean(7))));
            query.each(LEDGER, row -> ledger.put(row.getLong(1), row.getLong(2)));
            query.each(USAGE, row -> usage.merge(
                    new Key(row.getString(1), row.getString(2), row.getString(3)),
                    row.getLong(4), Long::sum));
            query.each(BALANCE, row -> standings.put(
                    new Key(row.getString(1), row.getString(2), ""), standing(row)));
            query.each(HOLDS, row -> holds.put(row.getString(1), row.getLong(2)));
        }
        return new Figures(counters, ledger, usage, standings, holds);
    }

    private static Standing standing(ResultSet row) throws SQLException {
        Timestamp end = row.getTimestamp(5);
        return new Standing(row.getLong(3), row.getLong(4), end == null ? null : end.toInstant());
    }

    /** What the counters say is held. */
    long held() {
        return counters.stream().mapToLong(Counter::held).sum();
    }

    private interface Reader {
        void row(ResultSet row) throws SQLException;
    }

    private record Query(Connection connection, Object[] names, Instant since) {

        void each(String sql, Reader reader) throws SQLException {
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                statement.setArray(1, connection.createArrayOf("text", names));
                if (sql.equals(LEDGER)) {
                    statement.setTimestamp(2, Timestamp.from(since));
                }
                try (ResultSet rows = statement.executeQuery()) {
                    while (rows.next()) {
                        reader.row(rows);
                    }
                }
            }
        }
    }
}
