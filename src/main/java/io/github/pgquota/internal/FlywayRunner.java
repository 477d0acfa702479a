package io.github.pgquota.internal;

import java.util.Objects;
import javax.sql.DataSource;
import org.flywaydb.core.Flyway;
import org.flywaydb.core.api.FlywayException;
import org.flywaydb.database.postgresql.PostgreSQLDatabaseType;

/** All that the library has to do with Flyway, which is optional on the class path. */
final class FlywayRunner {

    private FlywayRunner() {}

    /** @throws NoClassDefFoundError if Flyway, or its part for PostgreSQL, is missing */
    static void run(DataSource dataSource) {
        // without it Flyway says only that it does not support the database
        Objects.requireNonNull(PostgreSQLDatabaseType.class);
        try {
            flyway(dataSource).migrate();
        } catch (FlywayException e) {
            throw SqlStates.between(e, Right.MIGRATE);
        }
    }

    private static Flyway flyway(DataSource dataSource) {
        return Flyway.configure(FlywayRunner.class.getClassLoader())
                .dataSource(dataSource)
                .locations("classpath:" + Migrations.FOLDER)
                .defaultSchema("pgquota")
                .schemas("pgquota")
                .createSchemas(false)
                .table("schema_history")
                // any number of processes wait for their turn; each finds less to do
                .lockRetryCount(-1)
                .cleanDisabled(true)
                .load();
    }
}
