package io.github.pgquota.internal;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import com.zaxxer.hikari.SQLExceptionOverride;
import io.github.pgquota.Pools;
import io.github.pgquota.QuotaException;
import java.io.PrintWriter;
import java.net.SocketTimeoutException;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.logging.Logger;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;

/** All that the library has to do with HikariCP, which is optional on the class path. */
public final class HikariPools {

    private HikariPools() {}

    /** See {@link Pools#create}. */
    public static Pools.Pool create(String url, String user, String password, int size) {
        HikariConfig config = new HikariConfig();
        config.setPoolName("pgquota");
        // Not setJdbcUrl: with that HikariCP sets the log-in timeout of the whole JVM.
        config.setDataSourceClassName(source());
        config.addDataSourceProperty("URL", withDefaults(url));
        config.setUsername(user);
        config.setPassword(password);
        config.setMaximumPoolSize(size);
        config.setAutoCommit(true);
        config.setConnectionTimeout(Duration.ofSeconds(2).toMillis());
        config.setValidationTimeout(Duration.ofSeconds(1).toMillis());
        config.setMaxLifetime(Duration.ofMinutes(10).toMillis());
        // an application may start before its database does
        config.setInitializationFailTimeout(-1);
        Eviction eviction = new Eviction();
        config.setExceptionOverride(eviction);
        HikariDataSource pool = new HikariDataSource(config);
        eviction.pool = pool;
        return new Hikari(pool);
    }

    private static String source() {
        try {
            return Source.class.getName();
        } catch (NoClassDefFoundError e) {
            throw new QuotaException.MissingLibrary("org.postgresql:postgresql",
                    "it is the driver, which the library leaves to the application", e);
        }
    }

    /**
     * Never a query timeout among them: its cancel ends a commit's wait for the standby, and the
     * commit then seems to have succeeded there.
     */
    static String withDefaults(String url) {
        int hosts = url.replaceFirst("^jdbc:postgresql:(//([^/?]*))?.*", "$2").split(",").length;
        Map<String, String> defaults = new TreeMap<>(Map.of(
                "connectTimeout", "2",
                "loginTimeout", Integer.toString(2 + 2 * hosts),
                "socketTimeout", "10",
                "tcpKeepAlive", "true"));
        if (hosts > 1) {
            defaults.put("targetServerType", "primary");
            defaults.put("hostRecheckSeconds", "1");
        }
        StringBuilder full = new StringBuilder(url);
        char before = url.contains("?") ? '&' : '?';
        for (var entry : defaults.entrySet()) {
            if (!url.matches(".*[?&]" + entry.getKey() + "=.*")) {
                full.append(before).append(entry.getKey()).append('=').append(entry.getValue());
                before = '&';
            }
        }
        return full.toString();
    }

    /**
     * A host that takes connections and is silent, as a primary is whose machine hangs, must not
     * use up the time of a log-in: the next host is the new primary. The driver lets it wait as
     * long as for an answer, so the time for answers is set after the log-in. Public for HikariCP.
     */
    public static final class Source extends PGSimpleDataSource {

        private static final long serialVersionUID = 1L;

        private int answerMillis;

        @Override
        public void setURL(String url) {
            super.setURL(url);
            int answer = getSocketTimeout();
            answerMillis = (int) TimeUnit.SECONDS.toMillis(answer);
            setSocketTimeout(answer == 0 ? getConnectTimeout()
                    : Math.min(answer, getConnectTimeout()));
        }

        @Override
        public Connection getConnection(String user, String password) throws SQLException {
            Connection connection = super.getConnection(user, password);
            connection.setNetworkTimeout(Runnable::run, answerMillis);
            return connection;
        }

        /** HikariCP would set what a caller waits for a connection: too short for two hosts. */
        @Override
        public void setLoginTimeout(int seconds) {
            return;
        }
    }

    /**
     * A server that has become a standby answers every write with an error, for ever. And where one
     * connection got no answer in time the others would not either: callers would find them out one
     * by one, a second for each.
     */
    private static final class Eviction implements SQLExceptionOverride {

        private volatile @Nullable HikariDataSource pool;

        @java.lang.Override // beside the interface's own type of that name
        public Override adjudicate(SQLException e) {
            HikariDataSource all = pool;
            if (all != null && e.getCause() instanceof SocketTimeoutException) {
                all.getHikariPoolMXBean().softEvictConnections();
            }
            return SqlStates.isReadOnly(e) ? Override.MUST_EVICT : Override.CONTINUE_EVICT;
        }
    }

    /** Keeps HikariCP's types out of the API. */
    private record Hikari(HikariDataSource pool) implements Pools.Pool {

        @Override
        public Connection getConnection() throws SQLException {
            return pool.getConnection();
        }

        @Override
        public Connection getConnection(String user, String password) throws SQLException {
            return pool.getConnection(user, password);
        }

        @Override
        public PrintWriter getLogWriter() throws SQLException {
            return pool.getLogWriter();
        }

        @Override
        public void setLogWriter(PrintWriter out) throws SQLException {
            pool.setLogWriter(out);
        }

        @Override
        public void setLoginTimeout(int seconds) throws SQLException {
            pool.setLoginTimeout(seconds);
        }

        @Override
        public int getLoginTimeout() throws SQLException {
            return pool.getLoginTimeout();
        }

        @Override
        public Logger getParentLogger() throws java.sql.SQLFeatureNotSupportedException {
            return pool.getParentLogger();
        }

        @Override
        public <T> T unwrap(Class<T> type) throws SQLException {
            return type.isInstance(pool) ? type.cast(pool) : pool.unwrap(type);
        }

        @Override
        public boolean isWrapperFor(Class<?> type) throws SQLException {
            return type.isInstance(pool) || pool.isWrapperFor(type);
        }

        @Override
        public void close() {
            pool.close();
        }

        @Override
        public String toString() {
            return pool.toString();
        }
    }
}
