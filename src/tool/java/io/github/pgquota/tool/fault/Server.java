package io.github.pgquota.tool.fault;

import io.github.pgquota.tool.PostgresServer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;

/**
 * A server of our own that can be killed, frozen and started again, with its data and on its port.
 * The embedded one: its processes must be on this machine, and be ours to signal. After a fail-over
 * it is the one that was promoted.
 */
final class Server implements AutoCloseable {

    static final String NEEDS = "faults are made to a server of their own, by signals: not on"
            + " Windows, and with -Dpgquota.test.postgres=embedded or embedded:15 to embedded:18";

    private static final String SPEC = System.getProperty("pgquota.test.postgres", "embedded");

    private final PostgresServer server;
    private final String database;
    private final Node first;
    private volatile Node primary;

    /** Starts it, with an empty database. */
    Server(String database) throws IOException, SQLException {
        if (!canBreak()) {
            throw new IllegalArgumentException(NEEDS);
        }
        this.server = PostgresServer.start(SPEC);
        this.database = database;
        server.createDatabase(database, null);
        try (Connection connection = server.dataSource(database).getConnection();
                Statement statement = connection.createStatement();
                var row = statement.executeQuery("show data_directory")) {
            row.next();
            this.first = Node.running(Path.of(row.getString(1)));
            this.primary = first;
        }
        execute("alter system set log_line_prefix = '%m [%p] %e '");
        primary.stop();
        primary.start(); // now it writes a log that we can read
    }

    /** Whether the server that is asked for is one that we start, where there are signals. */
    static boolean canBreak() {
        return SPEC.startsWith("embedded")
                && !System.getProperty("os.name").startsWith("Windows");
    }

    PostgresServer postgres() {
        return server;
    }

    Node primary() {
        return primary;
    }

    /** Another one has taken its place. */
    void becomes(Node promoted) {
        primary = promoted;
    }

    String database() {
        return database;
    }

    String url() {
        return primary.url(database);
    }

    Connection connection() throws SQLException {
        return primary.connection(database);
    }

    /** The first column of the first row. */
    String ask(String sql) throws SQLException {
        return primary.ask(database, sql);
    }

    void execute(String sql) throws SQLException {
        try (Connection connection = connection();
                Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    /** Ends it as a power failure would: nothing is flushed that was not before. */
    void crash() throws IOException {
        primary.crash();
    }

    /** Starts it again, and returns when it answers: it has replayed its log by then. */
    void restart() throws IOException {
        primary.start();
    }

    /** Freezes all its processes: connections stay open, and nobody answers. */
    void freeze() throws IOException {
        primary.freeze();
    }

    void thaw() throws IOException {
        primary.thaw();
    }

    static void signal(String name, List<ProcessHandle> processes) throws IOException {
        Node.signal(name, processes);
    }

    @Override
    public void close() throws IOException {
        server.close();
        Files.deleteIfExists(first.log());
    }
}
