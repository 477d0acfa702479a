package io.github.pgquota;

import io.github.pgquota.internal.HikariPools;
import java.util.Objects;
import javax.sql.DataSource;

/**
 * Connection pools that are set for quotas: a decision waits two seconds for a connection, not
 * thirty; a database that falls silent is noticed; after a failover the pool finds the new primary.
 * Any other DataSource does as well. Needs HikariCP on the class path.
 *
 * <pre>{@code
 * try (Pools.Pool pool = Pools.create("jdbc:postgresql://a,b/app", "app", secret, 10);
 *         Quotas quotas = Quotas.on(pool).build()) {
 *     quotas.consume(Request.of("acme").take("requests", 1)).orThrow();
 * }
 * }</pre>
 */
public final class Pools {

    private Pools() {}

    /** A pool, which its maker closes. Safe for concurrent use. */
    public interface Pool extends DataSource, AutoCloseable {

        /** Closes its connections. A second call does nothing. */
        @Override
        void close();
    }

    /**
     * A pool of connections in autocommit mode. Does not touch the database before it is used.
     *
     * <p>What the URL does not set itself is set here: {@code connectTimeout} 2 seconds, which is
     * also how long a host may be silent during the log-in; {@code loginTimeout} 2 and 2 more for
     * each host; {@code socketTimeout} 10 (let it be longer than the server may need for a commit),
     * {@code tcpKeepAlive}, and with several hosts {@code targetServerType=primary} and {@code
     * hostRecheckSeconds} 1.
     *
     * @param url a JDBC URL of PostgreSQL, with one host or several
     * @param size the most connections, 1 to 1000
     * @throws QuotaException.Invalid if it is another database's URL, or the size is out of range
     * @throws QuotaException.MissingLibrary without HikariCP or the PostgreSQL driver
     */
    public static Pool create(String url, String user, String password, int size) {
        if (!url.startsWith("jdbc:postgresql:")) {
            throw new QuotaException.Invalid("url", url, "does not begin with jdbc:postgresql:");
        }
        if (size < 1 || size > 1000) {
            throw new QuotaException.Invalid("size", size, "must be 1 to 1000");
        }
        Objects.requireNonNull(user, "user");
        Objects.requireNonNull(password, "password");
        try {
            return HikariPools.create(url, user, password, size);
        } catch (NoClassDefFoundError e) {
            throw new QuotaException.MissingLibrary("com.zaxxer:HikariCP",
                    "Pools.create() runs on it; or use a DataSource of your own", e);
        }
    }
}
