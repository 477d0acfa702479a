package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.sql.Connection;
import java.sql.Statement;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Housekeeping takes what is old, all of that, nothing else; and stands in nobody's way. */
class UpkeepTest {

    private static final Duration LONG = Duration.ofSeconds(60);

    private Room room;

    @BeforeEach
    void open() {
        room = new Room();
        room.clock("2026-01-10T12:00:00Z");
        room.tenant("acme", Limit.named("x").capacity(1000), Limit.named("y").per(Window.hour()));
    }

    @AfterEach
    void close() {
        room.close();
    }

    private Upkeep.Report run() {
        return room.quotas.upkeep().runOnce(LONG);
    }

    private static Request request(String scope) {
        return Request.of(scope).take("x", 1).take("y", 1);
    }

    /** A key that tells its time. */
    private static String v7(String at) {
        String hex = String.format("%012x", Instant.parse(at).toEpochMilli());
        return hex.substring(0, 8) + "-" + hex.substring(8) + "-7000-8000-000000000001";
    }

    @Test
    void expiredHoldsGiveTheirUnitsBackAndGoLater() {
        OperationId hold = room.quotas.reserve(request("acme/a"), Duration.ofMinutes(1)).orThrow()
                .operation();
        room.quotas.reserve(request("acme/b"), Duration.ofHours(1)).orThrow();
        assertThat(run().holdsExpired()).isZero();
        room.clock("2026-01-10T12:02:00Z");
        assertThat(run().holdsExpired()).isEqualTo(1);
        assertThat(room.rows("select state from pgquota.hold order by expires_at"))
                .containsExactly("expired", "open");
        assertThat(room.rows("select distinct held from pgquota.counter")).containsExactly("1");
        assertThat(run().holdsExpired()).isZero();
        assertThat(room.quotas.settle(hold, java.util.Map.of()).late()).isTrue();
        room.clock("2026-02-14T12:00:30Z");
        run();
        assertThat(room.rows("select count(*) from pgquota.hold")).containsExactly("2");
        room.clock("2026-02-14T12:02:00Z");
        assertThat(run().holdsDropped()).isEqualTo(1);
        room.clock("2026-02-14T14:00:00Z");
        assertThat(run().holdsDropped()).isEqualTo(1);
        assertThat(room.quotas.reports().reconcile("acme")).isEmpty();
    }

    @Test
    void answersOfOldKeysGoAndTheKeysAreStillRefused() {
        List<String> keys = List.of("mine", v7("2026-01-10T12:00:00Z"), v7("2026-01-11T12:00:00Z"));
        keys.forEach(key -> room.quotas.consume(request("acme").key(key)).orThrow());
        room.clock("2026-02-14T11:59:59Z");
        assertThat(run().keysDropped()).isZero();
        assertThat(room.quotas.consume(request("acme").key("mine")).orThrow().replayed()).isTrue();
        room.clock("2026-02-14T12:00:01Z");
        assertThat(run().keysDropped()).isEqualTo(3);
        // the one whose own time is not old yet keeps its row, as a stub
        assertThat(room.rows("select key, answers is null from pgquota.operation_key order by key"))
                .containsExactly(keys.get(2) + " t", "mine t");
        assertThat(run().keysDropped()).isZero();
        String used = room.rows("select sum(used) from pgquota.counter").toString();
        for (String key : keys) {
            assertThatThrownBy(() -> room.quotas.consume(request("acme").key(key)))
                    .isInstanceOf(QuotaException.KeyExpired.class);
        }
        assertThat(room.rows("select sum(used) from pgquota.counter").toString()).isEqualTo(used);
    }

    @Test
    void closedWindowsOfUnbilledLimitsGoOthersStay() {
        room.quotas.consume(request("acme")).orThrow();
        room.quotas.consume(request("acme/a")).orThrow();
        room.clock("2026-01-17T12:59:00Z");
        room.quotas.consume(request("acme")).orThrow();
        String windows = "select meter, (start_at at time zone 'UTC')::timestamp, used from "
                + "pgquota.counter order by 1, 2";
        assertThat(run().windowsDropped()).isZero();
        room.clock("2026-03-01T00:00:00Z");
        assertThat(run().windowsDropped()).isEqualTo(2);
        assertThat(room.rows(windows)).containsExactly("x 2026-01-01 00:00:00 3");
        assertThat(run().windowsDropped()).isZero();
        room.quotas.consume(request("acme")).orThrow();
        assertThat(room.rows(windows)).containsExactly("x 2026-01-01 00:00:00 3",
                "x 2026-03-01 00:00:00 1", "y 2026-03-01 00:00:00 1");
    }

    @Test
    void aHoldWhoseWindowIsGoneIsNotSettledInSilence() {
        OperationId hold = room.quotas.reserve(request("acme/a"), Duration.ofMinutes(1)).orThrow()
                .operation();
        room.run("update pgquota.setting set window_retention = '1 second'");
        room.clock("2026-01-11T12:00:00Z");
        assertThat(run().windowsDropped()).isPositive();
        assertThatThrownBy(() -> room.quotas.settle(hold, java.util.Map.of()))
                .isInstanceOf(QuotaException.NotFound.class);
    }

    @Test
    void aBrokenCounterStopsNobodysUpkeep() {
        room.quotas.reserve(request("acme/a"), Duration.ofMinutes(1)).orThrow();
        room.quotas.reserve(request("acme/b"), Duration.ofMinutes(1)).orThrow();
        room.run("update pgquota.counter set held = 0");
        room.clock("2026-01-10T12:02:00Z");
        assertThat(run().holdsExpired()).isEqualTo(2);
        assertThat(room.rows("select distinct held from pgquota.counter")).containsExactly("0");
    }

    @Test
    void aWindowWithHoldsStays() {
        room.quotas.reserve(request("acme"), Duration.ofMinutes(1)).orThrow();
        room.run("update pgquota.setting set window_retention = '1 second'");
        room.run("update pgquota.hold_item set expires_at = 'infinity'");
        room.run("update pgquota.hold set expires_at = 'infinity'");
        room.clock("2026-01-11T12:00:00Z");
        assertThat(run().windowsDropped()).isZero();
    }

    @Test
    void oldPartitionsGoAndTheChainOfWhatIsLeftIsStillWhole() {
        room.run("update pgquota.setting set ledger_retention = '60 days'");
        room.clock("2025-12-01T00:00:00Z");
        room.tenant("year", Limit.named("z").per(Window.year()).capacity(100), Limit.named("x"));
        for (String at : List.of("2025-12-05", "2026-01-20", "2026-02-05", "2026-03-20")) {
            room.clock(at + "T12:00:00Z");
            room.run("select pgquota.add_ledger_partitions('2026-01-01Z', 4)");
            room.quotas.record(Request.of("year").take("z", 7).take("x", 1));
        }
        String left = "select to_char(at at time zone 'UTC', 'MM-DD'), meter, entry from "
                + "pgquota.ledger_line "
                + "where meter = 'z' order by at";
        assertThat(room.rows(left)).containsExactly("12-05 z 1", "01-20 z 1", "02-05 z 2", "03-20 "
                + "z 3");
        room.clock("2026-04-02T00:00:00Z");
        Upkeep.Report report = run();
        assertThat(report.partitionsDropped()).isEqualTo(1);
        assertThat(report.partitionsMade()).isPositive();
        assertThat(report.finished()).isTrue();
        assertThat(room.rows(left)).containsExactly("02-05 z 2", "03-20 z 3");
        assertThat(room.quotas.reports().reconcile("year")).isEmpty();
        assertThat(room.rows(
                "select used from pgquota.counter where meter = 'z' order by start_at"))
                .containsExactly("7", "21");
        assertThat(run().partitionsDropped()).isZero();
        room.run("update pgquota.counter set used = 5 where meter = 'z' and used = 21");
        assertThat(room.plans.repair("year")).hasSize(1);
        assertThat(room.rows(
                "select used from pgquota.counter where meter = 'z' order by start_at"))
                .containsExactly("7", "21");
    }

    @Test
    void whatOthersHaveLockedIsLeft() throws Exception {
        room.quotas.reserve(request("acme"), Duration.ofMinutes(1)).orThrow();
        room.clock("2026-01-10T12:02:00Z");
        try (Connection other = room.database.connection(); Statement sql =
                other.createStatement()) {
            other.setAutoCommit(false);
            sql.execute("select from pgquota.counter where meter = 'x' for update");
            sql.execute("lock table pgquota.ledger in row exclusive mode");
            room.run("update pgquota.setting set ledger_retention = '32 days'");
            long start = System.nanoTime();
            assertThat(run().finished()).isTrue();
            assertThat(System.nanoTime() - start).isLessThan(Duration.ofSeconds(20).toNanos());
            assertThat(room.rows("select meter, held from pgquota.counter order by 1"))
                    .containsExactly("x 1", "y 0");
            other.rollback();
        }
        run();
        assertThat(room.rows("select meter, held from pgquota.counter order by 1"))
                .containsExactly("x 0", "y 0");
        assertThat(room.quotas.reports().reconcile("acme")).isEmpty();
    }

    @Test
    void aBudgetOfNothingDoesNothing() {
        Upkeep.Report report = room.quotas.upkeep().runOnce(Duration.ZERO);
        assertThat(report).isEqualTo(new Upkeep.Report(0, 0, 0, 0, 0, 0, false));
    }

    /**
     * Callers that reserve, settle and let expire, two housekeepers beside them: all ends in
     * agreement.
     */
    @Test
    void besideCallersAndItselfNothingIsLost() throws Exception {
        room.run("update pgquota.setting set window_retention = '1 second', key_retention = '1 "
                + "second'");
        room.run("create or replace function pgquota.clock() returns timestamptz language sql "
                + "volatile "
                + "as 'select clock_timestamp()'");
        AtomicBoolean going = new AtomicBoolean(true);
        ExecutorService threads = Executors.newCachedThreadPool();
        try {
            List<Future<?>> keepers = List.of(threads.submit(() -> keep(going)),
                    threads.submit(() -> keep(going)));
            List<Future<?>> callers = List.of(threads.submit(this::call),
                    threads.submit(this::call),
                    threads.submit(this::call));
            for (Future<?> caller : callers) {
                caller.get();
            }
            going.set(false);
            for (Future<?> keeper : keepers) {
                keeper.get();
            }
        } finally {
            threads.shutdownNow();
        }
        assertThat(room.rows(
                "select used from pgquota.counter where scope = 'acme' and meter = 'x'"))
                .containsExactly(String.valueOf(3 * 100));
        assertThat(room.quotas.reports().reconcile("acme")).isEmpty();
    }

    private void keep(AtomicBoolean going) {
        while (going.get()) {
            room.quotas.upkeep().runOnce(LONG);
        }
    }

    private void call() {
        for (int i = 0; i < 100; i++) {
            OperationId hold = room.quotas.reserve(request("acme/" + i % 3), Duration.ofMillis(1
                    + i % 40))
                    .orThrow().operation();
            room.quotas.settle(hold, java.util.Map.of());
            room.quotas.reserve(request("acme"), Duration.ofMillis(1)).orThrow();
        }
    }
}
