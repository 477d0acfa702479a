package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CyclicBarrier;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Many callers at once. */
class ContentionTest {

    private static final Limit SINGLE = Limit.named("messages").on("requests").capacity(50);
    private static final Request ONE = Request.of("acme/a/u").take("requests", 1);

    private static World world(int connections, Limit... limits) {
        World world = World.create(connections);
        world.quotas().plans().publish(new Plan("P", List.of(limits)));
        return world.tenant("acme", "P").tenant("beta", "P");
    }

    @Test
    void additionsAreNeitherLostNorCountedTwice() throws Exception {
        try (World world = world(20, SINGLE.unlimited())) {
            Callers.run(20, caller -> {
                for (int i = 0; i < 25; i++) {
                    world.quotas().consume(ONE).orThrow();
                }
                return null;
            });
            assertThat(world.rows("select used, entries from pgquota.counter"))
                    .containsExactly("500 500");
            world.proof();
        }
    }

    @Test
    void limitHoldsWhereReadCheckIncrementDoesNot() throws Exception {
        int callers = 40;
        int tries = 20;
        try (World world = world(callers, SINGLE)) {
            world.execute("create table public.naive (used int)");
            world.execute("insert into public.naive values (0)");
            CyclicBarrier together = new CyclicBarrier(callers);
            long granted = Callers.run(callers, caller -> IntStream.range(0, tries)
                    .filter(i -> world.quotas().consume(ONE).isGranted()).count())
                    .stream().mapToLong(n -> n).sum();
            Callers.run(callers, caller -> {
                for (int i = 0; i < tries; i++) {
                    readCheckIncrement(world, together);
                }
                return null;
            });
            assertThat(granted).isEqualTo(50);
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("50");
            assertThat(world.count("select used from public.naive")).as("the control overshoots")
                    .isGreaterThan(50);
            world.proof();
        }
    }

    /** The transaction that fails: all have read before one writes, as callers at once have. */
    private static void readCheckIncrement(World world, CyclicBarrier together) throws Exception {
        try (Connection connection = world.pool().getConnection()) {
            connection.setAutoCommit(false);
            int used;
            try (PreparedStatement read = connection.prepareStatement("select used from "
                    + "public.naive");
                    ResultSet row = read.executeQuery()) {
                row.next();
                used = row.getInt(1);
            }
            together.await();
            if (used + 1 <= 50) {
                try (var write = connection.createStatement()) {
                    write.execute("update public.naive set used = used + 1");
                }
            }
            connection.commit();
            together.await();
            connection.setAutoCommit(true);
        }
    }

    @Test
    void firstCallersOfANewWindow() throws Exception {
        try (World world = world(32, SINGLE.per(Window.hour()))) {
            world.clock("2130-05-05T08:30:00Z");
            world.quotas().consume(ONE);
            world.later(Duration.ofHours(1));
            List<Decision> decisions = Callers.run(32, caller -> world.quotas().consume(ONE));
            assertThat(decisions).allMatch(Decision::isGranted);
            assertThat(world.rows("select used from pgquota.counter order by start_at"))
                    .containsExactly("1", "32");
        }
    }

    @Test
    void thresholdsAreCrossedOnceByManyCallers() throws Exception {
        try (World world = world(32, SINGLE.capacity(640).per(Window.month())
                .alertAt(1, 25, 50, 75, 100))) {
            Request call = Request.of("acme").take("requests", 1);
            List<List<Integer>> crossed = Callers.run(32, caller -> {
                List<Integer> seen = new ArrayList<>();
                for (int i = 0; i < 20; i++) {
                    world.quotas().consume(call).orThrow().limits()
                            .forEach(v -> seen.addAll(v.crossed()));
                }
                return seen;
            });
            assertThat(crossed.stream().flatMap(List::stream))
                    .containsExactlyInAnyOrder(1, 25, 50, 75, 100);
            assertThat(world.rows("select percent, used from pgquota.alert order by percent"))
                    .containsExactly("1 7", "25 160", "50 320", "75 480", "100 640");
            world.proof();
        }
    }

    /**
     * Ten thousand calls over organisation, team and user, alone and in lists in all orders, with
     * holds that expire, settlements and refunds between them. The calls join a connection, because
     * alone they would repeat what fails by a deadlock.
     */
    @Test
    void oppositeOrdersDoNotDeadlock() throws Exception {
        long seed = System.nanoTime();
        System.out.println("ContentionTest: seed " + seed);
        try (World world = world(8,
                        Limit.named("user").on("requests").level(2).unlimited(),
                        Limit.named("team").on("requests").level(1).unlimited(),
                        Limit.named("org").on("requests").capacity(1L << 40),
                        Limit.named("tokens").on("tokens").level(1).unlimited())) {
            Callers.run(8, caller -> {
                Random random = new Random(seed + caller);
                try (Connection connection = world.database().connection()) {
                    Operations quotas = world.quotas().within(connection);
                    for (int i = 0; i < 1250; i++) {
                        call(quotas, random, "k" + caller + "-" + i);
                    }
                }
                return null;
            });
            assertThat(world.count("select deadlocks from pg_stat_database where datname = ?",
                    world.database().name())).isZero();
            // some counters of expired holds were asked by nobody since
            assertThat(world.quotas().upkeep().runOnce(Duration.ofMinutes(1)).finished()).isTrue();
            world.proof();
        }
    }

    private static void call(Operations quotas, Random random, String key) {
        Request request = request(random);
        switch (random.nextInt(6)) {
            case 0 -> quotas.record(request.key(random.nextBoolean() ? key : null));
            case 1 -> quotas.settle(quotas.reserve(request, Duration.ofMinutes(1)).orThrow()
                    .operation(),
                    Map.of("requests", 1L));
            case 2 -> quotas.reserve(request, Duration.ofMillis(1)); // for others to give back
            case 3 -> quotas.refund(quotas.consume(request).orThrow().operation(), Map.of(), null);
            default -> {
                List<Request> requests = new ArrayList<>();
                for (int i = 0; i < 4; i++) {
                    requests.add(request(random).key(random.nextInt(4) == 0 ? key + "-" + i
                            : null));
                }
                Collections.shuffle(requests, random);
                quotas.consumeAll(requests);
            }
        }
    }

    private static Request request(Random random) {
        String scope = (random.nextInt(4) == 0 ? "beta" : "acme") + "/t" + random.nextInt(3) + "/u"
                + random.nextInt(3);
        Request request = Request.of(scope).take("requests", 1 + random.nextInt(3));
        return random.nextBoolean() ? request.take("tokens", 5) : request;
    }
}
