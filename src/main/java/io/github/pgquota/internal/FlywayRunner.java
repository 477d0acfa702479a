package io.github.pgquota.internal;

import java.util.Objects;
import javax.sql.DataSource;
import org.flywaydb.core.Flyway;
import org.flywaydb.core.api.FlywayException;
import org.flywaydb.database.postgresql.PostgreSQLDatabaseType;

/** All that the library has to do with Flyway, which is optional on the class path. */
final class FlywayRunner {

    private FlywayRunner() {}

    /**
     * @param found the schema's version, 0 if there is none; without a history it was printed and
     *     run by hand, and its history begins there
     * @throws NoClassDefFoundError if Flyway, or its part for PostgreSQL, is missing
     */
    static void run(DataSource dataSource, int found) {
        // without it Flyway says only that it does not support the database
        Objects.requireNonNull(PostgreSQLDatabaseType.class);
        try {
            flyway(dataSource, found).migrate();
        } catch (FlywayException e) {
            throw SqlStates.between(e, Right.MIGRATE);
        }
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
                // any number of processes wait for their turn; each finds less to do
                .lockRetryCount(-1)
                .cleanDisabled(true)
                .load();
    }
}
