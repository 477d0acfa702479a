package io.github.pgquota.tool;

import java.nio.file.Path;
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
        run(database, Path.of("db/migration"));
    }

    /** Migrates a database with the scripts in a folder. */
    public static void run(DataSource database, Path scripts) {
        Flyway.configure()
                .dataSource(database)
                .defaultSchema("pgquota")
                .table("schema_history")
                .createSchemas(true)
                .locations("filesystem:" + scripts)
                .load()
                .migrate();
    }
}
