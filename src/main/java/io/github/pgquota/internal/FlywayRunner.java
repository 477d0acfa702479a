package io.github.pgquota.internal;

import io.github.pgquota.QuotaException;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import javax.sql.DataSource;
import org.flywaydb.core.Flyway;
import org.flywaydb.core.api.CoreErrorCode;
import org.flywaydb.core.api.FlywayException;
import org.flywaydb.core.api.callback.Callback;
import org.flywaydb.core.api.callback.Context;
import org.flywaydb.core.api.callback.Event;
import org.flywaydb.core.api.exception.FlywayValidateException;
import org.flywaydb.database.postgresql.PostgreSQLDatabaseType;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** All that the library has to do with Flyway, which is optional on the class path. */
final class FlywayRunner {

    private static final Logger LOG = LoggerFactory.getLogger(FlywayRunner.class);

    /** With a second between them: about half a minute. */
    private static final int ATTEMPTS = 25;

    private FlywayRunner() {}

    /**
     * @param found the schema's version, 0 if there is none; without a history it was printed and
     *     run by hand, and its history begins there
     * @throws NoClassDefFoundError if Flyway, or its part for PostgreSQL, is missing
     */
    static void run(DataSource dataSource, int found) {
        // without it Flyway says only that it does not support the database
        Objects.requireNonNull(PostgreSQLDatabaseType.class);
        for (int attempt = 1; ; attempt++) {
            try {
                flyway(dataSource, found).migrate();
                return;
            } catch (FlywayException e) {
                RuntimeException told = told(e, found);
                if (!(told instanceof QuotaException.Unavailable u) || !SqlStates.isInTheWay(u)
                        || attempt == ATTEMPTS || Thread.currentThread().isInterrupted()) {
                    throw told;
                }
                LOG.info("attempt {} of {}, the next one in a second: {}", attempt, ATTEMPTS,
                        told.getMessage());
                LockSupport.parkNanos(TimeUnit.SECONDS.toNanos(1));
            }
        }
    }

    /** What Flyway says in its own words, and what the database or a thread said below them. */
    static RuntimeException told(FlywayException e, int found) {
        if (e.getCause() instanceof InterruptedException) {
            Thread.currentThread().interrupt();
            return new QuotaException.Withdrawn();
        }
        if (e instanceof FlywayValidateException) {
            return new QuotaException.SchemaMismatch(found, Migrations.VERSION, "it was not made "
                    + "by this library's scripts, but by others of the same names", e);
        }
        if (e.getErrorCode() == CoreErrorCode.NON_EMPTY_SCHEMA_WITHOUT_SCHEMA_HISTORY_TABLE) {
            return new QuotaException.SchemaMismatch(found, Migrations.VERSION, "there is a schema"
                    + " pgquota that this library did not make: rename or drop it", e);
        }
        if (e.getCause() == null) {
            return new QuotaException.Unavailable("Flyway could not migrate, perhaps as another "
                    + "process has been migrating for half an hour: " + e.getMessage(), null, e);
        }
        return SqlStates.migrating(e);
    }

    private static Flyway flyway(DataSource dataSource, int found) {
        return Flyway.configure(FlywayRunner.class.getClassLoader())
                .dataSource(dataSource)
                .locations("classpath:" + Migrations.FOLDER)
                .defaultSchema("pgquota")
                .schemas("pgquota")
                .createSchemas(false)
                .baselineOnMigrate(found > 0)
                .baselineVersion(String.valueOf(Math.max(1, found)))
                .table("schema_history")
                // any number of processes wait for their turn; each finds less to do. A second each
                .lockRetryCount(60 * Migrations.PATIENCE)
                .cleanDisabled(true)
                .callbacks(new ShortLocks())
                .load();
    }

    /**
     * Lets a script wait for a lock only shortly: whoever comes after it waits behind it, so one
     * that waited for somebody's long transaction would stop everybody. And neither a pool's limit
     * to statements nor its socketTimeout ends one that has its locks and builds an index.
     */
    private static final class ShortLocks implements Callback {

        private static final long SOCKET = TimeUnit.MINUTES.toMillis(Migrations.PATIENCE);
        private static final String SETTINGS = "set local lock_timeout = '200ms'; "
                + "set local statement_timeout = " + (SOCKET - 2_000);

        @Override
        public boolean supports(Event event, Context context) {
            return event == Event.BEFORE_EACH_MIGRATE;
        }

        @Override
        public boolean canHandleInTransaction(Event event, Context context) {
            return true;
        }

        @Override
        public void handle(Event event, Context context) {
            Connection connection = context.getConnection(); // of Bounded, which sets it back
            try (Statement statement = connection.createStatement()) {
                statement.execute(SETTINGS);
                connection.setNetworkTimeout(Runnable::run, (int) SOCKET);
            } catch (SQLException e) {
                throw new FlywayException(e);
            }
        }

        @Override
        public String getCallbackName() {
            return "pgquota";
        }
    }
}
