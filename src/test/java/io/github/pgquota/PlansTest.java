package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.sql.Connection;
import java.sql.Statement;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Plans, tenants, overrides and boosts: what the database holds after each change. */
class PlansTest {

    private static final Limit REQUESTS = Limit.named("requests").capacity(10);

    private static Room room;
    private static Plans plans;

    @BeforeAll
    static void open() {
        room = new Room();
        plans = room.plans;
    }

    @AfterAll
    static void close() {
        room.close();
    }

    @Test
    void aPlanComesBackAsItWasPublished() {
        Plan plan = Plan.named("ROUND")
                .limit(Limit.named("a b").on("requests").capacity(1L << 62).alertAt(1000, 200)
                        .allowOverage(5).message("{used} of \"ö\\\n{capacity}\"").level(8))
                .limit(Limit.named("c").per(Window.hour()).unlimited().allowOverage()
                        .mode(Limit.Mode.OBSERVE))
                .limit(Limit.named("d").per(Window.fixed(Duration.ofSeconds(90))).capacity(0)
                        .mode(Limit.Mode.OFF).billed(true))
                .limit(Limit.named("e").on("requests").per(Window.lifetime()).billed(false));
        assertThat(plans.plan("ROUND")).isEmpty();
        assertThat(plans.publish(plan)).isEqualTo(1);
        assertThat(plans.plan("ROUND")).contains(plan);
        assertThat(room.rows("select name, alone from pgquota.plan_limit where plan = 'ROUND' "
                + "order by ord"))
                .containsExactly("a b f", "c t", "d t", "e f");
    }

    @Test
    void aVersionEndsWhereTheNextBegins() {
        try (Room still = new Room()) {
            still.clock("2026-01-01T00:00:00Z");
            // number published, in force from day, until day (or end of time)
            publish(still, 1, 0);
            publish(still, 2, 10);
            publish(still, 3, 5);
            publish(still, 4, 5);
            publish(still, 5, 0);
            assertThat(still.rows("select version, from_at::date - date '2026-01-01', case when "
                    + "until_at < "
                    + "'infinity' then until_at::date - date '2026-01-01' end from (select "
                    + "version, from_at at "
                    + "time zone 'UTC' as from_at, until_at at time zone 'UTC' as until_at "
                    + "from pgquota.plan_limit) l order by version"))
                    .containsExactly("1 0 0", "2 10 null", "3 5 5", "4 5 10", "5 0 5");
            assertThat(still.plans.plan("P").orElseThrow().limits().get(0).capacity(0)).isNotNull();
            assertThat(still.plans.plan("P").orElseThrow().limits().get(0).capacityOrNull())
                    .isEqualTo(5);
            still.clock("2026-01-06T00:00:00Z");
            assertThat(still.plans.plan("P").orElseThrow().limits().get(0).capacityOrNull())
                    .isEqualTo(4);
        }
    }

    private static void publish(Room still, int version, int day) {
        Plan plan = Plan.named("P").limit(Limit.named("x").capacity(version));
        assertThat(still.plans.publish(plan, still.now().plus(Duration.ofDays(day))))
                .isEqualTo(version);
    }

    @Test
    void theSameLimitsAgainAreNoVersion() {
        Plan plan = Plan.named("SAME").limit(REQUESTS.alertAt(80)).limit(Limit.named("x"));
        assertThat(plans.publish(plan)).isEqualTo(1);
        String before = room.rows("select xmin, * from pgquota.plan_limit where plan = 'SAME'")
                .toString();
        assertThat(plans.publish(plan)).isEqualTo(1);
        assertThat(plans.publish(plan, Instant.now().plus(Duration.ofDays(9)))).isEqualTo(1);
        assertThat(room.rows("select xmin, * from pgquota.plan_limit where plan = 'SAME'")
                .toString())
                .isEqualTo(before);
        assertThat(plans.publish(Plan.named("SAME").limit(REQUESTS.alertAt(81))
                .limit(Limit.named("x"))))
                .isEqualTo(2);
        assertThat(plans.publish(Plan.named("SAME"))).isEqualTo(3);
        assertThat(plans.plan("SAME")).contains(Plan.named("SAME"));
    }

    @Test
    void thePastIsRefused() {
        assertThatThrownBy(() -> plans.publish(Plan.named("PAST"), Instant.now().minusSeconds(1)))
                .isInstanceOfSatisfying(QuotaException.Invalid.class,
                        e -> assertThat(e.field()).isEqualTo("effectiveFrom"));
        assertThat(room.rows("select from pgquota.plan_version where plan = 'PAST'")).isEmpty();
    }

    @Test
    void publishersOfOnePlanQueueUp() throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(8);
        try {
            List<Future<Integer>> versions = new ArrayList<>();
            for (int i = 1; i <= 24; i++) {
                Plan plan = Plan.named("RACE").limit(Limit.named("x").capacity(i));
                versions.add(threads.submit(() -> plans.publish(plan)));
            }
            for (Future<Integer> version : versions) {
                assertThat(version.get()).isBetween(1, 24);
            }
        } finally {
            threads.shutdown();
        }
        assertThat(room.rows("select count(*), count(*) filter (where until_at = 'infinity'), "
                + "count(*) filter (where until_at <> next) from (select until_at, lead(from_at, "
                + "1, 'infinity') "
                + "over (order by version) as next from pgquota.plan_limit where plan = 'RACE') l"))
                .containsExactly("24 1 0");
    }

    @ParameterizedTest
    @ValueSource(strings = {"+02:00", "GMT+2", "UTC-05:30", "CET", "EET", "MET", "WET"})
    void aZoneThatPostgresReadsInAnotherWayIsRefused(String zone) {
        assertThatThrownBy(() -> plans.zone("acme", ZoneId.of(zone)))
                .isInstanceOf(QuotaException.Invalid.class).hasMessageContaining("Etc/GMT-");
        assertThatThrownBy(() -> plans.defaultZone(ZoneId.of(zone)))
                .isInstanceOf(QuotaException.Invalid.class).hasMessageContaining("Etc/GMT-");
    }

    @ParameterizedTest
    @ValueSource(strings = {"UTC", "Z", "GMT", "Europe/Berlin", "Etc/GMT-2",
            "America/Argentina/Ushuaia"})
    void aZoneIsKept(String zone) {
        plans.zone("zoned", ZoneId.of(zone));
        assertThat(room.rows("select zone from pgquota.tenant where tenant = 'zoned'"))
                .containsExactly(zone.equals("Z") ? "UTC" : zone);
        plans.zone("zoned", null);
        assertThat(room.rows("select zone from pgquota.tenant where tenant = 'zoned'"))
                .containsExactly("null");
    }

    @Test
    void anAnchorHasAYearThatWindowsCanCountFrom() {
        plans.anchor("anchored", LocalDateTime.of(1900, 1, 1, 0, 0));
        plans.anchor("anchored", LocalDateTime.of(2200, 12, 31, 23, 59));
        for (int year : new int[] {1899, 2201}) {
            assertThatThrownBy(() -> plans.anchor("anchored", LocalDateTime.of(year, 6, 1, 0, 0)))
                    .isInstanceOf(QuotaException.Invalid.class);
        }
        assertThat(room.rows("select anchor from pgquota.tenant where tenant = 'anchored'"))
                .containsExactly("2200-12-31 23:59:00");
        plans.anchor("anchored", null);
        assertThat(room.rows("select anchor from pgquota.tenant where tenant = 'anchored'"))
                .containsExactly("2001-01-01 00:00:00");
    }

    @Test
    void whatIsNotThereIsNamed() {
        room.tenant("named", REQUESTS, Limit.named("tokens"));
        assertThatThrownBy(() -> plans.assign("named", "NONE")).isInstanceOfSatisfying(
                QuotaException.NotFound.class, e -> assertThat(e.what() + e.id())
                .isEqualTo("planNONE"));
        assertThatThrownBy(() -> plans.defaultPlan("NONE"))
                .isInstanceOf(QuotaException.NotFound.class);
        assertThatThrownBy(() -> override("named", "bytes", 5L))
                .isInstanceOf(QuotaException.NotFound.class)
                .hasMessageContaining("[requests, tokens]");
        assertThatThrownBy(() -> override("named/below", "tokens", 5L))
                .isInstanceOf(QuotaException.Invalid.class).hasMessageContaining("level 0");
        assertThatThrownBy(() -> plans.withdraw("named", UUID.randomUUID()))
                .isInstanceOf(QuotaException.NotFound.class);
        assertThat(room.rows("select plan from pgquota.tenant where tenant = 'named'"))
                .containsExactly("PLAN-named");
    }

    private static UUID override(String scope, String limit, Long capacity) {
        return plans.override(Scope.of(scope), limit, capacity, Instant.now(), null, "test");
    }

    @Test
    void aNegativeCapacityOrBoostIsToldByItsOwnName() {
        room.tenant("negative", REQUESTS);
        assertThatThrownBy(() -> override("negative", "requests", -5L))
                .isInstanceOfSatisfying(QuotaException.Invalid.class,
                        e -> assertThat(e.field()).isEqualTo("capacity"));
        assertThatThrownBy(() -> plans.boost(
                Scope.of("negative"), "requests", -5, Instant.now(), null, "test"))
                .isInstanceOfSatisfying(QuotaException.Invalid.class,
                        e -> assertThat(e.field()).isEqualTo("units"));
    }

    @Test
    void aTenantThatIsGivenNoPlanHasTheDefaultOne() {
        room.tenant("back", REQUESTS);
        plans.publish(Plan.named("DEFAULT").limit(REQUESTS.capacity(3)));
        plans.defaultPlan("DEFAULT");
        plans.assign("back", null);
        assertThat(capacity("back")).isEqualTo("3 f");
        plans.defaultPlan(null);
    }

    @Test
    void aTenantThatIsNotKnownHasNoLimits() {
        Scope nobody = Scope.of("nobody");
        assertThat(room.quotas.balances(nobody)).isEmpty();
        assertThat(plans.reset(nobody, false)).isEmpty();
        assertThat(room.quotas.reports().usage("nobody", Instant.MIN)).isEmpty();
        assertThat(room.quotas.reports().reconcile("nobody")).isEmpty();
    }

    @Test
    void overridesAndBoostsCountUntilTheyAreWithdrawn() {
        room.tenant("moved", REQUESTS);
        assertThat(capacity("moved")).isEqualTo("10 f");
        UUID other = override("moved", "requests", 3L);
        UUID more = plans.boost(Scope.of("moved"), "requests", 4, Instant.now(), null, "test");
        assertThat(capacity("moved")).isEqualTo("7 t");
        UUID none = override("moved", "requests", null);
        assertThat(capacity("moved")).isEqualTo("null t");
        plans.withdraw("moved", none);
        plans.withdraw("moved", other);
        assertThat(capacity("moved")).isEqualTo("14 t");
        plans.withdraw("moved", more);
        plans.withdraw("moved", more);
        assertThat(capacity("moved")).isEqualTo("10 t");
        room.run("delete from pgquota.adjustment where tenant = 'moved'");
        assertThat(capacity("moved")).isEqualTo("10 f");
    }

    private static String capacity(String tenant) {
        return room.rows("select b.capacity, t.adjusted from pgquota.balance b "
                + "join pgquota.tenant t using (tenant) where tenant = ?", tenant).get(0);
    }

    @Test
    void anUnlimitedLimitStaysSoUnlessItIsOverridden() {
        room.tenant("free", Limit.named("a").unlimited(), Limit.named("b").capacity(5)
                .allowOverage(2));
        plans.boost(Scope.of("free"), "a", 4, Instant.now(), null, "test");
        plans.boost(Scope.of("free"), "b", 4, Instant.now(), null, "test");
        assertThat(room.rows("select limit_name, capacity, remaining from pgquota.balance "
                + "where tenant = 'free' order by 1")).containsExactly("a null null", "b 9 9");
        override("free", "a", 3L);
        assertThat(room.quotas.consume(Request.of("free").take("a", 8)).isGranted()).isFalse();
        assertThat(room.quotas.consume(Request.of("free").take("a", 7)).isGranted()).isTrue();
        assertThat(room.quotas.consume(Request.of("free").take("b", 12)).isGranted()).isFalse();
        assertThat(room.quotas.consume(Request.of("free").take("b", 11)).isGranted()).isTrue();
    }

    @Test
    void whatHasNotBegunIsTakenBackWithoutATrace() {
        room.tenant("later", REQUESTS);
        UUID later = plans.override(Scope.of("later"), "requests", 3L,
                Instant.now().plusSeconds(999),
                null, "test");
        plans.withdraw("later", later);
        assertThat(capacity("later")).isEqualTo("10 f");
        assertThatThrownBy(() -> plans.withdraw("later", later))
                .isInstanceOf(QuotaException.NotFound.class);
    }

    @Test
    void aTenantIsMadeByItsFirstOverride() {
        plans.publish(Plan.named("DEFAULT").limit(REQUESTS));
        plans.defaultPlan("DEFAULT");
        override("fresh", "requests", 2L);
        assertThat(capacity("fresh")).isEqualTo("2 t");
        plans.defaultPlan(null);
    }

    /**
     * One deletes the last adjustment while another inserts one: the flag must not say that there
     * is none.
     */
    @Test
    void theFlagIsRightWhenTwoChangeATenantAtOnce() throws Exception {
        room.tenant("flag", REQUESTS);
        override("flag", "requests", 3L);
        ExecutorService thread = Executors.newSingleThreadExecutor();
        try (Connection one = room.database.connection(); Statement sql = one.createStatement()) {
            one.setAutoCommit(false);
            sql.execute("delete from pgquota.adjustment where tenant = 'flag'");
            Future<UUID> other = thread.submit(() -> override("flag", "requests", 4L));
            Awaitility.await().until(() -> room.rows("select from pg_stat_activity "
                    + "where datname = current_database() and wait_event_type = 'Lock'")
                    .size() == 1);
            one.commit();
            other.get();
        } finally {
            thread.shutdown();
        }
        assertThat(capacity("flag")).isEqualTo("4 t");
        ExecutorService again = Executors.newSingleThreadExecutor();
        try (Connection one = room.database.connection(); Statement sql = one.createStatement()) {
            one.setAutoCommit(false);
            sql.execute("insert into pgquota.adjustment (tenant, scope, limit_name, kind, "
                    + "capacity, from_at) "
                    + "values ('flag', 'flag', 'requests', 'override', 5, pgquota.clock())");
            Future<Integer> other = again.submit(() -> room.run(
                    "delete from pgquota.adjustment where tenant = 'flag' and capacity = 4"));
            Awaitility.await().until(() -> room.rows("select from pg_stat_activity "
                    + "where datname = current_database() and wait_event_type = 'Lock'")
                    .size() == 1);
            one.commit();
            other.get();
        } finally {
            again.shutdown();
        }
        assertThat(capacity("flag")).isEqualTo("5 t");
    }

    @Test
    void aRestartOfUsageIsVisibleAndLeavesHolds() {
        room.tenant("reset", REQUESTS, Limit.named("a").on("requests").level(1),
                Limit.named("hourly").on("bytes").per(Window.hour()));
        for (String scope : List.of("reset/a", "reset/b")) {
            room.quotas.consume(Request.of(scope).take("requests", 2).take("bytes", 7)).orThrow();
        }
        room.quotas.reserve(Request.of("reset/a").take("requests", 1), Duration.ofMinutes(5))
                .orThrow();
        String counters = "select scope, meter, used, held, entries from pgquota.counter "
                + "where tenant = 'reset' order by 1, 2";
        List<String> before = List.of("reset bytes 14 0 0", "reset requests 4 1 2",
                "reset/a requests 2 1 1", "reset/b requests 2 0 1");
        assertThat(room.rows(counters)).isEqualTo(before);

        assertThat(plans.reset(Scope.of("reset/a"), true).toString())
                .contains("limit=a", "used=2", "held=1");
        assertThat(room.rows(counters)).isEqualTo(before);
        assertThat(plans.reset(Scope.of("reset/a"), false)).hasSize(1);
        assertThat(room.rows(counters))
                .containsExactly("reset bytes 14 0 0", "reset requests 4 1 2",
                "reset/a requests 0 1 2", "reset/b requests 2 0 1");
        plans.assign("reset", "PLAN-reset", Plans.Usage.KEEP);
        assertThat(room.rows(counters)).contains("reset requests 4 1 2");
        plans.assign("reset", "PLAN-reset", Plans.Usage.RESTART);
        assertThat(room.rows(counters)).containsExactly("reset bytes 0 0 0", "reset requests 0 1 3",
                "reset/a requests 0 1 2", "reset/b requests 0 0 2");
        assertThat(room.rows("select scope, entry, verb, amount, used_after from "
                + "pgquota.ledger_line "
                + "where tenant = 'reset' and verb = 'reset' order by at, scope"))
                .containsExactly("reset/a 2 reset -2 0", "reset 3 reset -4 0",
                        "reset/b 2 reset -2 0");
        assertThat(room.quotas.reports().reconcile("reset")).isEmpty();
        assertThat(plans.reset(Scope.of("reset"), false)).isEmpty();
    }
}
