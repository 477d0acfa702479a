package io.github.pgquota.tool.fault;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.channels.FileChannel;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.PosixFilePermissions;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A server and a synchronous standby of it, which takes its place when it is lost; then a new one
 * is made where the old primary was. The embedded binaries are without pg_basebackup, so the copy
 * is made as it would: between {@code pg_backup_start} and {@code pg_backup_stop}.
 */
final class Pair implements AutoCloseable {

    /** What is not copied of a folder, or only the folder itself. */
    private static final Set<String> FILES = Set.of("postmaster.pid", "postmaster.opts", "epg-lock",
            "standby.signal", "backup_label");
    private static final Set<String> EMPTY = Set.of("pg_wal", "pg_replslot", "pg_stat_tmp",
            "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_subtrans");

    /** By which the launcher of the embedded server sees, later, that a folder is nobody's. */
    private static final String LOCK = "epg-lock";

    private static final String NAME = "standby";

    private final Server server;
    private final Node first;
    private final Node second;
    private final FileChannel lock;
    private final Thread atExit = new Thread(this::stop, "stop standby");
    private boolean stands;
    private @Nullable Node frozen;

    /** The server, and where its standby will be. */
    Pair(Server server) throws IOException {
        this.server = server;
        this.first = server.primary();
        Path folder = Files.createTempDirectory(first.data().getParent(), NAME,
                PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            this.second = first.like(folder, free.getLocalPort());
        }
        this.lock = FileChannel.open(folder.resolve(LOCK), StandardOpenOption.CREATE,
                StandardOpenOption.WRITE);
        lock.lock();
        Runtime.getRuntime().addShutdownHook(atExit);
    }

    /** Both, primary or not. */
    List<Node> nodes() {
        return List.of(first, second);
    }

    /** Where the standby is, or is made. */
    Node standby() {
        return server.primary() == first ? second : first;
    }

    /**
     * Makes the standby, if there is none; when it returns, no commit is acknowledged that is not
     * there too.
     */
    void makeStandby() throws IOException, SQLException {
        if (stands) {
            return;
        }
        Node primary = server.primary();
        Node standby = standby();
        String backup = """
                alter system reset synchronous_standby_names;
                alter system set wal_keep_size = '1GB';
                select pg_reload_conf()""";
        execute(primary, backup.split(";"));
        wipe(standby.data());
        // the session must last: the backup ends with it
        try (Connection session = primary.connection("postgres");
                Statement statement = session.createStatement()) {
            statement.execute("select pg_backup_start('" + NAME + "', true)");
            copy(primary.data(), standby.data());
            try (ResultSet row = statement.executeQuery(
                    "select labelfile from pg_backup_stop(false)")) {
                row.next();
                Files.writeString(standby.data().resolve("backup_label"), row.getString(1));
            }
        }
        Files.createFile(standby.data().resolve("standby.signal"));
        Files.writeString(standby.data().resolve("postgresql.auto.conf"),
                "primary_conninfo = 'host=127.0.0.1 port=" + primary.port()
                + " user=postgres application_name=" + NAME + "'\n"
                + "wal_retrieve_retry_interval = '100ms'\n", StandardOpenOption.APPEND);
        standby.start();
        execute(primary, "alter system set synchronous_standby_names = '" + NAME + "'",
                "select pg_reload_conf()");
        stands = true;
        awaitStandby();
    }

    /**
     * Waits until everything that is committed is there too. The checkpoint makes sure that all
     * backends know: it is the checkpointer that tells them, and it looks before it begins one.
     */
    private void awaitStandby() throws SQLException {
        Node primary = server.primary();
        Node.await(() -> primary.ask("select count(*) from pg_stat_replication"
                + " where sync_state = 'sync' and state = 'streaming'").equals("1"));
        execute(primary, "checkpoint");
        String end = primary.ask("select pg_current_wal_flush_lsn()");
        Node.await(() -> primary.ask("select count(*) from pg_stat_replication"
                + " where sync_state = 'sync' and flush_lsn >= '" + end + "'").equals("1"));
    }

    /**
     * The primary is lost, and the standby takes its place. If silently, the old one is frozen: it
     * keeps its connections, takes new ones, and never answers.
     */
    void failOver(boolean silently) throws IOException, SQLException {
        makeStandby();
        awaitStandby();
        Node old = server.primary();
        if (silently) {
            old.freeze();
            frozen = old;
        } else {
            old.crash();
        }
        stands = false;
        promote();
    }

    private void promote() throws SQLException {
        Node standby = standby();
        if (!standby.ask("select pg_promote(true, 60)").equals("t")) {
            throw new IllegalStateException("the standby is not promoted");
        }
        server.becomes(standby);
    }

    /**
     * Ends an old primary that is only frozen, and makes a new standby of the new one. At first the
     * old one wakes up, as a machine that was paused would: it believes that it is the primary, but
     * cannot acknowledge a commit, as its standby is gone.
     */
    void mend() throws IOException, SQLException {
        fence(500);
        makeStandby();
    }

    /** Ends an old primary that is only frozen, after it was awake for a while. */
    private void fence(long millis) throws IOException {
        Node old = frozen;
        if (old != null) {
            frozen = null;
            old.thaw();
            Scene.last(millis);
            old.kill();
        }
    }

    private static void execute(Node node, String... statements) throws SQLException {
        try (Connection connection = node.connection("postgres");
                Statement statement = connection.createStatement()) {
            for (String sql : statements) {
                statement.execute(sql); // by itself: some refuse a transaction
            }
        }
    }

    private static void copy(Path from, Path to) throws IOException {
        Files.walkFileTree(from, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult preVisitDirectory(Path folder, BasicFileAttributes attributes)
                    throws IOException {
                Files.createDirectories(to.resolve(from.relativize(folder)));
                return EMPTY.contains(folder.getFileName().toString())
                        ? FileVisitResult.SKIP_SUBTREE : FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes)
                    throws IOException {
                if (!FILES.contains(file.getFileName().toString())) {
                    try {
                        Files.copy(file, to.resolve(from.relativize(file)));
                    } catch (NoSuchFileException e) {
                        return FileVisitResult.CONTINUE; // gone meanwhile: the log knows of it
                    }
                }
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFileFailed(Path file, IOException e) throws IOException {
                if (e instanceof NoSuchFileException) {
                    return FileVisitResult.CONTINUE;
                }
                throw e;
            }
        });
    }

    private static void wipe(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                if (!file.equals(folder) && !file.getFileName().toString().equals(LOCK)) {
                    Files.delete(file);
                }
            }
        }
    }

    /** Whichever still runs; the launcher, which started the first, also stops it. */
    private void stop() {
        try {
            if (frozen != null) {
                frozen.kill();
            }
            if (Files.exists(second.data().resolve("postmaster.pid"))) {
                second.crash();
            }
            wipe(second.data());
            lock.close();
            Files.deleteIfExists(second.data().resolve(LOCK));
            Files.delete(second.data());
            Files.deleteIfExists(second.log());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void close() {
        Runtime.getRuntime().removeShutdownHook(atExit);
        stop();
    }
}
