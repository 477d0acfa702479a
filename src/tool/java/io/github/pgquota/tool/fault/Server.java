package io.github.pgquota.tool.fault;

import io.github.pgquota.tool.PostgresServer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A server of our own that can be killed, frozen and started again, with its data and on its port.
 * The embedded one: its processes must be on this machine, and be ours to signal.
 */
final class Server implements AutoCloseable {

    static final String NEEDS = "faults are made to a server of their own, by signals: not on"
            + " Windows, and with -Dpgquota.test.postgres=embedded or embedded:15 to embedded:18";
    private static final Pattern WORD = Pattern.compile("\"([^\"]*)\"|(\\S+)");

    private static final String SPEC = System.getProperty("pgquota.test.postgres", "embedded");

    private final PostgresServer server;
    private final String database;
    private final Path data;
    private final List<String> command;

    /** Starts it, with an empty database. */
    Server(String database) throws IOException, SQLException {
        if (!canBreak()) {
            throw new IllegalArgumentException(NEEDS);
        }
        this.server = PostgresServer.start(SPEC);
        this.database = database;
        server.createDatabase(database, null);
        this.data = Path.of(ask("show data_directory"));
        this.command = command(Files.readString(data.resolve("postmaster.opts")).strip());
    }

    /** Whether the server that is asked for is one that we start, where there are signals. */
    static boolean canBreak() {
        return SPEC.startsWith("embedded")
                && !System.getProperty("os.name").startsWith("Windows");
    }

    /** As it was started; a server refuses to be root, so root's runs as somebody else. */
    private static List<String> command(String line) {
        List<String> words = new ArrayList<>();
        if (System.getProperty("user.name").equals("root")) {
            words.addAll(List.of("unshare", "-U"));
        }
        Matcher word = WORD.matcher(line);
        while (word.find()) {
            words.add(word.group(1) == null ? word.group(2) : word.group(1));
        }
        return words;
    }

    PostgresServer postgres() {
        return server;
    }

    String url() {
        return server.url(database);
    }

    Connection connection() throws SQLException {
        return server.dataSource(database).getConnection();
    }

    /** The first column of the first row. */
    String ask(String sql) throws SQLException {
        try (Connection connection = connection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(sql)) {
            row.next();
            return row.getString(1);
        }
    }

    void execute(String sql) throws SQLException {
        try (Connection connection = connection();
                Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    /** Ends it as a power failure would: nothing is flushed that was not before. */
    void crash() throws IOException {
        ProcessHandle postmaster = postmaster();
        signal("QUIT", List.of(postmaster));
        try {
            postmaster.onExit().get(60, TimeUnit.SECONDS);
        } catch (Exception e) {
            throw new IllegalStateException("the server does not die", e);
        }
    }

    /** Starts it again, and returns when it answers: it has replayed its log by then. */
    void restart() throws IOException {
        new ProcessBuilder(command).redirectErrorStream(true)
                .redirectOutput(data.resolve("restarted.log").toFile()).start();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!answers()) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("the server does not come back: "
                        + Files.readString(data.resolve("restarted.log")));
            }
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(20));
        }
    }

    private boolean answers() {
        try {
            return ask("select 1").equals("1");
        } catch (SQLException e) {
            return false;
        }
    }

    /** Freezes all its processes: connections stay open, and nobody answers. */
    void freeze() throws IOException {
        signal("STOP", processes());
    }

    void thaw() throws IOException {
        signal("CONT", processes());
    }

    static void signal(String name, List<ProcessHandle> processes) throws IOException {
        List<String> words = new ArrayList<>(List.of("kill", "-" + name));
        processes.forEach(process -> words.add(Long.toString(process.pid())));
        try {
            new ProcessBuilder(words).redirectErrorStream(true).start().waitFor();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private ProcessHandle postmaster() throws IOException {
        long pid = Long.parseLong(Files.readAllLines(data.resolve("postmaster.pid")).get(0));
        return ProcessHandle.of(pid).orElseThrow();
    }

    private List<ProcessHandle> processes() throws IOException {
        List<ProcessHandle> all = new ArrayList<>();
        ProcessHandle postmaster = postmaster();
        all.add(postmaster);
        postmaster.descendants().forEach(all::add);
        return all;
    }

    @Override
    public void close() {
        server.close();
    }
}
