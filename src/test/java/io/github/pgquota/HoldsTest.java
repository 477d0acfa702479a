package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.sql.Connection;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ThreadLocalRandom;
import org.junit.jupiter.api.Test;

/** A hold ends exactly once, whoever is at it. */
class HoldsTest {

    private static final Limit MESSAGES =
            Limit.named("messages").on("requests").capacity(100).per(Window.month());
    private static final String MARCH = "clock 2026-03-10T12:00:00Z | |\n";

    private static void table(String lines, Limit... limits) {
        try (World world = World.with(limits)) {
            Table.run(world, MARCH + lines.replace("APRIL", "2026-04-01T00:00:00Z"));
        }
    }

    @Test
    void anExpiredHoldStopsCountingWithoutAnyJob() {
        table("""
                reserve requests 60 ttl PT1M as h | granted 60                  | used 0 held 60
                clock +PT59.999S                  |                             |
                check requests 41                 | denied messages retry APRIL | used 0 held 60
                consume requests 41               | denied messages retry APRIL | used 0 held 60
                clock +PT0.001S                   |                             |
                check requests 100                | granted 100                 | used 0 held 60
                consume requests 41               | granted 41                  | used 41 held 0
                consumeUpTo requests 100          | granted 59                  | used 100 held 0
                """, MESSAGES);
        try (World world = World.with(MESSAGES)) {
            world.clock("2026-03-10T12:00:00Z");
            world.quotas().reserve(
                    Request.of("acme").take("requests", 60), Duration.ofMinutes(1));
            world.later(Duration.ofMinutes(1));
            assertThat(world.quotas().balances(Scope.of("acme")).get(0).held()).isZero();
            assertThat(world.rows("select state from pgquota.hold")).containsExactly("open");
        }
    }

    @Test
    void aLateSettlementIsChargedAndSaysSo() {
        table("""
                reserve requests 60 ttl PT1M as h | granted 60                           | used 0 held 60
                clock +PT1M                       |                                      |
                consume requests 90               | granted 90                           | used 90 held 0
                settle h requests 30              | granted 30 over 20 hold settled late | used 120 held 0
                settle h requests 31              | granted 30 over 20 hold settled late replayed | used 120 held 0
                """, MESSAGES);
        table("""
                reserve requests 60 ttl PT1M as h | granted 60                   | used 0 held 60
                clock +PT1M                       |                              |
                extend h ttl PT1M                 | HoldEnded expired            | used 0 held 60
                settle h                          | granted 60 hold settled late | used 60 held 0
                """, MESSAGES);
        table("""
                reserve requests 60 ttl PT1M as h | granted 60                           | used 0 held 60
                clock +PT1M                       |                                      |
                release h                         | granted 0 hold expired late          | used 0 held 0
                settle h                          | granted 0 hold expired late replayed | used 0 held 0
                """, MESSAGES);
    }

    @Test
    void aHoldIsChargedToTheWindowItWasTakenIn() {
        table("""
                clock 2026-03-31T23:59:00Z         |            |
                reserve requests 60 ttl PT10M as h | granted 60 | window 1 used 0 held 60
                clock 2026-04-01T00:01:00Z         |            |
                consume requests 100               | granted 100 | window 1 used 0 held 60, window 2 used 100 held 0
                extend h requests 40 ttl PT10M     | granted 40 | window 1 used 0 held 100, window 2 used 100 held 0
                extend h requests 1 ttl PT10M      | denied messages retry never | window 1 used 0 held 100
                settle h requests 70               | granted 70 hold settled | window 1 used 70 held 0, window 2 used 100 held 0
                """, MESSAGES);
        table("""
                clock 2026-03-31T23:59:00Z         |            |
                reserve requests 60 ttl PT10M as h | granted 60 | window 1 used 0 held 60
                clock 2026-05-01T00:01:00Z         |            |
                settle h requests 70               | granted 70 hold settled late | window 1 used 70 held 0
                """, MESSAGES);
    }

    @Test
    void aHoldSurvivesTheLimitsItWasTakenUnder() {
        try (World world = World.with(MESSAGES)) {
            Reservation hold = world.quotas().hold(
                    Request.of("acme").take("requests", 60), Duration.ofMinutes(1));
            world.plan("P", Limit.named("other").on("tokens").capacity(1));
            assertThat(hold.settle(Map.of("requests", 70L)).granted())
                    .containsEntry("requests", 70L);
            assertThat(world.rows("select used, held from pgquota.counter"))
                    .containsExactly("70 0");
            world.proof();
        }
    }

    @Test
    void closingAReservationReleasesWhatWasNotSettled() {
        try (World world = World.with(MESSAGES)) {
            Request call = Request.of("acme").take("requests", 60);
            try (Reservation hold = world.quotas().hold(call, Duration.ofMinutes(1))) {
                assertThat(hold.expiresAt()).isAfter(hold.granted().at());
                assertThat(world.rows("select used, held from pgquota.counter"))
                        .containsExactly("0 60");
            }
            assertThat(world.rows("select state from pgquota.hold")).containsExactly("released");
            try (Reservation hold = world.quotas().hold(call, Duration.ofMinutes(1))) {
                hold.settle();
            }
            assertThat(world.rows("select used, held from pgquota.counter"))
                    .containsExactly("60 0");
            assertThatThrownBy(() -> world.quotas().hold(call, Duration.ofMinutes(1)))
                    .isInstanceOfSatisfying(QuotaException.Exceeded.class, e ->
                            assertThat(e.denied().refusing()).hasSize(1));
            world.proof();
        }
    }

    @Test
    void anyProcessSettlesByTheIdsText() {
        try (World world = World.with(MESSAGES);
                Quotas other = Quotas.on(world.database().dataSource()).build()) {
            String id = world.quotas().hold(Request.of("acme/a").take("requests", 60),
                    Duration.ofMinutes(1)).id().toString();
            other.settle(OperationId.parse(id), Map.of("requests", 10L));
            assertThat(world.rows("select used, held from pgquota.counter"))
                    .containsExactly("10 0");
            OperationId stranger = new OperationId("other", OperationId.parse(id).uuid());
            assertThatThrownBy(() -> other.release(stranger))
                    .isInstanceOf(QuotaException.NotFound.class);
            world.proof();
        }
    }

    @Test
    void aKilledHolderBlocksNothingBeyondItsTimeToLive() throws Exception {
        try (World world = World.with(MESSAGES);
                Connection killed = world.database().connection()) {
            killed.setAutoCommit(false);
            world.quotas().within(killed).reserve(
                    Request.of("acme").take("requests", 100), Duration.ofHours(1)).orThrow();
            int process = killed.unwrap(org.postgresql.PGConnection.class).getBackendPID();
            world.execute("select pg_terminate_backend(?, 5000)", process);
            // its transaction never committed, so nothing was held at all
            world.quotas().reserve(
                    Request.of("acme").take("requests", 100), Duration.ofMillis(300)).orThrow();
            Request call = Request.of("acme").take("requests", 100);
            assertThat(world.quotas().consume(call).isGranted()).isFalse();
            org.awaitility.Awaitility.await().atMost(Duration.ofSeconds(10)).until(
                    () -> world.quotas().consume(call).isGranted());
            assertThat(world.rows("select used, held from pgquota.counter"))
                    .containsExactly("100 0");
            assertThat(world.rows("select state from pgquota.hold")).containsExactly("expired");
            world.proof();
        }
    }

    @Test
    void aHoldIsNoLongerThanTheLongestAllowed() {
        try (World world = World.with(MESSAGES)) {
            world.clock("2026-03-10T12:00:00Z");
            Reservation hold = world.quotas().hold(
                    Request.of("acme").take("requests", 1), Duration.ofDays(9999));
            assertThat(hold.expiresAt()).isEqualTo("2026-03-11T12:00:00Z");
            world.later(Duration.ofHours(23));
            Granted more = hold.extend(Duration.ofDays(2)).orThrow();
            assertThat(more.hold().orElseThrow().expiresAt()).isEqualTo("2026-03-11T12:00:00Z");
            world.later(Duration.ofMinutes(-30));
            Granted less = hold.extend(Duration.ofSeconds(1)).orThrow();
            assertThat(less.hold().orElseThrow().expiresAt()).isEqualTo("2026-03-11T12:00:00Z");
        }
    }

    /** One end of a hold that was seen by somebody: the first of it, or a replay. */
    private record End(OperationId hold, String state, long charged, boolean replayed) {}

    /**
     * Batches of short-lived holds, 3,000 in all; at the same moment settlers, releasers,
     * extenders, consumers (who reap) and upkeep are at them, in orders of their own, while some
     * run out.
     */
    @Test
    void settleExpiryAndReleaseRaceAndEachHoldEndsOnce() throws Exception {
        long seed = ThreadLocalRandom.current().nextLong();
        System.out.println("HoldsTest seed " + seed);
        int batches = 75;
        int holds = 40;
        try (World world = World.create(8)) {
            world.plan("P", MESSAGES.capacity(100_000),
                    Limit.named("user").on("requests").level(1).capacity(100_000).per(Window.day()))
                    .tenant("acme", "P");
            List<End> ends = Collections.synchronizedList(new ArrayList<>());
            long consumed = 0;
            for (int batch = 0; batch < batches; batch++) {
                Random random = new Random(seed + batch);
                List<OperationId> ids = new ArrayList<>();
                for (int i = 0; i < holds; i++) {
                    ids.add(world.quotas().reserve(
                            Request.of("acme/u" + i % 3).take("requests", 10),
                            Duration.ofMillis(1 + random.nextInt(200))).orThrow().operation());
                }
                consumed += race(world.quotas(), ids, seed + batch, ends);
            }
            assertEnds(world, ends, batches * holds, consumed);
        }
    }

    private static long race(Quotas quotas, List<OperationId> ids, long seed, List<End> ends)
            throws Exception {
        return Callers.run(8, caller -> {
            List<OperationId> order = new ArrayList<>(ids);
            Collections.shuffle(order, new Random(seed * 31 + caller));
            long consumed = 0;
            for (OperationId id : order) {
                if (caller < 3) {
                    ends.add(end(id, quotas.settle(id, Map.of("requests", 5L + caller))));
                } else if (caller < 5) {
                    ends.add(end(id, quotas.release(id)));
                } else if (caller == 5) {
                    extend(quotas, id);
                } else if (caller == 6) {
                    quotas.upkeep().runOnce(Duration.ofSeconds(1));
                } else {
                    consumed += quotas.consume(Request.of("acme/u0").take("requests", 1))
                            .orThrow().granted().get("requests");
                }
            }
            return consumed;
        }).stream().mapToLong(n -> n).sum();
    }

    private static void extend(Quotas quotas, OperationId id) {
        try {
            quotas.extend(id, Map.of("requests", 1L), Duration.ofMillis(20), null);
        } catch (QuotaException.HoldEnded e) {
            assertThat(e.hold()).isEqualTo(id);
        }
    }

    private static End end(OperationId id, Granted granted) {
        return new End(id, granted.hold().orElseThrow().state().name(),
                granted.granted().get("requests"), granted.replayed());
    }

    private static void assertEnds(World world, List<End> ends, int holds, long consumed) {
        Map<OperationId, List<End>> byHold = new java.util.HashMap<>();
        ends.forEach(e -> byHold.computeIfAbsent(e.hold(), h -> new ArrayList<>()).add(e));
        assertThat(byHold).hasSize(holds);
        long charged = 0;
        for (List<End> seen : byHold.values()) {
            assertThat(seen).as("first outcomes").filteredOn(e -> !e.replayed()).hasSize(1);
            assertThat(seen).extracting(e -> e.state() + e.charged()).containsOnly(
                    seen.get(0).state() + seen.get(0).charged());
            charged += seen.get(0).charged();
        }
        world.proof();
        assertThat(world.rows("select count(*) from pgquota.hold where state = 'open'"))
                .containsExactly("0");
        assertThat(world.rows(
                "select sum(used), sum(held) from pgquota.counter where scope = 'acme'"))
                .containsExactly((charged + consumed) + " 0");
        assertThat(world.rows("select count(*) from pgquota.ledger l join pgquota.counter c "
                + "on c.id = l.counter where c.scope = 'acme' and l.verb = 'settle' "
                + "group by l.ref having count(*) > 1")).isEmpty();
        assertThat(world.count("select count(distinct ref) from pgquota.ledger "
                + "where verb = 'settle'")).isEqualTo(byHold.values().stream()
                .filter(s -> s.get(0).state().equals("SETTLED")).count());
    }
}
