package io.github.pgquota.tool;

import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A PgBouncer in transaction mode before a server, on a local port, with a configuration of its
 * own: where the program is installed.
 */
public final class PgBouncer implements AutoCloseable {

    /** What is said where it is not. */
    public static final String NOT_INSTALLED =
            "PgBouncer is not installed: nothing went through it";

    private final Path program;
    private final String version;
    private final boolean prepares;
    private final String login;
    private final Path folder;
    private final int port;
    private final Process process;

    private PgBouncer(Path program, int server, String user, String password) throws IOException {
        this.program = program;
        this.version = version(program);
        this.prepares = prepares(version);
        this.login = " user=" + user + (password.isEmpty() ? "" : " password=" + password);
        this.folder = Files.createTempDirectory("pgbouncer");
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            this.port = free.getLocalPort();
        }
        configure(server);
        this.process = start();
    }

    /** The program, if it is installed. */
    public static Optional<Path> installed() {
        return Stream.concat(Stream.of(System.getenv("PATH").split(File.pathSeparator)),
                        Stream.of("/usr/sbin", "/usr/local/sbin"))
                .map(folder -> Path.of(folder, "pgbouncer"))
                .filter(Files::isExecutable).findFirst();
    }

    /** Before the server of a local port, where everybody is that user. */
    public static PgBouncer to(int server, String user, String password) throws IOException {
        return new PgBouncer(installed().orElseThrow(), server, user, password);
    }

    private static String version(Path program) throws IOException {
        Process asked = new ProcessBuilder(program.toString(), "--version").start();
        String said = new String(asked.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        return said.lines().findFirst().orElse("");
    }

    /** Statements that are prepared once, since 1.21. */
    private static boolean prepares(String version) {
        Matcher number = Pattern.compile("(\\d+)\\.(\\d+)").matcher(version);
        return number.find() && 1000 * Integer.parseInt(number.group(1))
                + Integer.parseInt(number.group(2)) >= 1021;
    }

    /** Its name and version. */
    public String version() {
        return version;
    }

    /** The JDBC URL of a database through it. */
    public String url(String database) {
        return "jdbc:postgresql://127.0.0.1:" + port + "/" + database + "?sslmode=disable"
                + (prepares ? "" : "&prepareThreshold=0");
    }

    private void configure(int server) throws IOException {
        Files.writeString(folder.resolve("pgbouncer.ini"), """
                [databases]
                * = host=127.0.0.1 port=%d%s
                [pgbouncer]
                listen_addr = 127.0.0.1
                listen_port = %d
                unix_socket_dir =
                auth_type = any
                pool_mode = transaction
                default_pool_size = 20
                max_client_conn = 500
                server_connect_timeout = 2
                server_login_retry = 1
                query_wait_timeout = 4
                ignore_startup_parameters = extra_float_digits
                %s
                """.formatted(server, login, port,
                prepares ? "max_prepared_statements = 200" : ""));
    }

    /** Sends new transactions to another server, as those do who promote a standby. */
    public void pointTo(int server) throws IOException {
        configure(server);
        Process signal = new ProcessBuilder("kill", "-HUP", Long.toString(process.pid())).start();
        try {
            signal.waitFor();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private Process start() throws IOException {
        List<String> words = new ArrayList<>();
        if (System.getProperty("user.name").equals("root")) {
            words.addAll(List.of("unshare", "-U")); // it refuses to be root
            folder.toFile().setExecutable(true, false);
            folder.toFile().setReadable(true, false);
        }
        words.add(program.toString());
        words.add(folder.resolve("pgbouncer.ini").toString());
        Path log = folder.resolve("log");
        Process started = new ProcessBuilder(words).redirectErrorStream(true)
                .redirectOutput(log.toFile()).start();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        while (!listens()) {
            if (!started.isAlive() || System.nanoTime() > deadline) {
                started.destroyForcibly();
                throw new IllegalStateException(Files.readString(log));
            }
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(20));
        }
        return started;
    }

    private boolean listens() {
        try (Socket socket = new Socket("127.0.0.1", port)) {
            return socket.isConnected();
        } catch (IOException e) {
            return false;
        }
    }

    @Override
    public void close() throws IOException {
        process.destroyForcibly();
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
    }
}
