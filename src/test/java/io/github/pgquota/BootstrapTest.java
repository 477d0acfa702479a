package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.tool.SchemaDump;
import java.io.IOException;
import java.io.OutputStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import javax.sql.DataSource;
import org.awaitility.Awaitility;
import org.flywaydb.core.Flyway;
import org.flywaydb.core.api.MigrationInfo;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;
import org.postgresql.ds.PGSimpleDataSource;

/** Any number of processes may migrate a database at once. */
class BootstrapTest {

    /** A process of its own: waits for a line, then migrates a database from many threads. */
    static final class Migrator {

        private Migrator() {}

        /** Arguments: URL, user, password, threads. */
        public static void main(String[] args) throws Exception {
            PGSimpleDataSource source = source(args[0], args[1], args[2]);
            System.out.println("ready");
            System.in.read();
            Callers.run(Integer.parseInt(args[3]), caller -> {
                Schema.of(source).migrate();
                return true;
            });
            System.out.println("done");
        }
    }

    private static PGSimpleDataSource source(String url, String user, String password) {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(url);
        source.setUser(user);
        source.setPassword(password);
        return source;
    }

    private static Process process(String url, int threads) throws IOException {
        Process process = java("warn", Migrator.class, url, TestDatabase.server().user(),
                TestDatabase.server().password(), String.valueOf(threads));
        assertThat(process.inputReader().readLine()).isEqualTo("ready");
        return process;
    }

    private static Process java(String logLevel, Class<?> main, String... args)
            throws IOException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx128m", "-XX:TieredStopAtLevel=1",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=" + logLevel,
                "-cp", System.getProperty("java.class.path"), main.getName()));
        command.addAll(List.of(args));
        return new ProcessBuilder(command).redirectErrorStream(true).start();
    }

    private static void go(Process process) throws IOException {
        OutputStream in = process.getOutputStream();
        in.write('\n');
        in.flush();
    }

    private static void assertDone(Process process) throws Exception {
        String said = new String(
                process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(said.strip()).isEqualTo("done");
        assertThat(process.exitValue()).isZero();
    }

    @Test
    void manyThreadsAndProcessesMakeOneSchema() throws Exception {
        try (TestDatabase database = TestDatabase.empty()) {
            List<Process> processes = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                processes.add(process(database.url(), 10));
            }
            DataSource source = database.dataSource();
            Callers.run(120, caller -> {
                if (caller < processes.size()) {
                    go(processes.get(caller));
                }
                Schema.of(source).migrate();
                return true;
            });
            for (Process process : processes) {
                assertDone(process);
            }
            assertMigrated(source);
            // and the current one, again
            Callers.run(40, caller -> {
                Schema.of(source).migrate();
                return true;
            });
            assertMigrated(source);
        }
    }

    private static void assertMigrated(DataSource source) throws SQLException {
        Schema.of(source).verify();
        try (TestDatabase calm = TestDatabase.create()) {
            assertThat(SchemaDump.of(source, "pgquota"))
                    .isEqualTo(SchemaDump.of(calm.dataSource(), "pgquota"));
            String history = "select string_agg(version || ' ' || script || ' ' || success, ', ' "
                    + "order by installed_rank) from pgquota.schema_history";
            assertThat(ask(source, history)).isEqualTo(ask(calm.dataSource(), history));
        }
    }

    private static String ask(DataSource source, String sql) throws SQLException {
        try (Connection connection = source.getConnection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(sql)) {
            row.next();
            return row.getString(1);
        }
    }

    private static void execute(DataSource source, String sql) throws SQLException {
        try (Connection connection = source.getConnection();
                Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    /** Another process has begun to make the schema, and not committed it yet. */
    @Test
    void whoComesWhileTheSchemaIsMadeWaits() throws Exception {
        try (TestDatabase database = TestDatabase.empty();
                Connection other = database.connection();
                Connection watcher = database.connection();
                Statement sql = other.createStatement()) {
            other.setAutoCommit(false);
            sql.execute("select pg_advisory_xact_lock(hashtext('pgquota'), 1)");
            sql.execute("create schema pgquota");
            CompletableFuture<Void> migrated = CompletableFuture.runAsync(
                    () -> Schema.of(database.dataSource()).migrate());
            Awaitility.await().atMost(Duration.ofSeconds(30)).until(() -> {
                try (Statement look = watcher.createStatement(); ResultSet row =
                        look.executeQuery("select exists (select from pg_stat_activity where "
                                + "datname = current_database() and wait_event_type = 'Lock')")) {
                    return migrated.isDone() || row.next() && row.getBoolean(1);
                }
            });
            other.commit();
            migrated.get(60, TimeUnit.SECONDS);
            Schema.of(database.dataSource()).verify();
        }
    }

    /** As an index does on a table that has grown. */
    private static void slowViews(DataSource superuser, double seconds) throws SQLException {
        execute(superuser, "create function public.slow() returns event_trigger language plpgsql "
                + "as $$ begin perform pg_sleep(" + seconds + "); end $$");
        execute(superuser, "create event trigger slow on ddl_command_end "
                + "when tag in ('CREATE VIEW') execute function public.slow()");
    }

    @Test
    void aScriptMayTakeLongerThanAPoolWaitsForAnAnswer() throws Exception {
        try (TestDatabase database = TestDatabase.empty();
                Pools.Pool pool = Pools.create(database.url()
                        + (database.url().contains("?") ? "&" : "?") + "socketTimeout=1",
                        TestDatabase.server().user(), TestDatabase.server().password(), 3)) {
            slowViews(database.dataSource(), 1.5);
            Schema.of(pool).migrate();
            Schema.of(pool).verify();
            for (int i = 0; i < 3; i++) {
                try (Connection connection = pool.getConnection()) {
                    assertThat(connection.getNetworkTimeout()).isEqualTo(1_000);
                }
            }
            execute(database.dataSource(), "drop event trigger slow");
            assertMigrated(pool);
        }
    }

    @Test
    void aMigrationWhoseConnectionIsLostGoesOnWhereItStood() throws Exception {
        try (TestDatabase database = TestDatabase.empty()) {
            DataSource source = database.dataSource();
            slowViews(source, 60);
            CompletableFuture<Void> migrated =
                    CompletableFuture.runAsync(() -> Schema.of(source).migrate());
            Awaitility.await().atMost(Duration.ofSeconds(60)).until(() -> migrated.isDone()
                    || ask(source, "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                            + "where datname = current_database() and wait_event = 'PgSleep'")
                            .equals("1"));
            assertThat(assertThrows(ExecutionException.class,
                    () -> migrated.get(60, TimeUnit.SECONDS)))
                    .hasCauseInstanceOf(QuotaException.OutcomeUnknown.class)
                    .hasMessageContaining("migrate again, which goes on from there");
            execute(source, "drop event trigger slow; drop function public.slow()");
            Schema.of(source).migrate();
            assertMigrated(source);
        }
    }

    /** That somebody else is in the way may soon be over. A disk that is full, say, may not. */
    @Test
    void whatNobodyElseCausedIsNotTriedAgain() throws Exception {
        try (TestDatabase database = TestDatabase.empty()) {
            DataSource source = database.dataSource();
            execute(source, "create sequence public.tried");
            execute(source, "create function public.full() returns event_trigger language plpgsql "
                    + "security definer as $$ begin perform nextval('public.tried'); "
                    + "raise 'full' using errcode = '53100'; end $$");
            execute(source, "create event trigger full_disk on ddl_command_end "
                    + "when tag in ('CREATE VIEW') execute function public.full()");
            assertThat(assertThrows(QuotaException.Unavailable.class,
                    () -> Schema.of(source).migrate()))
                    .hasMessageContaining("migrate again")
                    .extracting(QuotaException.Unavailable::sqlState).isEqualTo("53100");
            assertThat(ask(source, "select last_value from public.tried")).isEqualTo("1");
        }
    }

    @Test
    void whoWaitsForAnotherThreadsMigrationCanBeInterrupted() throws Exception {
        try (TestDatabase database = TestDatabase.empty();
                Connection other = database.connection();
                Statement sql = other.createStatement()) {
            other.setAutoCommit(false);
            sql.execute("select pg_advisory_xact_lock(hashtext('pgquota'), 1)");
            AtomicReference<Throwable> told = new AtomicReference<>();
            List<Thread> threads = new ArrayList<>();
            for (int i = 0; i < 2; i++) {
                Thread thread = new Thread(() -> {
                    try {
                        Schema.of(database.dataSource()).migrate();
                    } catch (QuotaException e) {
                        told.set(e);
                    }
                }, "migrates");
                threads.add(thread);
                thread.start();
                Awaitility.await().until(() -> ask(database.dataSource(), "select count(*) from "
                        + "pg_stat_activity where datname = current_database() and wait_event_type "
                        + "= 'Lock'").equals("1"));
            }
            Thread second = threads.get(1);
            Awaitility.await().until(() -> second.getState() == Thread.State.TIMED_WAITING
                    || second.getState() == Thread.State.WAITING);
            second.interrupt();
            second.join(20_000);
            assertThat(told.get()).isInstanceOf(QuotaException.Withdrawn.class);
            other.rollback();
            threads.get(0).join(60_000);
            assertMigrated(database.dataSource());
        }
    }

    /** Before the first release scripts are rewritten; after it, somebody may do so himself. */
    @Test
    void aSchemaThatOtherScriptsMadeIsNotTakenForOurs() throws Exception {
        try (TestDatabase database = TestDatabase.create()) {
            DataSource source = database.dataSource();
            execute(source, "alter function pgquota.balances(text) rename to balances_1");
            for (Executable call : List.<Executable>of(() -> Schema.of(source).verify(),
                    () -> Schema.of(source).migrate())) {
                assertThat(assertThrows(QuotaException.SchemaMismatch.class, call))
                        .hasMessageContaining("before the first release");
            }
            execute(source, "alter function pgquota.balances_1(text) rename to balances");
            Schema.of(source).verify();
            execute(source, "create or replace function pgquota.schema_version() returns int "
                    + "language sql immutable return 4");
            execute(source, "update pgquota.schema_history set checksum = 1 where version = '3'");
            assertThat(assertThrows(QuotaException.SchemaMismatch.class,
                    () -> Schema.of(source).migrate()))
                    .hasMessageContaining("others of the same names");
        }
    }

    @Test
    void aSmallPoolSufficesForManyThreads() throws Exception {
        try (TestDatabase database = TestDatabase.empty();
                HikariDataSource pool = database.pool(3)) {
            Callers.run(30, caller -> {
                Schema.of(pool).migrate();
                return true;
            });
            assertMigrated(pool);
        }
    }

    @Test
    void twoDatabasesOfOneClusterShareTheirRoles() throws Exception {
        String user = "pgquota_migrator_" + ProcessHandle.current().pid();
        try (TestDatabase one = TestDatabase.empty(); TestDatabase two = TestDatabase.empty()) {
            execute(one.dataSource(), "create role " + user + " login superuser password 'x'");
            try {
                Process other = process(two.url(), 5);
                Callers.run(10, caller -> {
                    if (caller == 0) {
                        go(other);
                    }
                    Schema.of(source(one.url(), user, "x")).migrate();
                    return true;
                });
                assertDone(other);
                Schema.of(two.dataSource()).verify();
                Schema.of(one.dataSource()).verify();
                assertThat(ask(one.dataSource(), "select count(*) from pg_roles where rolname in "
                        + "('pgquota_owner', 'pgquota_app', 'pgquota_admin', 'pgquota_report')"))
                        .isEqualTo("4");
            } finally {
                execute(one.dataSource(), "drop owned by " + user + "; drop role " + user);
            }
        }
    }

    @Test
    void anOwnerOfTheDatabaseWhoMayMakeRolesNeedNotBeSuperuser() throws Exception {
        String user = "pgquota_dba_" + ProcessHandle.current().pid();
        try (TestDatabase database = TestDatabase.empty()) {
            DataSource superuser = database.dataSource();
            execute(superuser, "create role " + user + " login createrole password 'x'");
            // as in a cluster where another database was migrated before, by somebody else
            String admin = TestDatabase.server().major() < 16 ? "" : " with admin option";
            execute(superuser, "do $$ begin if exists (select from pg_roles where rolname = "
                    + "'pgquota_owner') then grant pgquota_owner to " + user + admin
                    + "; end if; end $$");
            execute(superuser, "grant create on database \"" + database.name() + "\" to " + user);
            try {
                DataSource dba = source(database.url(), user, "x");
                Schema.of(dba).migrate();
                Schema.of(dba).migrate();
                Schema.of(dba).verify();
                assertThat(ask(superuser, "select string_agg(distinct "
                        + "pg_get_userbyid(relowner)::text, ' ') from pg_class "
                        + "where relnamespace = 'pgquota'::regnamespace "
                        + "and relname not like 'schema_history%'")).isEqualTo("pgquota_owner");
            } finally {
                execute(superuser, "drop owned by " + user + " cascade; drop role " + user);
            }
        }
    }

    @Test
    void whoMayNotMakeASchemaMayVerifyOne() throws Exception {
        String user = "pgquota_app_login_" + ProcessHandle.current().pid();
        try (TestDatabase migrated = TestDatabase.create(); TestDatabase empty =
                TestDatabase.empty()) {
            execute(migrated.dataSource(),
                    "create role " + user + " login password 'x' in role pgquota_app");
            try {
                Schema.of(source(migrated.url(), user, "x")).verify();
                QuotaException.Forbidden e = assertThrows(QuotaException.Forbidden.class,
                        () -> Schema.of(source(empty.url(), user, "x")).migrate());
                assertThat(e).hasMessageContaining("CREATE on the database")
                        .hasMessageContaining("permission denied for database");
                assertThrows(QuotaException.SchemaMismatch.class,
                        () -> Schema.of(source(empty.url(), user, "x")).verify());
                assertThat(ask(empty.dataSource(),
                        "select count(*) from pg_namespace where nspname = 'pgquota'"))
                        .isEqualTo("0");
            } finally {
                execute(migrated.dataSource(), "drop role " + user);
            }
        }
    }

    @Test
    void whoMayNotActAsTheOwnerIsToldWhatMigratingNeeds() throws Exception {
        String user = "pgquota_half_" + ProcessHandle.current().pid();
        try (TestDatabase migrated = TestDatabase.create();
                TestDatabase empty = TestDatabase.empty()) {
            DataSource superuser = empty.dataSource();
            Schema.of(migrated.dataSource()).verify();
            execute(superuser, "create role " + user + " login password 'x'");
            execute(superuser, "grant create on database \"" + empty.name() + "\" to " + user);
            try {
                QuotaException.Forbidden e = assertThrows(QuotaException.Forbidden.class,
                        () -> Schema.of(source(empty.url(), user, "x")).migrate());
                assertThat(e).hasMessageContaining("CREATE on the database")
                        .hasMessageContaining("CREATEROLE")
                        .hasMessageContaining("member of pgquota_owner")
                        // the server's words, which changed with PostgreSQL 16
                        .hasMessageMatching("(permission denied|must have admin option) .*");
            } finally {
                execute(superuser, "drop owned by " + user + " cascade; drop role " + user);
            }
        }
    }

    @Test
    void migratingBesideCallersDisturbsNobody() throws Exception {
        try (World world = World.create(16)) {
            world.plan("P", Limit.named("requests").capacity(1_000_000)).tenant("acme", "P");
            AtomicBoolean migrated = new AtomicBoolean();
            List<Long> granted = Callers.run(9, caller -> {
                long mine = 0;
                if (caller == 0) {
                    for (int i = 0; i < 5; i++) {
                        Schema.of(world.database().dataSource()).migrate();
                    }
                    migrated.set(true);
                } else {
                    while (!migrated.get()) {
                        world.quotas().consume(Request.of("acme").take("requests", 1)).orThrow();
                        mine++;
                    }
                }
                return mine;
            });
            assertThat(world.rows("select used from pgquota.counter")).containsExactly(
                    String.valueOf(granted.stream().mapToLong(n -> n).sum()));
            world.proof();
        }
    }

    /** A process of its own, as jOOQ speaks once in a JVM. */
    static final class Planner {

        private Planner() {}

        /** Arguments: URL, user, password. */
        public static void main(String[] args) {
            try (Quotas quotas = Quotas.on(source(args[0], args[1], args[2])).build()) {
                quotas.plans().publish(Plan.named("P").limit(Limit.named("x").capacity(1)));
            }
            System.out.println("done");
        }
    }

    @Test
    void jooqGreetsNobody() throws Exception {
        try (TestDatabase database = TestDatabase.create()) {
            Process process = java("info", Planner.class, database.url(),
                    TestDatabase.server().user(), TestDatabase.server().password());
            assertThat(process.inputReader().lines().toList()).contains("done")
                    .noneMatch(line -> line.contains("jOOQ"));
        }
    }

    private static Flyway host(DataSource source, Path folder) throws Exception {
        Path scripts = Files.createDirectories(folder.resolve("db/migration"));
        Files.writeString(scripts.resolve("V1__host.sql"), "create table public.host (id int);");
        URLClassLoader loader = new URLClassLoader(
                new URL[] {folder.toUri().toURL()}, BootstrapTest.class.getClassLoader());
        return Flyway.configure(loader).dataSource(source).load();
    }

    @Test
    void aHostsOwnFlywaySeesNothingOfOursBeforeOrAfter(@TempDir Path folder) throws Exception {
        for (boolean hostFirst : new boolean[] {true, false}) {
            try (TestDatabase database = TestDatabase.empty()) {
                DataSource source = source(database.url(), TestDatabase.server().user(),
                        TestDatabase.server().password());
                Flyway host = host(source, folder);
                if (hostFirst) {
                    host.migrate();
                }
                Schema.of(source).migrate();
                host.migrate();
                host.validate();
                assertThat(host.info().all()).extracting(MigrationInfo::getScript)
                        .containsExactly("V1__host.sql");
                assertThat(ask(source, "select count(*) from public.flyway_schema_history"))
                        .isEqualTo("1");
                assertThat(ask(source, "select count(*) from pgquota.schema_history "
                        + "where script like '%host%'")).isEqualTo("0");
                assertThat(ask(source, "select string_agg(relname, ' ' order by relname) "
                        + "from pg_class where relkind = 'r' "
                        + "and relnamespace = 'public'::regnamespace"))
                        .isEqualTo("flyway_schema_history host");
                assertMigrated(source);
            }
        }
    }

    @Test
    void thePrintedScriptMakesTheSameSchema() throws Exception {
        try (TestDatabase printed = TestDatabase.empty(); TestDatabase migrated =
                TestDatabase.create()) {
            execute(printed.dataSource(), Schema.print());
            Schema.of(printed.dataSource()).verify();
            assertThat(withoutHistory(SchemaDump.of(printed.dataSource(), "pgquota")))
                    .isEqualTo(withoutHistory(SchemaDump.of(migrated.dataSource(), "pgquota")));
            // and the library takes it as it is
            Schema.of(printed.dataSource()).migrate();
            Schema.of(printed.dataSource()).verify();
        }
    }

    /** As if it had been printed by a library that knew all but the last script. */
    @Test
    void aPrintedSchemaIsMigratedLater() throws Exception {
        try (TestDatabase printed = TestDatabase.empty(); TestDatabase migrated =
                TestDatabase.create()) {
            execute(printed.dataSource(), Schema.print());
            execute(printed.dataSource(), "drop view pgquota.balance, pgquota.usage, "
                    + "pgquota.ledger_line, pgquota.alert_line; "
                    + "create or replace function pgquota.schema_version() returns int "
                    + "language sql immutable return 4");
            Schema.of(printed.dataSource()).migrate();
            Schema.of(printed.dataSource()).verify();
            assertThat(withoutHistory(SchemaDump.of(printed.dataSource(), "pgquota")))
                    .isEqualTo(withoutHistory(SchemaDump.of(migrated.dataSource(), "pgquota")));
        }
    }

    private static List<String> withoutHistory(String dump) {
        return java.util.Arrays.stream(dump.split("\n\n"))
                .filter(part -> !part.contains("schema_history")).toList();
    }
}
