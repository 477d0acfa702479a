package io.github.pgquota.internal;

import io.github.pgquota.QuotaException;
import io.github.pgquota.Timeouts;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import javax.sql.DataSource;

/** Which scripts make the schema, and which version a database has. */
public final class Migrations {

    /** The scripts, in their order; what they are called in the jar. */
    static final List<String> SCRIPTS =
            List.of("V1__tables.sql", "V2__windows.sql", "V3__engine.sql", "V4__administration.sql",
            "V5__views.sql");

    /** The version that this library needs: that of the last script. */
    static final int VERSION = SCRIPTS.size();

    static final String FOLDER = "io/github/pgquota/migration";

    /**
     * Flyway takes several connections and makes whoever comes second wait with them in its hands.
     * Many threads of one process would starve each other of their pool; so they queue up here, and
     * other processes at Flyway's lock in the database.
     */
    private static final ReentrantLock TURN = new ReentrantLock();

    /** Minutes that a statement of a script may take, and that others wait for who migrates. */
    static final int PATIENCE = 30;

    /** Whoever makes the schema locks it for a moment, unless its process has been stopped. */
    private static final Timeouts MAKING = new Timeouts(
            Duration.ofSeconds(30), Duration.ofSeconds(58), Duration.ofMinutes(1));

    /** What this library calls most. Scripts of one number had others before the first release. */
    private static final String FUNCTIONS = "select count(to_regprocedure('pgquota.' || f)) from "
            + "(values ('apply(text,text,text,uuid,bigint,text[],bigint[],int,int)'), "
            + "('apply(text[],text[],text[],uuid[],bigint[],int[],text[],bigint[],int[],int)'), "
            + "('balances(text)')) functions (f)";

    private Migrations() {}

    /** See {@link io.github.pgquota.Schema#migrate}. */
    public static void migrate(DataSource dataSource) {
        Database database = new Database(dataSource, Right.MIGRATE, Timeouts.standard());
        if (isCurrent(database)) {
            return;
        }
        takeTurn();
        try {
            if (!isCurrent(database)) {
                DataSource bounded = Bounded.over(dataSource, (int) MAKING.socket().toMillis());
                createSchema(new Database(bounded, Right.MIGRATE, MAKING));
                FlywayRunner.run(bounded, version(database));
            }
        } catch (NoClassDefFoundError e) {
            throw new QuotaException.MissingLibrary("org.flywaydb:flyway-database-postgresql",
                    "Schema.migrate() runs on it; or run the script that Schema.print() gives", e);
        } finally {
            TURN.unlock();
        }
    }

    private static void takeTurn() {
        try {
            if (!TURN.tryLock(PATIENCE, TimeUnit.MINUTES)) {
                throw new QuotaException.Unavailable("another thread of this process has been "
                        + "migrating for " + PATIENCE + " minutes", null, null);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new QuotaException.Withdrawn();
        }
    }

    /** @throws QuotaException.SchemaMismatch if it is newer than this library */
    private static boolean isCurrent(Database database) {
        int found = version(database);
        if (found > VERSION) {
            throw tooNew(found);
        }
        return found == VERSION;
    }

    /** See {@link io.github.pgquota.Schema#verify}. */
    public static void verify(DataSource dataSource) {
        int found = version(new Database(dataSource, Right.ANY, Timeouts.standard()));
        if (found > VERSION) {
            throw tooNew(found);
        }
        if (found < VERSION) {
            throw new QuotaException.SchemaMismatch(found, VERSION,
                    "run Schema.of(dataSource).migrate() with a user who may change it", null);
        }
    }

    private static QuotaException tooNew(int found) {
        return new QuotaException.SchemaMismatch(
                found, VERSION, "update the library in this application", null);
    }

    /** See {@link io.github.pgquota.Schema#print}. */
    public static String print() {
        StringBuilder script = new StringBuilder("begin;\ncreate schema if not exists pgquota;\n");
        for (String name : SCRIPTS) {
            script.append("\n-- ").append(name).append('\n').append(read(name));
        }
        return script.append("\ncommit;\n").toString();
    }

    private static String read(String name) {
        try (InputStream in =
                Migrations.class.getClassLoader().getResourceAsStream(FOLDER + "/" + name)) {
            if (in == null) {
                throw new IllegalStateException(name + " is missing from the library's jar");
            }
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** "create schema if not exists" fails when two do it at once (23505), so they queue up. */
    private static void createSchema(Database database) {
        try {
            database.transaction(connection -> {
                try (var statement = connection.createStatement()) {
                    statement.execute("select pg_advisory_xact_lock(hashtext('pgquota'), 1)");
                    statement.execute("create schema if not exists pgquota");
                    return true;
                }
            });
        } catch (QuotaException.OutcomeUnknown e) {
            throw SqlStates.migrating(e);
        }
    }

    /** 0 if there is none. */
    private static int version(Database database) {
        return database.report(connection -> {
            // two statements: the second does not parse where the function is missing
            if (!exists(connection)) {
                return 0;
            }
            int found = number(connection, "select pgquota.schema_version()");
            if (found == VERSION && number(connection, FUNCTIONS) < 3) {
                throw new QuotaException.SchemaMismatch(found, VERSION, "this one is older all the "
                        + "same, from before the first release, and nothing leads from there to "
                        + "here: drop the schema with all that it holds, and migrate", null);
            }
            return found;
        });
    }

    private static boolean exists(java.sql.Connection connection) throws SQLException {
        return number(connection,
                "select count(*) from pg_catalog.pg_proc p join pg_catalog.pg_namespace n "
                + "on n.oid = p.pronamespace where n.nspname = 'pgquota' and p.proname = "
                + "'schema_version'") > 0;
    }

    private static int number(java.sql.Connection connection, String sql) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql);
                ResultSet result = statement.executeQuery()) {
            result.next();
            return result.getInt(1);
        }
    }
}
