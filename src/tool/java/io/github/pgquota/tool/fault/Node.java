package io.github.pgquota.tool.fault;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.postgresql.ds.PGSimpleDataSource;

/** The processes of a server, by its data folder and port: they are started and get signals. */
final class Node {

    private static final Pattern WORD = Pattern.compile("\"([^\"]*)\"|(\\S+)");

    /** Of what {@code ulimit} counts in. */
    private static final int BLOCK = 512;
    private static final int SEGMENT = 16 << 20;
    private static final int FEW_BYTES = 4 << 20;

    private final Path data;
    private final List<String> command;

    /** A server that runs, to be started again as it was started. */
    static Node running(Path data) throws IOException {
        String line = Files.readString(data.resolve("postmaster.opts")).strip();
        List<String> words = new ArrayList<>();
        Matcher word = WORD.matcher(line);
        while (word.find()) {
            words.add(word.group(1) == null ? word.group(2) : word.group(1));
        }
        return new Node(data, words);
    }

    private Node(Path data, List<String> command) {
        this.data = data;
        this.command = command;
    }

    /** One of the same binaries and settings, with other data, on another port. */
    Node like(Path folder, int port) {
        List<String> words = new ArrayList<>(command);
        words.set(words.indexOf("-D") + 1, folder.toString());
        words.set(words.indexOf("-p") + 1, Integer.toString(port));
        return new Node(folder, words);
    }

    Path data() {
        return data;
    }

    int port() {
        return Integer.parseInt(command.get(command.indexOf("-p") + 1));
    }

    String url(String database) {
        return "jdbc:postgresql://127.0.0.1:" + port() + "/" + database;
    }

    /** As the superuser, whom the server trusts. */
    Connection connection(String database) throws SQLException {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(url(database));
        source.setUser("postgres");
        return source.getConnection();
    }

    /** The first column of the first row, from the database that every server has. */
    String ask(String sql) throws SQLException {
        return ask("postgres", sql);
    }

    String ask(String database, String sql) throws SQLException {
        try (Connection connection = connection(database);
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(sql)) {
            row.next();
            return row.getString(1);
        }
    }

    /** Starts it, and returns when it answers: it has replayed its log by then. */
    void start() throws IOException {
        launch(List.of());
        try {
            await(() -> ask("select 1").equals("1"));
        } catch (IllegalStateException e) {
            throw new IllegalStateException(Files.readString(log()), e);
        }
    }

    /** What the server has said since it was first started by us. */
    Path log() {
        return data.resolveSibling(data.getFileName() + ".log"); // outlives the data
    }

    private Process launch(List<String> by) throws IOException {
        List<String> words = new ArrayList<>(by);
        if (System.getProperty("user.name").equals("root")) {
            words.addAll(List.of("unshare", "-U")); // a server refuses to be root
        }
        words.addAll(command);
        return new ProcessBuilder(words).redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(log().toFile())).start();
    }

    /** Something that is looked at until it is so. */
    interface Condition {
        boolean isMet() throws SQLException;
    }

    static void await(Condition condition) {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        SQLException last = null;
        while (System.nanoTime() < deadline) {
            try {
                if (condition.isMet()) {
                    return;
                }
            } catch (SQLException e) {
                last = e; // the server is on its way
            }
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(20));
        }
        throw new IllegalStateException("the server does not come", last);
    }

    /** Ends it as an operator would, without waiting for sessions. */
    void stop() throws IOException {
        ProcessHandle postmaster = postmaster().orElseThrow();
        signal("INT", List.of(postmaster));
        gone(postmaster);
    }

    /** What it said when it gave up a transaction that had waited for one that waited for it. */
    List<String> deadlocks() throws IOException {
        if (!Files.exists(log())) {
            return List.of();
        }
        try (Stream<String> lines = Files.lines(log())) {
            return lines.filter(line -> line.contains(" 40P01 ERROR")).toList();
        }
    }

    /** Ends it as a power failure would: nothing is flushed that was not before. */
    void crash() throws IOException {
        ProcessHandle postmaster = postmaster().orElseThrow();
        signal("QUIT", List.of(postmaster));
        gone(postmaster);
    }

    /**
     * Its log cannot grow: no file can be made in its folder. It is switched to new files until it
     * needs one, and panics.
     */
    void keepFromWriting() throws IOException {
        Path log = data.resolve("pg_wal");
        Set<PosixFilePermission> before = Files.getPosixFilePermissions(log);
        Files.setPosixFilePermissions(log, PosixFilePermissions.fromString("r-x------"));
        try {
            write("select pg_logical_emit_message(false, '', ''), pg_switch_wal()");
        } finally {
            Files.setPosixFilePermissions(log, before);
        }
        revive();
    }

    /**
     * No file can grow far, as if the disk were full. It serves for a while with the log that it
     * has begun, and panics.
     */
    void limitFiles() throws IOException, SQLException {
        long written = Long.parseLong(ask("select (pg_walfile_name_offset("
                + "pg_current_wal_insert_lsn())).file_offset"));
        long most = Math.min(written + FEW_BYTES, SEGMENT - 1) / BLOCK;
        crash();
        Process limited = launch(
                List.of("sh", "-c", "ulimit -f " + most + "; exec \"$@\"", "sh"));
        await(() -> !limited.isAlive() || ask("select 1").equals("1"));
        Scene.last(500);
        write("select pg_logical_emit_message(false, '', repeat('x', 1000000))");
        revive();
    }

    /** Until it cannot: it keeps some segments of its log to use them again. */
    private void write(String sql) {
        try {
            for (int i = 0; i < 40; i++) {
                ask(sql);
            }
        } catch (SQLException e) {
            return;
        }
        throw new IllegalStateException("it still writes: " + sql);
    }

    /** One that panicked starts itself again, or could not and is gone. */
    void revive() throws IOException {
        if (postmaster().isPresent()) {
            crash();
        }
        start();
    }

    /** Ends all its processes, frozen ones too. */
    void kill() throws IOException {
        List<ProcessHandle> all = processes();
        signal("KILL", all);
        all.forEach(Node::gone);
        Files.deleteIfExists(data.resolve("postmaster.pid"));
    }

    private static void gone(ProcessHandle process) {
        try {
            process.onExit().get(60, TimeUnit.SECONDS);
        } catch (Exception e) {
            throw new IllegalStateException("the server does not die", e);
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

    private Optional<ProcessHandle> postmaster() throws IOException {
        Path file = data.resolve("postmaster.pid");
        return Files.exists(file)
                ? ProcessHandle.of(Long.parseLong(Files.readAllLines(file).get(0)))
                : Optional.empty();
    }

    private List<ProcessHandle> processes() throws IOException {
        List<ProcessHandle> all = new ArrayList<>();
        ProcessHandle postmaster = postmaster().orElseThrow();
        all.add(postmaster);
        postmaster.descendants().forEach(all::add);
        return all;
    }
}
