package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assumptions.assumeTrue;
import static org.awaitility.Awaitility.await;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.tool.NextVersion;
import java.io.IOException;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.StringJoiner;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;

/**
 * Processes of one release use a database while another migrates it, and go on beside it. Nobody
 * loses anything, and who cannot go on is told why.
 *
 * <p>{@code -Dpgquota.upgrade.counters=N} puts N counters more there, to see how long callers wait
 * while an index on them is built.
 */
class UpgradeTest {

    private static final String TODAY = System.getProperty("java.class.path");
    private static final int COUNTERS = Integer.getInteger("pgquota.upgrade.counters", 0);
    /** Milliseconds: a migration may make callers wait, but not for whoever it waits for itself. */
    private static final long STALL = 15_000;

    private static final String MISMATCH = "SchemaMismatch: the schema pgquota has version ";

    private final List<ClerkProcess> processes = new ArrayList<>();
    private TestDatabase database;

    @TempDir
    private Path folder;

    @BeforeAll
    static void inTheProject() {
        assumeTrue(java.nio.file.Files.exists(Path.of("src", "main")), "compiles the next version");
    }

    @AfterEach
    void stop() {
        processes.forEach(ClerkProcess::close);
        database.close();
    }

    private ClerkProcess process(String classPath, String name) throws IOException {
        ClerkProcess process = new ClerkProcess(classPath, database, name);
        processes.add(process);
        return process;
    }

    private void migrate(String classPath) throws Exception {
        NextVersion.migrate(classPath, database.url(), TestDatabase.server().user(),
                TestDatabase.server().password());
    }

    private void awaitMigrationsThatWait(int number) {
        await().atMost(Duration.ofSeconds(60)).pollInterval(Duration.ofMillis(10)).until(
                () -> rows("select count(*) from pg_locks where not granted and mode = "
                        + "'AccessExclusiveLock'").equals(List.of(String.valueOf(number))));
    }

    private void migrateAside(String classPath) {
        try {
            migrate(classPath);
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    private List<String> rows(String sql) throws SQLException {
        try (Connection connection = database.connection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(sql)) {
            List<String> rows = new ArrayList<>();
            while (row.next()) {
                StringJoiner text = new StringJoiner(" ");
                for (int i = 1; i <= row.getMetaData().getColumnCount(); i++) {
                    text.add(row.getString(i));
                }
                rows.add(text.toString());
            }
            return rows;
        }
    }

    private void execute(String sql) throws SQLException {
        try (Connection connection = database.connection();
                Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    @Test
    void processesOfTodayGoOnWhileTheNextVersionsMigrate() throws Exception {
        database = TestDatabase.create();
        execute(Clerk.TOLD);
        execute("insert into pgquota.counter (tenant, scope, meter, per, start_at, end_at, billed, "
                + "last_at) "
                + "select 'many', 'many/' || i, 'requests', 'lifetime', '-infinity', 'infinity', "
                + "false, now() from generate_series(1, " + COUNTERS + ") i");
        int today = NextVersion.today();
        String first = NextVersion.script(today + 1);
        String next = NextVersion.build(folder.resolve("1"), List.of(first));
        String second = NextVersion.build(
                folder.resolve("2"), List.of(first, NextVersion.script(today + 2)));
        ClerkProcess one = process(TODAY, "today 1");
        ClerkProcess two = process(TODAY, "today 2");
        one.tell("plans");
        one.tell("load 1");
        two.tell("load 2");
        warm(one, two);
        migrate(next);
        one.work(300);
        two.work(300);
        say("while the next version migrated, with an index on all counters", one, two);
        migrate(second);
        one.work(300);
        two.work(300);
        say("while the one after it migrated, which finds its index", one, two);

        ClerkProcess late = process(TODAY, "late");
        String refused = MISMATCH + (today + 2);
        assertThat(late.ask("verify")).startsWith(refused);
        assertThat(late.ask("migrate")).startsWith(refused);
        ClerkProcess three = process(second, "next");
        three.tell("verify");
        three.tell("migrate");
        three.tell("load 3");
        three.work(300);
        one.work(100);
        assertThat(rows("select distinct next_" + (today + 1) + ", next_" + (today + 2)
                + " from pgquota.ledger")).containsExactly("V" + (today + 1) + " V" + (today + 2));
        for (ClerkProcess process : List.of(one, two, three)) {
            process.tell("end");
        }
        nothingIsLost("^$");
    }

    @Test
    void processesOfPartOneGoOnWhileTodayMigrates() throws Exception {
        database = TestDatabase.empty();
        execute(Clerk.TOLD);
        ClerkProcess one = process(PartOne.classPath(), "part 1, 1");
        ClerkProcess two = process(PartOne.classPath(), "part 1, 2");
        one.tell("migrate");
        two.tell("verify");
        for (Executable call : List.<Executable>of(
                () -> Schema.of(database.dataSource()).verify(),
                () -> Schema.of(database.dataSource()).migrate())) {
            assertThat(assertThrows(QuotaException.SchemaMismatch.class, call))
                    .hasMessageContaining("has version 5, this library needs version 5: this one "
                            + "is older all the same");
        }
        one.tell("plans");
        String today = NextVersion.build(folder, List.of(script()));
        PartOne.scripts(folder);
        one.tell("load 1");
        two.tell("load 2");
        warm(one, two);
        String consumed = one.ask("consume steps/t/u key-1");
        String settled = hold(one, "hold-1");
        String kept = hold(one, "hold-2");
        String ended = one.ask("settle steps " + settled);
        assertThat(consumed).startsWith("granted ");
        ClerkProcess three = process(today, "today 1");
        assertThat(three.ask("verify")).startsWith(MISMATCH + 5);
        assertThat(three.ask("consume steps/t/u early")).startsWith("SchemaMismatch: ");
        migrate(today);
        one.work(300);
        two.work(300);
        say("while today migrated", one, two);

        three.tell("verify");
        three.tell("load 3");
        three.work(300);
        assertThat(three.ask("consume steps/t/u key-1")).isEqualTo(replayed(consumed));
        assertThat(three.ask("settle steps " + settled)).isEqualTo(replayed(ended));
        assertThat(three.ask("settle steps " + kept)).contains(" false ");
        String later = three.ask("consume steps/t/u key-2");
        assertThat(one.ask("consume steps/t/u key-2")).isEqualTo(replayed(later));
        assertThat(one.ask("settle steps " + hold(three, "hold-3"))).contains(" false ");
        assertThat(one.ask("reserve steps/t/u hold-3")).contains(" true ");
        for (String answer : List.of(consumed, later)) {
            String operation = answer.split(" ")[1];
            assertThat(two.ask("refund steps " + operation + " r-" + operation))
                    .contains(" false ");
        }
        assertThat(rows("select used, held from pgquota.counter where scope = 'steps'"))
                .containsExactly("5 0");
        assertThat(process(PartOne.classPath(), "late").ask("verify"))
                .startsWith(MISMATCH + 6);
        for (ClerkProcess process : List.of(one, two, three)) {
            process.tell("end");
        }
        // who waited for the migration in the midst of the old body, whose rows had grown meanwhile
        nothingIsLost("^Unavailable: .* \\((42804|42846)\\), nothing was changed: ");
    }

    @Test
    void anOpenTransactionHoldsUpTheMigrationAndNobodyElse() throws Exception {
        database = TestDatabase.create();
        execute(Clerk.TOLD);
        String next = NextVersion.build(
                folder, List.of(NextVersion.script(NextVersion.today() + 1)));
        ClerkProcess one = process(TODAY, "today");
        one.tell("plans");
        one.tell("load 1");
        warm(one);
        try (Connection report = database.connection();
                Statement statement = report.createStatement()) {
            report.setAutoCommit(false);
            statement.execute("select count(*) from pgquota.counter");
            assertThat(assertThrows(IllegalStateException.class, () -> migrate(next)))
                    .hasMessageContaining("QuotaException$Unavailable")
                    .hasMessageContaining("55P03");
            say("while a transaction kept the migration out", one);
            one.work(100);
            CompletableFuture<Void> again = CompletableFuture.runAsync(() -> migrateAside(next));
            awaitMigrationsThatWait(1);
            awaitMigrationsThatWait(0);
            report.rollback();
            again.get(60, TimeUnit.SECONDS);
        }
        say("until the migration was through", one);
        one.work(100);
        one.tell("end");
        nothingIsLost("^$");
    }

    /**
     * The driver prepares what is often called, and the server refuses to execute it once its
     * result has other types (0A000). No release does that; whoever does brings nothing in doubt:
     * a call fails for certain, and the driver prepares the statement anew for the next one.
     */
    @Test
    void aPreparedStatementThatNoLongerFitsIsPreparedAnew() throws Exception {
        database = TestDatabase.create();
        Scope acme = new Scope("acme");
        try (HikariDataSource pool = database.pool(1); Quotas quotas = Quotas.on(pool).build();
                Connection connection = database.connection()) {
            Operations within = quotas.within(connection);
            connection.setAutoCommit(false);
            for (int i = 0; i < 10; i++) {
                assertThat(quotas.balances(acme)).isEmpty();
                assertThat(within.balances(acme)).isEmpty();
            }
            connection.commit();
            execute("do $$ declare v_balances constant text := replace(pg_get_functiondef("
                    + "'pgquota.balances(text)'::regprocedure), 'TABLE(name text', "
                    + "'TABLE(name varchar'); begin drop function pgquota.balances(text) cascade; "
                    + "execute v_balances; end $$");
            for (Operations verbs : List.of(quotas, within)) {
                QuotaException.Unavailable e = assertThrows(QuotaException.Unavailable.class,
                        () -> verbs.balances(acme));
                assertThat(e.sqlState()).isEqualTo("0A000");
                connection.rollback();
                assertThat(verbs.balances(acme)).isEmpty();
            }
        }
    }

    private String script() throws Exception {
        try (TestDatabase today = TestDatabase.create()) {
            return PartOne.upgrade(database.dataSource(), today.dataSource());
        }
    }

    /** The id of a hold that is taken. */
    private static String hold(ClerkProcess process, String key) throws IOException {
        return process.ask("reserve steps/t/u " + key).split(" ")[1];
    }

    private static String replayed(String answer) {
        return answer.replace(" false ", " true ");
    }

    /** Lets them be called until their code is warm, and their connections open. */
    private void warm(ClerkProcess... processes) throws IOException {
        for (ClerkProcess process : processes) {
            process.work(300);
            process.longest();
        }
        for (ClerkProcess process : processes) {
            process.work(300);
        }
        say("before", processes);
    }

    /** Prints what callers waited at most, and expects that it was bearable. */
    private void say(String when, ClerkProcess... processes) throws IOException {
        for (ClerkProcess process : processes) {
            long longest = process.longest();
            System.out.println("UpgradeTest: longest call " + when + ": " + longest + " ms");
            assertThat(longest).as(when).isLessThan(STALL + COUNTERS / 100);
        }
    }

    /** @param besides what calls may be told that were neither granted nor denied; not applied */
    private void nothingIsLost(String besides) throws SQLException {
        System.out.println("UpgradeTest: " + rows("select process, regexp_replace(outcome, "
                + "'[0-9a-f-]{36}.*', ''), count(*) from public.told group by 1, 2 "
                + "order by 1, 2"));
        assertThat(rows("select process, outcome, count(*) from public.told where outcome not in "
                + "('granted', 'denied') and outcome !~ '" + besides + "' group by 1, 2"))
                .as("what nobody should be told").isEmpty();
        assertThat(rows("""
                select t.* from public.told t
                 where outcome = 'granted' and verb not in ('reserve', 'release') and units > 0
                   and (select count(*) <> case t.tenant when 'acme' then 3 else 1 end
                               or count(*) <> count(distinct l.counter)
                               or bool_or(abs(l.amount) <> t.units)
                          from pgquota.ledger l
                         where l.tenant = t.tenant and l.operation = t.operation)
                """)).as("told, but not in the ledger as it was told").isEmpty();
        assertThat(rows("""
                select * from pgquota.ledger l
                 where tenant in ('acme', 'beta') and not exists (
                       select from public.told t
                        where t.tenant = l.tenant and t.operation = l.operation and t.verb = l.verb)
                """)).as("in the ledger, but not told").isEmpty();
        assertThat(rows("""
                select tenant, key, count(distinct operation), count(*) filter (where not replayed)
                  from public.told where key is not null and outcome = 'granted'
                 group by tenant, key
                having count(distinct operation) <> 1 or count(*) filter (where not replayed) <> 1
                """)).as("keys that were charged twice").isEmpty();
        assertThat(rows("""
                select t.tenant, t.about from public.told t
                  join pgquota.hold h on h.tenant = t.tenant and h.id = t.about
                 where t.outcome = 'granted' and h.state <> replace(t.verb, 'settle', 'settled')
                   and t.verb in ('settle', 'release') and h.state <> t.verb || 'd'
                """)).as("holds that did not end as was told").isEmpty();
        assertThat(rows("select scope, used, held from pgquota.counter where tenant = 'beta' "
                + "and used + held > 500")).as("above the limit").isEmpty();
        for (String tenant : List.of("acme", "beta", "steps")) {
            assertThat(rows("select * from pgquota.reconcile('" + tenant + "')")).isEmpty();
        }
    }
}
