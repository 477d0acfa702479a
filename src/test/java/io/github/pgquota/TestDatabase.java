package io.github.pgquota;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.tool.PostgresServer;
import io.github.pgquota.tool.PostgresServer.Durability;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.atomic.AtomicInteger;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * A database of its own for a test, dropped on {@link #close()}; the one place where tests get one.
 *
 * <p>The system property {@code pgquota.test.postgres} says on which server, in the words of
 * {@link PostgresServer}. One server serves the whole JVM, and stops with it.
 *
 * <p>Connections are hostile on purpose: their time zone is neither the JVM's nor the server's,
 * nothing is on their {@code search_path}, and a migrated database does not sort by bytes.
 */
public final class TestDatabase implements AutoCloseable {

    /** The sessions' time zone: 12:45 ahead of UTC, or 13:45. */
    public static final String ZONE = "Pacific/Chatham";

    private static final AtomicInteger NUMBER = new AtomicInteger();

    private final String name;

    private TestDatabase(String name) {
        this.name = name;
    }

    /** A migrated database. */
    public static TestDatabase create() {
        return copyOf(Template.NAME);
    }

    /** A database without our schema. */
    public static TestDatabase empty() {
        return copyOf(null);
    }

    private static TestDatabase copyOf(@Nullable String template) {
        String name = nextName("test");
        server().createDatabase(name, template);
        return new TestDatabase(name);
    }

    /** The server, started by the first call. */
    public static PostgresServer server() {
        return Server.ONE;
    }

    /** A new connection for each call. */
    public DataSource dataSource() {
        return new Hostile(url(), server().user(), server().password());
    }

    /** A pool of at most {@code size} connections; the caller closes it. */
    public HikariDataSource pool(int size) {
        return PostgresServer.pool(dataSource(), size);
    }

    /** A connection that the caller closes. */
    public Connection connection() throws SQLException {
        return dataSource().getConnection();
    }

    /** The database's name on {@link #server()}. */
    public String name() {
        return name;
    }

    /** The database's JDBC URL, for the user and password of {@link #server()}. */
    public String url() {
        return server().url(name);
    }

    /** Drops the database; connections that are still open are cut. */
    @Override
    public void close() {
        server().dropDatabase(name);
    }

    /** Another JVM may use the same server at the same time, hence the process id. */
    private static String nextName(String purpose) {
        return "pgquota_" + purpose + "_" + ProcessHandle.current().pid() + "_"
                + NUMBER.incrementAndGet();
    }

    /** Holds the server: the JVM initialises a class once, when it is first used. */
    private static final class Server {
        static final PostgresServer ONE = PostgresServer.start(
                System.getProperty("pgquota.test.postgres", "embedded"), Durability.FAST);
    }

    /** Holds the migrated database that all others are copied from. */
    private static final class Template {
        static final String NAME = create();

        private static String create() {
            String name = nextName("template");
            server().createSortedDatabase(name, "en-US");
            Schema.of(server().dataSource(name)).migrate();
            return name;
        }
    }

    /**
     * The driver tells the server the JVM's zone at the start of a session, above all defaults of
     * role and database, so the zone has to be set after that.
     */
    private static final class Hostile extends PGSimpleDataSource {

        private static final long serialVersionUID = 1L;

        Hostile(String url, String user, String password) {
            setURL(url);
            setUser(user);
            setPassword(password);
        }

        @Override
        public Connection getConnection(String user, String password) throws SQLException {
            Connection connection = super.getConnection(user, password);
            try (Statement statement = connection.createStatement()) {
                statement.execute("set time zone '" + ZONE + "'; set search_path to ''");
                return connection;
            } catch (SQLException e) {
                connection.close();
                throw e;
            }
        }
    }
}
