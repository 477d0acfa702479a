package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;

/** A change is obeyed by all from its commit on, also in the middle of everything. */
class LimitsChangeTest {

    private static final Request CALL = Request.of("acme/a").take("requests", 1);
    private static final int CALLERS = 32;
    private static final int CHANGES = 30;

    private static Limit messages(long capacity, Limit.Mode mode) {
        return Limit.named("messages").on("requests").capacity(capacity).mode(mode)
                .per(Window.lifetime());
    }

    /** What is in force from its commit on; begun and done are nanoseconds around the change. */
    private record Rule(String how, long capacity, Limit.Mode mode, long begun, long done) {}

    /** What a caller was told, and when it asked and heard. */
    private record Told(boolean granted, long capacity, Limit.Mode mode, long taken, long asked,
            long heard) {}

    /** Changes the limit, each time in another way, and notes what holds from then on. */
    private static final class Administrator {
        private final Plans plans;
        private final Random random;
        private final List<Rule> rules = new ArrayList<>();
        private long planned;
        private Limit.Mode mode = Limit.Mode.ENFORCE;
        private UUID override;
        private UUID boost;
        private long boosted;
        private long overridden;

        private final int ways;

        Administrator(Plans plans, Random random, long capacity, int ways) {
            this.plans = plans;
            this.ways = ways;
            this.random = random;
            this.planned = capacity;
            rules.add(new Rule("start", capacity, mode, Long.MIN_VALUE, Long.MIN_VALUE));
        }

        void change(long used) {
            long begun = System.nanoTime();
            String how = act(Math.max(0, used - 20 + random.nextInt(220)));
            long capacity = (override == null ? planned : overridden)
                    + (boost == null ? 0 : boosted);
            rules.add(new Rule(how, capacity, mode, begun, System.nanoTime()));
        }

        private String act(long capacity) {
            switch (random.nextInt(ways)) {
                case 1 -> {
                    mode = mode == Limit.Mode.ENFORCE ? Limit.Mode.OBSERVE : Limit.Mode.ENFORCE;
                    plans.publish(Plan.named("P").limit(messages(planned, mode)));
                    return "mode " + mode;
                }
                case 2 -> {
                    if (override != null) {
                        plans.withdraw("acme", override);
                        override = null;
                        return "override withdrawn";
                    }
                    overridden = capacity;
                    override = plans.override(Scope.of("acme"), "messages", capacity,
                            Instant.EPOCH, null, "test");
                    return "override " + capacity;
                }
                case 3 -> {
                    if (boost != null) {
                        plans.withdraw("acme", boost);
                        boost = null;
                        return "boost withdrawn";
                    }
                    boosted = random.nextInt(100);
                    boost = plans.boost(Scope.of("acme"), "messages", boosted,
                            Instant.EPOCH, null, "test");
                    return "boost " + boosted;
                }
                default -> {
                    planned = capacity;
                    plans.publish(Plan.named("P").limit(messages(planned, mode)));
                    return "plan " + capacity;
                }
            }
        }
    }

    /** Overrides and boosts send all calls of a tenant another way through the engine. */
    @Test
    void aPlanThatChangesWhileManyCallIsNeverPassed() throws Exception {
        change(2);
    }

    @Test
    void overridesAndBoostsThatChangeWhileManyCallAreNeverPassed() throws Exception {
        change(5);
    }

    private static void change(int ways) throws Exception {
        long seed = ThreadLocalRandom.current().nextLong();
        System.out.println("LimitsChangeTest seed " + seed);
        try (World world = World.create(CALLERS + 2)) {
            Plans plans = world.quotas().plans("test", "changes");
            plans.publish(Plan.named("P").limit(messages(100, Limit.Mode.ENFORCE)));
            plans.assign("acme", "P");
            Administrator administrator = new Administrator(plans, new Random(seed), 100, ways);
            AtomicBoolean over = new AtomicBoolean();
            AtomicLong calls = new AtomicLong();
            List<List<Told>> told = Callers.run(CALLERS + 1, caller -> {
                if (caller < CALLERS) {
                    return call(world.quotas(), over, calls);
                }
                try {
                    for (int i = 0; i < CHANGES; i++) {
                        long enough = calls.get() + 100;
                        Awaitility.await().pollInterval(Duration.ofMillis(1))
                                .until(() -> calls.get() > enough);
                        administrator.change(world.count(
                                "select coalesce(sum(used), 0) from pgquota.counter"));
                    }
                } finally {
                    over.set(true);
                }
                return List.of();
            });
            List<Told> all = told.stream().flatMap(List::stream).toList();
            all.forEach(t -> assertObeyed(administrator.rules, t));
            assertThat(all).as("both happened").extracting(Told::granted).contains(true, false);
            assertThat(world.count("select used from pgquota.counter"))
                    .isEqualTo(all.stream().filter(Told::granted).count());
            world.proof();
        }
    }

    private static List<Told> call(Quotas quotas, AtomicBoolean over, AtomicLong calls) {
        List<Told> told = new ArrayList<>();
        while (!over.get()) {
            long asked = System.nanoTime();
            Decision decision = quotas.consume(CALL);
            Balance b = decision.limits().get(0).balance();
            told.add(new Told(decision.isGranted(), b.capacity().orElseThrow(), b.mode(),
                    b.used() + b.held(), asked, System.nanoTime()));
            calls.incrementAndGet();
        }
        return told;
    }

    /**
     * A call obeyed one of the rules that were in force at some time between question and answer.
     */
    private static void assertObeyed(List<Rule> rules, Told told) {
        List<Rule> possible = new ArrayList<>();
        for (int i = 0; i < rules.size(); i++) {
            boolean ended = i + 1 < rules.size() && rules.get(i + 1).done() < told.asked();
            if (rules.get(i).begun() < told.heard() && !ended) {
                possible.add(rules.get(i));
            }
        }
        assertThat(possible).as("rules in force for %s", told).anyMatch(
                r -> r.capacity() == told.capacity() && r.mode() == told.mode());
        if (told.mode() == Limit.Mode.ENFORCE) {
            if (told.granted()) {
                assertThat(told.taken()).as("%s", told).isLessThanOrEqualTo(told.capacity());
            } else {
                assertThat(told.taken() + 1).as("%s", told).isGreaterThan(told.capacity());
            }
        } else {
            assertThat(told.granted()).as("%s", told).isTrue();
        }
    }

    /** A statement that has begun may obey the old limit; one that begins after the commit not. */
    @Test
    void aCommitIsTheMomentOfAChange() throws Exception {
        try (World world = World.with(messages(100, Limit.Mode.ENFORCE));
                var connection = world.database().connection();
                var sql = connection.createStatement()) {
            connection.setAutoCommit(false);
            sql.execute("insert into pgquota.adjustment "
                    + "(tenant, scope, limit_name, kind, capacity, from_at) "
                    + "values ('acme', 'acme', 'messages', 'override', 5, '-infinity')");
            assertThat(world.quotas().consume(Request.of("acme").take("requests", 6)).isGranted())
                    .as("not committed yet").isTrue();
            connection.commit();
            assertThat(world.quotas().consume(CALL).isGranted()).isFalse();
        }
    }
}
