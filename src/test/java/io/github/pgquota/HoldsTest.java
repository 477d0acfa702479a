package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

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

    /** The work is done: that it could not be charged is no reason to give it away. */
    @Test
    void aSettlementThatFailsReleasesNothing() throws Exception {
        try (World world = World.with(MESSAGES);
                Quotas hasty = Quotas.on(world.pool()).timeouts(
                        Timeouts.standard().lock(Duration.ofMillis(100))).build();
                Connection blocker = world.database().connection();
                java.sql.Statement sql = blocker.createStatement()) {
            blocker.setAutoCommit(false);
            Reservation hold = hasty.hold(Request.of("acme").take("requests", 7),
                    Duration.ofHours(1));
            sql.execute("select from pgquota.counter for update");
            org.junit.jupiter.api.Assertions.assertThrows(
                    QuotaException.Unavailable.class, hold::settle);
            blocker.rollback();
            hold.close();
            assertThat(world.rows("select used, held from pgquota.counter"))
                    .containsExactly("0 7");
            hasty.settle(hold.id(), Map.of());
            assertThat(world.rows("select used, held from pgquota.counter"))
                    .containsExactly("7 0");
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
