package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;

/** A denial writes nothing and locks no row. */
class DenialTest {

    private static final Limit[] LIMITS = {
        Limit.named("messages").on("requests").capacity(10),
        Limit.named("team").on("requests").level(1).capacity(5).alertAt(50, 100),
        Limit.named("user").on("requests").level(2).capacity(2).per(Window.hour()),
        Limit.named("tokens").capacity(0),
        Limit.named("deep").on("steps").level(2).capacity(3),
    };

    /** Every way to be denied, by name. */
    private static Map<String, Function<Operations, Decision>> denials(OperationId hold) {
        Duration minute = Duration.ofMinutes(1);
        return Map.of(
                "one limit", q -> q.consume(Request.of("acme").take("requests", 1)),
                "one limit, keyed", q -> q.consume(Request.of("acme").take("requests", 1).key("k")),
                "several limits", q -> q.consume(Request.of("acme/red/ann").take("requests", 3)),
                "several meters, keyed", q -> q.consume(Request.of("acme/red/ann")
                        .take("requests", 3).take("tokens", 1).take("steps", 9).key("k")),
                "fresh scope", q -> q.consume(Request.of("acme/new/one").take("requests", 6)),
                "fresh scope, nothing counted above", q -> q.consume(
                        Request.of("acme/new/one").take("steps", 4).key("k")),
                "fresh tenant", q -> q.consume(Request.of("other/a/b").take("requests", 11)),
                "reserve", q -> q.reserve(Request.of("acme").take("requests", 1).key("k"), minute),
                "extend", q -> q.extend(hold, Map.of("requests", 1L), minute, "k"),
                "check", q -> q.check(Request.of("acme").take("requests", 1)));
    }

    /** A full tenant; returns a hold of it that cannot grow. */
    private static OperationId fill(World world) {
        world.plan("P", LIMITS).tenant("acme", "P").tenant("other", "P");
        world.quotas().consume(Request.of("acme/red/ann").take("requests", 2)).orThrow();
        world.quotas().consume(Request.of("acme/red").take("requests", 3)).orThrow();
        world.quotas().consume(Request.of("acme").take("requests", 4)).orThrow();
        return world.quotas().reserve(Request.of("acme").take("requests", 1),
                Duration.ofHours(1)).orThrow().operation();
    }

    @Test
    void aDenialTakesNoTransactionIdNoRowLockAndChangesNoRow() throws Exception {
        try (World world = World.create(); Connection connection = world.database().connection();
                Statement sql = connection.createStatement()) {
            OperationId hold = fill(world);
            List<String> before = world.written();
            connection.setAutoCommit(false);
            Operations quotas = world.quotas().within(connection);
            denials(hold).forEach((name, denial) -> {
                assertThat(denial.apply(quotas).isGranted()).as(name).isFalse();
                assertThat(rows(sql, "select pg_current_xact_id_if_assigned()"))
                        .as(name).containsExactly("null");
                // a statement that would have written or locked rows, had it found room or a hold
                // that nothing counts, locks the table; a locked row would need the id above
                assertThat(rows(sql, "select distinct locktype || ' ' || mode from pg_locks "
                        + "where pid = pg_backend_pid() and locktype <> 'virtualxid'"))
                        .as(name).contains("relation AccessShareLock")
                        .isSubsetOf("relation AccessShareLock", "relation RowShareLock",
                                "relation RowExclusiveLock");
                assertThat(rows(sql, "select relname from pg_stat_xact_all_tables "
                        + "where n_tup_ins + n_tup_upd + n_tup_del > 0")).as(name).isEmpty();
            });
            connection.rollback();
            assertThat(world.written()).isEqualTo(before);
        }
    }

    private static List<String> rows(Statement sql, String query) {
        try (ResultSet r = sql.executeQuery(query)) {
            List<String> rows = new ArrayList<>();
            while (r.next()) {
                rows.add(String.valueOf(r.getString(1)));
            }
            return rows;
        } catch (java.sql.SQLException e) {
            throw new IllegalStateException(e);
        }
    }

    /**
     * The server writes WAL of its own now and then, other tests' rows are tidied up, and the first
     * look at a page may leave a hint there: so a quiet round must come, but need not be the first.
     */
    private static void assertNoWal(World world, String name, Runnable round) {
        Awaitility.await(name).atMost(Duration.ofSeconds(30)).pollInSameThread().until(() -> {
            long before = wal(world);
            round.run();
            return wal(world) == before;
        });
    }

    private static long wal(World world) {
        return world.count("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn");
    }

    @Test
    void aDenialWritesNoWal() {
        try (World world = World.create()) {
            OperationId hold = fill(world);
            denials(hold).forEach((name, denial) -> assertNoWal(world, name, () -> {
                for (int i = 0; i < 20; i++) {
                    assertThat(denial.apply(world.quotas()).isGranted()).as(name).isFalse();
                }
            }));
        }
    }

    @Test
    void manyDenialsAtOnceWriteNoWalEither() {
        try (World world = World.create(40)) {
            OperationId hold = fill(world);
            List<Function<Operations, Decision>> denials =
                    List.copyOf(denials(hold).values());
            List<String> before = world.written();
            assertNoWal(world, "40 callers", () -> {
                try {
                    Callers.run(40, caller -> {
                        for (int i = 0; i < 5; i++) {
                            assertThat(denials.get((caller + i) % denials.size())
                                    .apply(world.quotas()).isGranted()).isFalse();
                        }
                        return true;
                    });
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
            });
            assertThat(world.written()).isEqualTo(before);
        }
    }

    /** The lock of one who has not decided yet does not hold up a denial, nor is it waited for. */
    @Test
    void aDenialDoesNotWaitForALockedCounter() throws Exception {
        try (World world = World.create(); Connection blocker = world.database().connection();
                Connection hasty = world.database().connection();
                Statement sql = blocker.createStatement()) {
            OperationId hold = fill(world);
            blocker.setAutoCommit(false);
            sql.execute("select 1 from pgquota.counter for update");
            hasty.createStatement().execute("set lock_timeout = '1s'");
            Operations quotas = world.quotas().within(hasty);
            denials(hold).forEach((name, denial) ->
                    assertThat(denial.apply(quotas).isGranted()).as(name).isFalse());
            blocker.rollback();
        }
    }
}
