package io.github.pgquota;

import io.github.pgquota.internal.Migrations;
import java.util.Objects;
import javax.sql.DataSource;

/**
 * The library's tables, in the schema {@code pgquota} of the application's database. Migrations
 * have a history table of their own there: an application's Flyway sees nothing of them. Safe for
 * concurrent use.
 *
 * <pre>{@code
 * Schema.of(dataSource).migrate();   // with the rights to create schema and roles
 * Schema.of(dataSource).verify();    // at an application's start, without them
 * }</pre>
 */
public final class Schema {

    private final DataSource dataSource;

    private Schema(DataSource dataSource) {
        this.dataSource = Objects.requireNonNull(dataSource, "dataSource");
    }

    /** The schema in a DataSource's database; the DataSource stays the caller's. */
    public static Schema of(DataSource dataSource) {
        return new Schema(dataSource);
    }

    /**
     * Brings an empty, current or older schema to this library's version. Any number of processes
     * may do so at once, also while others work: those wait for each script's work, and no longer
     * than 0.2 seconds at a time for what the script waits for itself. It tries for half a minute.
     * Needs Flyway on the class path: {@code flyway-core} and {@code flyway-database-postgresql}.
     *
     * @throws QuotaException.Unavailable if a transaction that stays open keeps it from a table
     * @throws QuotaException.SchemaMismatch if the schema is newer than this library
     * @throws QuotaException.MissingLibrary without Flyway; see {@link #print}
     * @throws QuotaException.Forbidden without CREATE on the database, and CREATEROLE or membership
     *     in pgquota_owner
     */
    public void migrate() {
        Migrations.migrate(dataSource);
    }

    /**
     * Checks that the schema is this library's version. Needs no rights beyond those of the roles.
     *
     * @throws QuotaException.SchemaMismatch if it is missing, older or newer
     */
    public void verify() {
        Migrations.verify(dataSource);
    }

    /**
     * The migrations as one SQL script, for those who run their own tool; for an empty database.
     */
    public static String print() {
        return Migrations.print();
    }
}
