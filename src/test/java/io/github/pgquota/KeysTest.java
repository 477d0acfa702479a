package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.sql.Connection;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.junit.jupiter.api.Test;

/** A key makes an operation exactly-once, whoever else uses it at the same moment. */
class KeysTest {

    private static final Limit MESSAGES =
            Limit.named("messages").on("requests").capacity(100).per(Window.month());

    @Test
    void aRolledBackAttemptDoesNotBurnItsKey() throws Exception {
        try (World world = World.with(MESSAGES);
                Connection connection = world.database().connection()) {
            Request call = Request.of("acme").take("requests", 10).key("k");
            connection.setAutoCommit(false);
            world.quotas().within(connection).consume(call).orThrow();
            connection.rollback();
            assertThat(world.rows("select key from pgquota.operation_key")).isEmpty();
            Granted granted = world.quotas().consume(call).orThrow();
            assertThat(granted.replayed()).isFalse();
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("10");
            world.proof();
        }
    }

    @Test
    void duplicatesAtOnceAreOneChargeAndOneAnswer() throws Exception {
        Function<World, Function<Integer, Granted>> consume = w -> i -> w.quotas()
                .consume(Request.of("acme/a").take("requests", 10).key("k" + i)).orThrow();
        Function<World, Function<Integer, Granted>> reserve = w -> i -> w.quotas()
                .reserve(Request.of("acme/a").take("requests", 10).key("k" + i),
                        Duration.ofMinutes(1)).orThrow();
        for (var verb : List.of(consume, reserve)) {
            try (World world = World.create(32)) {
                // room for each key once, so a duplicate that is charged is denied at the latest
                world.plan("P", MESSAGES.capacity(50)).tenant("acme", "P");
                for (int round = 0; round < 5; round++) {
                    int key = round;
                    List<Granted> answers =
                            Callers.run(32, caller -> verb.apply(world).apply(key));
                    assertThat(answers).filteredOn(a -> !a.replayed()).hasSize(1);
                    assertThat(answers).extracting(Granted::operation).containsOnly(
                            answers.get(0).operation());
                    assertThat(answers).extracting(Granted::limits).containsOnly(
                            answers.get(0).limits());
                    assertThat(world.rows("select used + held from pgquota.counter"))
                            .containsExactly(String.valueOf(10 * (key + 1)));
                }
                world.proof();
            }
        }
    }

    @Test
    void duplicatesAtOnceUnderOtherRequestsConflict() throws Exception {
        try (World world = World.create(32)) {
            world.plan("P", MESSAGES).tenant("acme", "P");
            List<String> answers = Callers.run(32, caller -> {
                try {
                    long amount = 1 + caller % 2;
                    return "took " + world.quotas().consume(
                            Request.of("acme").take("requests", amount).key("k")).orThrow()
                            .granted().get("requests");
                } catch (QuotaException.KeyConflict e) {
                    return "conflict " + e.field();
                }
            });
            String used = world.rows("select used from pgquota.counter").get(0);
            assertThat(answers).filteredOn(a -> a.equals("took " + used)).hasSize(16);
            assertThat(answers).filteredOn(a -> a.equals("conflict amounts")).hasSize(16);
            world.proof();
        }
    }

    @Test
    void refundsAtOnceUnderOneKeyGiveBackOnce() throws Exception {
        try (World world = World.create(32)) {
            world.plan("P", MESSAGES).tenant("acme", "P");
            OperationId operation = world.quotas()
                    .consume(Request.of("acme").take("requests", 50)).orThrow().operation();
            List<Granted> answers = Callers.run(32, caller ->
                    world.quotas().refund(operation, Map.of("requests", 10L), "k"));
            assertThat(answers).filteredOn(a -> !a.replayed()).hasSize(1);
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("40");
            world.proof();
        }
    }

    @Test
    void listsWithTheSameKeysInAnotherOrderNeitherDeadlockNorChargeTwice() throws Exception {
        try (World world = World.create(16)) {
            world.plan("P", MESSAGES.capacity(1_000_000)).tenant("acme", "P");
            Callers.run(16, caller -> {
                for (int round = 0; round < 20; round++) {
                    Request a = Request.of("acme/a").take("requests", 1).key("a" + round);
                    Request b = Request.of("acme/b").take("requests", 1).key("b" + round);
                    world.quotas().consumeAll(caller % 2 == 0 ? List.of(a, b) : List.of(b, a));
                }
                return null;
            });
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("40");
            world.proof();
        }
    }
}
