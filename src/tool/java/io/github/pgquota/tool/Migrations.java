package io.github.pgquota.tool;

import javax.sql.DataSource;
import org.flywaydb.core.Flyway;

/**
 * Runs the scripts in {@code db/migration} as they lie there, without the library: its classes may
 * not compile before {@link Codegen} has run.
 */
public final class Migrations {

    private Migrations() {}

    /** Migrates a database. */
    public static void run(DataSource database) {
        Flyway.configure()
                .dataSource(database)
                .defaultSchema("pgquota")
                .table("schema_history")
                .createSchemas(true)
                .locations("filesystem:db/migration")
                .load()
                .migrate();
    }
}
