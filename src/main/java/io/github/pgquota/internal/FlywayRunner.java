package io.github.pgquota.internal;

import javax.sql.DataSource;
import org.flywaydb.core.Flyway;

/** All that the library has to do with Flyway, which is optional on the class path. */
final class FlywayRunner {

    private FlywayRunner() {}

    static void run(DataSource dataSource) {
        Flyway.configure(FlywayRunner.class.getClassLoader())
                .dataSource(dataSource)
                .locations("classpath:" + Migrations.FOLDER)
                .defaultSchema("pgquota")
                .schemas("pgquota")
                .createSchemas(false)
                .table("schema_history")
                // any number of processes wait for their turn; each finds less to do
                .lockRetryCount(-1)
                .cleanDisabled(true)
                .load()
                .migrate();
    }
}
