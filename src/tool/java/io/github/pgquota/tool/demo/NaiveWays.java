package io.github.pgquota.tool.demo;

import io.github.pgquota.Limit;
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Locale;
import java.util.OptionalLong;
import javax.sql.DataSource;

/**
 * The two ways of counting that fail, on tables of their own: one row a tenant, the same calls, the
 * same limits and as many callers. Nothing is slowed down or timed to make them fail.
 */
final class NaiveWays {

    /** How they go about it. */
    enum Way {
        /** Look whether it fits; if so, do the work; add to the counter afterwards. */
        CHECK_THEN_INCREMENT("check, then increment", "check first"),
        /** The same in one READ COMMITTED transaction. */
        TRANSACTION("read, check and increment in a transaction", "transaction");

        final String title;
        final String task;

        Way(String title, String task) {
            this.title = title;
            this.task = task;
        }
    }

    private final Job job;
    private final DataSource source;
    private final String table;

    private NaiveWays(Job job, DataSource source, String table) {
        this.job = job;
        this.source = source;
        this.table = table;
    }

    /**
     * Replays the job's trace one of these ways.
     *
     * @param schema where it may make a table
     * @return how far the worst limit that denies was exceeded
     */
    static long run(Job job, DataSource source, String schema, Way way, Progress progress)
            throws Exception {
        String table = schema + "." + way.name().toLowerCase(Locale.ROOT);
        NaiveWays naive = new NaiveWays(job, source, table);
        naive.createTable();
        Callers.run(job.callers(), job.trace().calls().size(), progress,
                way == Way.TRANSACTION ? naive::inTransaction : naive::inTwoSteps);
        return naive.worst();
    }

    private void createTable() throws SQLException {
        try (Connection connection = source.getConnection();
                Statement statement = connection.createStatement()) {
            statement.execute("create table " + table + " (tenant int primary key,"
                    + " requests numeric not null, tokens numeric not null)");
            statement.execute("insert into " + table + " select n, 0, 0 from generate_series(0, "
                    + (job.tenants().size() - 1) + ") n");
        }
    }

    private boolean inTwoSteps(int call) throws SQLException {
        boolean fits;
        try (Connection connection = source.getConnection()) {
            fits = fits(connection, call);
        }
        if (fits) {
            try (Connection connection = source.getConnection()) {
                increment(connection, call);
            }
        }
        return true;
    }

    private boolean inTransaction(int call) throws SQLException {
        try (Connection connection = source.getConnection()) {
            connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            connection.setAutoCommit(false);
            if (fits(connection, call)) {
                increment(connection, call);
            }
            connection.commit();
        }
        return true;
    }

    private boolean fits(Connection connection, int call) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(
                "select requests, tokens from " + table + " where tenant = ?")) {
            statement.setInt(1, job.owners()[call]);
            try (ResultSet row = statement.executeQuery()) {
                row.next();
                BigDecimal requests = row.getBigDecimal(1).add(BigDecimal.ONE);
                BigDecimal tokens = row.getBigDecimal(2)
                        .add(BigDecimal.valueOf(job.trace().calls().get(call).tokens()));
                return over(job.tenant(call), requests, tokens) == 0;
            }
        }
    }

    private void increment(Connection connection, int call) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("update " + table
                + " set requests = requests + 1, tokens = tokens + ? where tenant = ?")) {
            statement.setLong(1, job.trace().calls().get(call).tokens());
            statement.setInt(2, job.owners()[call]);
            statement.executeUpdate();
        }
    }

    private long worst() throws SQLException {
        long worst = 0;
        try (Connection connection = source.getConnection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(
                        "select tenant, requests, tokens from " + table)) {
            while (row.next()) {
                worst = Math.max(worst, over(job.tenants().get(row.getInt(1)),
                        row.getBigDecimal(2), row.getBigDecimal(3)));
            }
        }
        return worst;
    }

    /** By how much the worst of a tenant's limits that deny would be exceeded. */
    private static long over(Tenant tenant, BigDecimal requests, BigDecimal tokens) {
        BigDecimal worst = BigDecimal.ZERO;
        for (Limit limit : tenant.limits()) {
            OptionalLong ceiling = PlanBook.ceiling(limit);
            if (ceiling.isPresent()) {
                BigDecimal used = limit.meter().equals(Job.REQUESTS) ? requests : tokens;
                worst = worst.max(used.subtract(BigDecimal.valueOf(ceiling.getAsLong())));
            }
        }
        return worst.min(BigDecimal.valueOf(Long.MAX_VALUE)).longValue();
    }
}
