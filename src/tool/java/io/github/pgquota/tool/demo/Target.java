package io.github.pgquota.tool.demo;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.tool.PostgresServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;

/** The database that a trace is replayed on. */
final class Target implements AutoCloseable {

    private static final int OLDEST = 15;
    private static final int CONNECT_SECONDS = 10;

    /** Thousands of callers share the pool, so each may wait long for its turn. */
    private static final long PATIENCE_MILLIS = 300_000;

    private final HikariDataSource pool;
    private final String prefix;
    private final String description;
    private final @Nullable PostgresServer server;

    private Target(HikariDataSource pool, String prefix, String description,
            @Nullable PostgresServer server) {
        this.pool = pool;
        pool.setConnectionTimeout(PATIENCE_MILLIS);
        this.prefix = prefix;
        this.description = description;
        this.server = server;
    }

    /** A database of its own, on a server that is started for it and keeps what it commits. */
    static Target own(int connections) {
        PostgresServer server =
                PostgresServer.start(System.getProperty("pgquota.test.postgres", "embedded"));
        String name = "pgquota_replay_" + ProcessHandle.current().pid();
        server.createDatabase(name, null);
        return new Target(server.pool(name, connections), "",
                "PostgreSQL " + server.major() + ", started for this run", server);
    }

    /**
     * The user's database. Names of tenants and plans get a prefix of this run, so that nothing
     * that is there is touched and nothing that is left over counts.
     *
     * @throws BadInput if there is no such database
     */
    static Target of(
            String url, @Nullable String user, @Nullable String password, int connections) {
        PGSimpleDataSource source = new PGSimpleDataSource();
        try {
            source.setURL(url);
        } catch (IllegalArgumentException e) {
            // It is not repeated: there may be a password in it.
            throw new BadInput("--url is no URL such as"
                    + " jdbc:postgresql://localhost:5432/postgres");
        }
        if (user != null) {
            source.setUser(user);
        }
        if (password != null) {
            source.setPassword(password);
        }
        source.setConnectTimeout(CONNECT_SECONDS);
        int major = major(source);
        if (major < OLDEST) {
            throw new BadInput("the database is PostgreSQL " + major + "; pgquota needs "
                    + OLDEST + " or newer");
        }
        String run = runName();
        return new Target(PostgresServer.pool(source, connections), run, "PostgreSQL " + major
                + " at --url; tenants and plans of this run begin with " + run, null);
    }

    /** When it began, and something to tell two of the same second apart. */
    private static String runName() {
        String time = DateTimeFormatter.ofPattern("yyMMdd-HHmmss")
                .format(LocalDateTime.now(ZoneOffset.UTC));
        int any = ThreadLocalRandom.current().nextInt(36 * 36, 36 * 36 * 36);
        return "replay-" + time + "-" + Integer.toString(any, 36) + "-";
    }

    private static int major(PGSimpleDataSource source) {
        try (Connection connection = source.getConnection()) {
            return connection.getMetaData().getDatabaseMajorVersion();
        } catch (SQLException e) {
            throw new BadInput("--url does not answer: " + e.getMessage());
        }
    }

    /** A pool of connections. */
    HikariDataSource pool() {
        return pool;
    }

    /** What the names of this run begin with; nothing on a database of its own. */
    String prefix() {
        return prefix;
    }

    /** What it is, for the user. */
    String description() {
        return description;
    }

    /** Gives a piece of work a schema of its own, and takes it away again. */
    <T> T inOwnSchema(Work<T> work) throws Exception {
        String schema = "\"pgquota_naive_" + prefix + ProcessHandle.current().pid() + '"';
        execute("create schema " + schema);
        try {
            return work.in(schema);
        } finally {
            execute("drop schema " + schema + " cascade");
        }
    }

    /** Work that needs a schema. */
    interface Work<T> {
        T in(String schema) throws Exception;
    }

    private void execute(String sql) throws SQLException {
        try (Connection connection = pool.getConnection();
                Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    @Override
    public void close() {
        pool.close();
        if (server != null) {
            server.close();
        }
    }
}
