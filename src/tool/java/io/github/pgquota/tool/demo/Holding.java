package io.github.pgquota.tool.demo;

import io.github.pgquota.Quotas;
import io.github.pgquota.tool.demo.Job.Holds;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.util.Objects;
import javax.sql.DataSource;

/** Waits until the database's clock says that no hold lives any more, and clears up. */
final class Holding {

    private static final Duration PATIENCE = Duration.ofSeconds(60);
    private static final Duration BUDGET = Duration.ofSeconds(5);
    private static final long POLL_MILLIS = 50;

    private Holding() {}

    /** The database's time. */
    static Instant now(DataSource source) throws SQLException {
        try (Connection connection = source.getConnection();
                PreparedStatement statement =
                        connection.prepareStatement("select pgquota.clock()");
                ResultSet row = statement.executeQuery()) {
            row.next();
            return row.getTimestamp(1).toInstant();
        }
    }

    /** Waits; returns sooner or later even if holds stay, which the proof then tells. */
    static void awaitExpiry(DataSource source, Job job) throws SQLException, InterruptedException {
        Holds holds = Objects.requireNonNull(job.holdsOrNull());
        long end = System.nanoTime() + holds.timeToLive().plus(PATIENCE).toNanos();
        while (alive(source, job) > 0 && System.nanoTime() < end) {
            Thread.sleep(POLL_MILLIS);
        }
    }

    /** Ends what has expired in the table too, where nothing depends on it. */
    static void clearUp(Quotas quotas) {
        boolean finished;
        do {
            finished = quotas.upkeep().runOnce(BUDGET).finished();
        } while (!finished);
    }

    private static long alive(DataSource source, Job job) throws SQLException {
        try (Connection connection = source.getConnection();
                PreparedStatement statement = connection.prepareStatement(
                        "select count(*) from pgquota.hold where tenant = any (?)"
                                + " and state = 'open' and expires_at > pgquota.clock()")) {
            statement.setArray(1, connection.createArrayOf("text",
                    job.tenants().stream().map(Tenant::name).toArray()));
            try (ResultSet row = statement.executeQuery()) {
                row.next();
                return row.getLong(1);
            }
        }
    }
}
