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
     * than 0.2 seconds at a time for what the script waits for itself. It tries for half a minute,
     * and waits for another thread's or process's migration for half an hour; a statement of a
     * script may take as long, whatever socketTimeout the DataSource has.
     * Needs Flyway on the class path: {@code flyway-core} and {@code flyway-database-postgresql}.
     *
     * <p>Each script is applied as a whole or not at all, and whatever this throws, it is safe to
     * call it again: it goes on from where the schema stands.
     *
     * @throws QuotaException.Unavailable if no connection can be had, a transaction that stays open
     *     keeps it from a table, or a wait was too long
     * @throws QuotaException.OutcomeUnknown if the connection was lost; migrate again
     * @throws QuotaException.Withdrawn if the thread was interrupted while it waited its turn
     * @throws QuotaException.SchemaMismatch if the schema is newer than this library, or was not
     *     made by its scripts
     * @throws QuotaException.MissingLibrary without Flyway; see {@link #print}
     * @throws QuotaException.Forbidden without CREATE on the database, and CREATEROLE or membership
     *     in pgquota_owner
     */
    public void migrate() {
        Migrations.migrate(dataSource);
    }

    /**
     * Checks that the schema is this library's version. Needs no rights beyond those of the roles.
     * Waits no longer than a verb does, see {@link Timeouts#standard}.
     *
     * @throws QuotaException.SchemaMismatch if it is missing, older or newer
     * @throws QuotaException.Unavailable if the database cannot be asked
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
