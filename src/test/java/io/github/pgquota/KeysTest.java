package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.sql.Connection;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.function.Function;
import org.junit.jupiter.api.Test;

/** A key makes an operation exactly-once. */
class KeysTest {

    private static final Limit MESSAGES =
            Limit.named("messages").on("requests").capacity(100).per(Window.month());
    private static final Limit TOKENS = Limit.named("tokens").capacity(1000);
    private static final String MARCH = "clock 2026-03-10T12:00:00Z | |\n";

    private static void table(String lines) {
        try (World world = World.with(MESSAGES, TOKENS)) {
            Table.run(world, MARCH + lines);
        }
    }

    @Test
    void everyVerbThatChargesIsReplayed() {
        table("""
                consume requests 10 key c         | granted 10          | requests used 10 held 0
                consume requests 10 key c         | granted 10 replayed | requests used 10 held 0
                consumeUpTo requests 10 key u     | granted 10          | requests used 20 held 0
                consumeUpTo requests 10 key u     | granted 10 replayed | requests used 20 held 0
                record requests 10 key r as op    | granted 10          | requests used 30 held 0
                record requests 10 key r          | granted 10 replayed | requests used 30 held 0
                reserve requests 10 key h as h    | granted 10          | requests used 30 held 10
                reserve requests 10 key h as same | granted 10 replayed | requests used 30 held 10
                extend same requests 5 key e      | granted 5           | requests used 30 held 15
                extend h requests 5 key e         | granted 5 replayed  | requests used 30 held 15
                settle same                       | granted 15 hold settled | requests used 45 held 0
                refund op requests 4 key f        | granted 4           | requests used 41 held 0
                refund op requests 4 key f        | granted 4 replayed  | requests used 41 held 0
                refund op key g                   | granted 6           | requests used 35 held 0
                refund op key g                   | granted 6 replayed  | requests used 35 held 0
                """);
    }

    @Test
    void aReplayTellsTheFirstAnswerWhateverHasHappenedSince() {
        try (World world = World.with(MESSAGES, TOKENS)) {
            Request call = Request.of("acme/a").take("requests", 30).key("k");
            Granted first = world.quotas().consume(call).orThrow();
            world.quotas().consume(Request.of("acme/a").take("requests", 70)).orThrow();
            world.plan("P", MESSAGES.capacity(5));
            Granted again = world.quotas().consume(call).orThrow();
            assertThat(again).isEqualTo(new Granted(first.scope(), first.asked(), first.granted(),
                    first.limits(), first.at(), first.operation(), true, false, null));
            world.proof();
        }
    }

    @Test
    void anotherRequestUnderTheKeyIsRefusedWithTheFieldThatDiffers() {
        table("""
                acme/a consume requests 10 tokens 5 key k     | granted requests 10 tokens 5 | requests used 10 held 0
                acme/a record  requests 10 tokens 5 key k     | KeyConflict verb             | requests used 10 held 0
                acme/b consume requests 10 tokens 5 key k     | KeyConflict scope            | requests used 10 held 0
                acme/a consume requests 10 key k              | KeyConflict meters           | requests used 10 held 0
                acme/a consume requests 10 tokens 6 key k     | KeyConflict amounts          | tokens used 5 held 0
                acme/a consume requests 11 tokens 5 key k     | KeyConflict amounts          | requests used 10 held 0
                acme/a consume requests 10 tokens 5 key k     | granted requests 10 tokens 5 replayed | requests used 10 held 0
                reserve requests 1 ttl PT1M key h as h1       | granted 1                    | requests used 10 held 1
                reserve requests 1 ttl PT2M key h             | KeyConflict ttl              | requests used 10 held 1
                reserve requests 1 ttl PT1M as h2             | granted 1                    | requests used 10 held 2
                extend h1 ttl PT3M key e                      | granted 0                    | requests used 10 held 2
                extend h2 ttl PT3M key e                      | KeyConflict ref              | requests used 10 held 2
                """);
    }

    @Test
    void aKeyBelongsToItsTenant() {
        try (World world = World.with(MESSAGES, TOKENS).tenant("other", "P")) {
            for (String tenant : List.of("acme", "other")) {
                Granted granted = world.quotas()
                        .consume(Request.of(tenant).take("requests", 1).key("k")).orThrow();
                assertThat(granted.replayed()).isFalse();
            }
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("1", "1");
        }
    }

    @Test
    void aDeniedOrFailedAttemptDoesNotBurnItsKey() {
        table("""
                consume requests 90             | granted 90                                  | requests used 90 held 0
                consume requests 20 key k       | denied messages retry 2026-04-01T00:00:00Z  | requests used 90 held 0
                consume bytes 1 key k           | UnknownMeter bytes                          | requests used 90 held 0
                clock 2026-04-01T00:00:00Z      |                                             |
                consume requests 20 key k       | granted 20                                  | window 2 used 20 held 0
                consume requests 20 key k       | granted 20 replayed                         | window 2 used 20 held 0
                """);
    }

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
    void duplicatesInOneListAreOneCharge() {
        try (World world = World.with(MESSAGES)) {
            Request call = Request.of("acme").take("requests", 60).key("k");
            Request other = Request.of("acme").take("requests", 10).key("other");
            List<Decision> decisions =
                    world.quotas().consumeAll(List.of(call, other, call, call, other));
            assertThat(decisions).extracting(d -> ((Granted) d).replayed())
                    .containsExactly(false, false, true, true, true);
            assertThat(((Granted) decisions.get(2)).operation())
                    .isEqualTo(((Granted) decisions.get(0)).operation());
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("70");
            assertThatThrownBy(() -> world.quotas().consumeAll(List.of(
                    Request.of("acme").take("requests", 1).key("new"),
                    Request.of("acme").take("requests", 2).key("new"))))
                    .isInstanceOf(QuotaException.Partial.class)
                    .cause().isInstanceOfSatisfying(QuotaException.KeyConflict.class,
                            e -> assertThat(e.field()).isEqualTo("amounts"));
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("71");
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

    @Test
    void aKeyOlderThanItsRetentionIsRefused() {
        table("""
                consume requests 10 key k         | granted 10          | requests used 10 held 0
                clock +PT839H59M                  |                     |
                consume requests 10 key k         | granted 10 replayed | requests used 10 held 0
                clock +PT2H                       |                     |
                consume requests 10 key k         | KeyExpired          | requests used 10 held 0
                """);
    }

    @Test
    void aLongerRetentionBringsNoDroppedKeyBack() {
        String key = "019c8f2e-1234-7abc-8def-0123456789ab";
        try (World world = World.with(MESSAGES)) {
            Request call = Request.of("acme").take("requests", 10).key(key);
            world.clock("2026-03-10T12:00:00Z");
            world.quotas().consume(call);
            world.clock("2026-04-20T12:00:00Z");
            assertThat(world.quotas().upkeep().runOnce(Duration.ofSeconds(5)).keysDropped())
                    .isEqualTo(1);
            world.execute("update pgquota.setting set key_retention = '400 days'");
            world.quotas().consume(call.key(null));
            assertThatThrownBy(() -> world.quotas().consume(call))
                    .isInstanceOf(QuotaException.KeyExpired.class);
        }
    }

    @Test
    void aTimeOrderedKeyTellsItsAgeEvenWhenItsRowIsGone() {
        String key = "019c8f2e-1234-7abc-8def-0123456789ab"; // a UUIDv7 of February 2026
        assertThat(UUID.fromString(key).version()).isEqualTo(7);
        try (World world = World.with(MESSAGES)) {
            Request call = Request.of("acme").take("requests", 10).key(key);
            world.clock("2026-03-10T12:00:00Z");
            assertThat(world.quotas().consume(call).isGranted()).isTrue();
            world.clock("2027-03-10T12:00:00Z").execute("delete from pgquota.operation_key");
            world.quotas().consume(call.key(null)); // opens the window: the short way is tried
            List<String> before = world.written();
            assertThatThrownBy(() -> world.quotas().consume(call))
                    .isInstanceOfSatisfying(QuotaException.KeyExpired.class,
                            e -> assertThat(e.key()).isEqualTo(key));
            assertThat(world.written()).isEqualTo(before);
        }
    }
}
