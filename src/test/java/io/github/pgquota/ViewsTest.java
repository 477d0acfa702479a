package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What people read in SQL. */
class ViewsTest {

    private static final String BALANCE = "select scope, limit_name, capacity, used, held, "
            + "remaining, over, "
            + "(start_at at time zone 'UTC')::date, (resets_at at time zone 'UTC')::date "
            + "from pgquota.balance where tenant = 'acme' order by scope, limit_name";

    private static Room used() {
        Room room = new Room();
        room.clock("2026-01-10T12:00:00Z");
        room.tenant("acme", Limit.named("calls").on("requests").capacity(10),
                Limit.named("each").on("requests").level(1).capacity(4).per(Window.day()),
                Limit.named("ever").per(Window.lifetime()));
        return room;
    }

    @Test
    void balanceKnowsWindowsThatNobodyHasTouched() {
        try (Room room = used()) {
            assertThat(room.rows(BALANCE)).containsExactly(
                    "acme calls 10 0 0 10 0 2026-01-01 2026-02-01", "acme ever null 0 0 null 0 "
                    + "null null");
            room.quotas.consume(Request.of("acme/a").take("requests", 3).take("ever", 5)).orThrow();
            room.quotas.record(Request.of("acme/a").take("requests", 9));
            room.quotas.reserve(Request.of("acme/b").take("requests", 0).take("ever", 2),
                    Duration.ofMinutes(1)).orThrow();
            assertThat(room.rows(BALANCE)).containsExactly(
                    "acme calls 10 12 0 0 2 2026-01-01 2026-02-01",
                    "acme ever null 5 2 null 0 null null",
                    "acme/a each 4 12 0 0 8 2026-01-10 2026-01-11",
                    "acme/b each 4 0 0 4 0 2026-01-10 2026-01-11");
            room.plans.boost(Scope.of("acme/c"), "each", 2, room.now(), null, "test");
            room.clock("2026-02-03T00:00:00Z");
            assertThat(room.rows(BALANCE)).containsExactly(
                    "acme calls 10 0 0 10 0 2026-02-01 2026-03-01",
                    "acme ever null 5 0 null 0 null null",
                    "acme/a each 4 0 0 4 0 2026-02-03 2026-02-04",
                    "acme/b each 4 0 0 4 0 2026-02-03 2026-02-04",
                    "acme/c each 6 0 0 6 0 2026-02-03 2026-02-04");
        }
    }

    @Test
    void usageKeepsClosedWindows() {
        try (Room room = used()) {
            Request call = Request.of("acme/a").take("requests", 3).take("ever", 5);
            room.quotas.consume(call).orThrow();
            room.clock("2026-02-03T00:00:00Z");
            room.quotas.reserve(call, Duration.ofMinutes(1)).orThrow();
            String usage = "select scope, meter, per, (start_at at time zone 'UTC')::date, "
                    + "(end_at at time zone 'UTC')::date, closed, used, held from pgquota.usage "
                    + "where tenant = 'acme' order by scope, meter, start_at";
            assertThat(room.rows(usage)).containsExactly(
                    "acme ever lifetime null null f 5 5",
                    "acme requests month 2026-01-01 2026-02-01 t 3 0",
                    "acme requests month 2026-02-01 2026-03-01 f 0 3",
                    "acme/a requests day 2026-01-10 2026-01-11 t 3 0",
                    "acme/a requests day 2026-02-03 2026-02-04 f 0 3");
            room.clock("2026-02-03T00:01:00Z");
            assertThat(room.rows(usage)).allMatch(row -> row.endsWith(" 0"));
            Reports reports = room.quotas.reports();
            assertThat(reports.usage("acme", Instant.MIN)).hasSize(5);
            assertThat(reports.usage("acme", Instant.parse("2026-02-01T00:00:00Z"))).hasSize(3)
                    .first().satisfies(u -> assertThat(u.scope()).isEqualTo(Scope.of("acme/a")));
        }
    }

    @Test
    void aLedgerLineSaysWhereItWasCounted() {
        try (Room room = used()) {
            OperationId hold = room.quotas.reserve(Request.of("acme/a").take("requests", 3),
                    Duration.ofMinutes(1)).orThrow().operation();
            room.clock("2026-02-03T00:00:00Z");
            room.quotas.settle(hold, java.util.Map.of("requests", 2L));
            assertThat(room.rows(
                    "select scope, meter, per, (start_at at time zone 'UTC')::date, verb, entry, "
                    + "amount, used_after, (at at time zone 'UTC')::date, ref from "
                    + "pgquota.ledger_line "
                    + "where tenant = 'acme' order by scope")).containsExactly(
                    "acme requests month 2026-01-01 settle 1 2 2 2026-02-03 " + hold.uuid(),
                    "acme/a requests day 2026-01-10 settle 1 2 2 2026-02-03 " + hold.uuid());
            assertThat(room.quotas.reports().ledger("acme", Instant.MIN, Instant.MAX, 9))
                    .hasSize(2).allMatch(e -> hold.equals(e.ref()));
        }
    }

    @Test
    void everyViewAndColumnIsExplained() {
        try (Room room = new Room()) {
            assertThat(room.rows("select c.relname, a.attname from pg_class c join pg_attribute a "
                    + "on a.attrelid = c.oid and a.attnum > 0 where c.relnamespace = "
                    + "'pgquota'::regnamespace "
                    + "and c.relkind = 'v' and (col_description(c.oid, a.attnum) is null "
                    + "or obj_description(c.oid) is null)")).isEmpty();
        }
    }

    /** One tenant of many is found by indexes. */
    @Test
    void aTenantIsFoundByIndexes() {
        try (Room room = many()) {
            for (String view : List.of("balance where", "usage where", "alert_line where",
                    "ledger_line where at >= '2026-01-01' and at < '2026-01-02' and")) {
                assertThat(room.rows("explain select * from pgquota." + view + " tenant = 't777'"))
                        .as(view)
                        .noneMatch(line -> line.matches(".*Seq Scan on (tenant|counter|ledger_2026_01|alert) .*"));
            }
        }
    }

    private static Room many() {
        Room room = used();
        room.run("insert into pgquota.counter (tenant, scope, meter, per, start_at, end_at, "
                + "last_at, billed) "
                + "select 't' || i, 't' || i, 'requests', 'month', '2026-01-01', '2026-02-01', '2026-01-01', true "
                + "from generate_series(1, 20000) i");
        room.run("alter table pgquota.tenant disable trigger user");
        room.run("insert into pgquota.tenant (tenant, plan) select 't' || i, 'PLAN-acme' "
                + "from generate_series(1, 20000) i");
        room.run("select pgquota.add_ledger_partitions('2026-01-01Z', 2)");
        room.run("insert into pgquota.ledger (tenant, at, operation, counter, entry, verb, "
                + "amount, used_after) "
                + "select tenant, timestamptz '2026-01-01' + id * interval '20 seconds', "
                + "gen_random_uuid(), id, "
                + "1, 'consume', 1, 1 from pgquota.counter");
        room.run("insert into pgquota.alert (tenant, counter, limit_name, percent, capacity, "
                + "used, operation, at) "
                + "select tenant, id, 'calls', 80, 1, 1, gen_random_uuid(), start_at from "
                + "pgquota.counter");
        room.run("analyze");
        return room;
    }
}
