package io.github.pgquota.tool;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Matcher;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * A PostgreSQL server for tests and programs, and the one place that starts one.
 *
 * <p>What to start is a word that people can type:
 *
 * <ul>
 *   <li>{@code embedded} or {@code embedded:15} … {@code embedded:18}: a server of our own on the
 *       loopback interface, in a temporary folder; it is stopped on {@link #close()} and when the
 *       JVM ends. Maven puts one major's binaries on the class path, so a major other than the
 *       default must be asked for with {@code -Dpgquota.test.postgres=embedded:15}.
 *   <li>{@code testcontainers} or {@code testcontainers:IMAGE}: a container.
 *   <li>{@code jdbc:postgresql://…}: a running server, as a superuser. It is never stopped;
 *       {@link #close()} drops the databases that were created through this object.
 * </ul>
 *
 * <p>Safe for concurrent use.
 */
public final class PostgresServer implements AutoCloseable {

    /** Whether a server that we start survives a crash. A running server keeps its settings. */
    public enum Durability {
        /** What production runs: a commit is on disk before it is acknowledged. */
        DURABLE,
        /** Nothing is flushed: for tests, which lose nothing that matters. */
        FAST
    }

    private final String maintenanceUrl;
    private final String user;
    private final String password;
    private final @Nullable Runnable stop;
    private final int major;
    private final Set<String> created = ConcurrentHashMap.newKeySet();

    private PostgresServer(Started started) {
        this.maintenanceUrl = started.url();
        this.user = started.user();
        this.password = started.password();
        this.stop = started.stop();
        this.major = askMajor();
    }

    /** A server that answers, and how to stop it; nothing to stop if it is not ours. */
    record Started(String url, String user, String password, @Nullable Runnable stop) {}

    /** The server that {@code spec} names, durable as in production. */
    public static PostgresServer start(String spec) {
        return start(spec, Durability.DURABLE);
    }

    /**
     * The server that {@code spec} names.
     *
     * @throws IllegalArgumentException if the word is not known
     * @throws IllegalStateException if the server cannot be started or reached, with what to do
     */
    public static PostgresServer start(String spec, Durability durability) {
        String kind = spec.contains(":") ? spec.substring(0, spec.indexOf(':')) : spec;
        @Nullable String rest = spec.contains(":") ? spec.substring(kind.length() + 1) : null;
        return switch (kind) {
            case "embedded" -> embedded(rest, durability);
            case "testcontainers" -> new PostgresServer(ServerStarter.container(rest, durability));
            case "jdbc" -> borrowed(spec);
            default -> throw new IllegalArgumentException("Unknown PostgreSQL server '" + spec
                    + "'. Use embedded, embedded:15 … embedded:18, testcontainers,"
                    + " testcontainers:IMAGE or jdbc:postgresql://…");
        };
    }

    private static PostgresServer embedded(@Nullable String wanted, Durability durability) {
        if (wanted != null && !wanted.matches("1[5-8]")) {
            throw new IllegalArgumentException(
                    "embedded:" + wanted + " is not known; use embedded:15 … embedded:18");
        }
        PostgresServer server = new PostgresServer(ServerStarter.embedded(durability));
        if (wanted != null && server.major != Integer.parseInt(wanted)) {
            server.close();
            throw new IllegalStateException("The binaries on the class path are PostgreSQL "
                    + server.major + ", not " + wanted
                    + ". Start Maven with -Dpgquota.test.postgres=embedded:" + wanted);
        }
        return server;
    }

    private static PostgresServer borrowed(String url) {
        PostgresServer server = new PostgresServer(ServerStarter.borrowed(url));
        // A server of our own vanishes with its databases; this one must be left as it was found.
        Runtime.getRuntime().addShutdownHook(new Thread(server::close, "drop databases"));
        return server;
    }

    /** The JDBC URL of a database, to be used with {@link #user()} and {@link #password()}. */
    public String url(String database) {
        return maintenanceUrl.replaceFirst("^(jdbc:postgresql://[^/?]*)(/[^?]*)?",
                "$1/" + Matcher.quoteReplacement(database));
    }

    /** The same with the superuser's name and password in it. */
    public String loginUrl(String database) {
        String url = url(database);
        return url + (url.contains("?") ? "&" : "?") + "user=" + user + "&password=" + password;
    }

    /** A superuser's name. */
    public String user() {
        return user;
    }

    /** The superuser's password, empty if none is needed. */
    public String password() {
        return password;
    }

    /** The server's major version, such as 18. */
    public int major() {
        return major;
    }

    /** A new connection for each call, nothing pooled. */
    public DataSource dataSource(String database) {
        return source(url(database));
    }

    /** A pool of at most {@code size} connections; the caller closes it. */
    public HikariDataSource pool(String database, int size) {
        return pool(dataSource(database), size);
    }

    /** A pool of at most {@code size} connections over a source; the caller closes it. */
    public static HikariDataSource pool(DataSource source, int size) {
        HikariConfig config = new HikariConfig();
        config.setDataSource(source);
        config.setMaximumPoolSize(size);
        return new HikariDataSource(config);
    }

    /**
     * Creates a database, as a copy of {@code template} if one is given.
     * Nobody may be connected to the template meanwhile.
     */
    public void createDatabase(String name, @Nullable String template) {
        execute("create database " + quoted(name)
                + (template == null ? "" : " template " + quoted(template)));
        created.add(name);
    }

    /** A database that sorts as people do, and not by bytes: an ICU locale such as en-US. */
    public void createSortedDatabase(String name, String locale) {
        execute("create database " + quoted(name) + " template template0 locale_provider icu"
                + " icu_locale " + quoted(locale));
        created.add(name);
    }

    /** Drops a database if it exists, and disconnects whoever is still connected to it. */
    public void dropDatabase(String name) {
        execute("drop database if exists " + quoted(name) + " with (force)");
        created.remove(name);
    }

    /** Stops a server that was started here; on a borrowed one, drops what was created. */
    @Override
    public synchronized void close() {
        if (stop == null) {
            Set.copyOf(created).forEach(this::dropDatabase);
        } else {
            stop.run();
        }
    }

    private DataSource source(String url) {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(url);
        source.setUser(user);
        source.setPassword(password);
        return source;
    }

    private int askMajor() {
        try (Connection connection = source(maintenanceUrl).getConnection()) {
            return connection.getMetaData().getDatabaseMajorVersion();
        } catch (SQLException e) {
            if (stop != null) {
                stop.run();
            }
            throw new IllegalStateException("No answer from " + maintenanceUrl, e);
        }
    }

    private void execute(String sql) {
        try (Connection connection = source(maintenanceUrl).getConnection();
                Statement statement = connection.createStatement()) {
            statement.execute(sql);
        } catch (SQLException e) {
            throw new IllegalStateException("Failed: " + sql, e);
        }
    }

    private static String quoted(String name) {
        return '"' + name.replace("\"", "\"\"") + '"';
    }
}
