package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.time.Instant;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Charging: at once, as far as there is room, after the fact, or only asked. */
interface ChargeContract extends Contract {

    @Test
    default void consumeTakesAllOrNothing() {
        table("""
                consume requests 30  | granted 30                  | used 30 held 0
                consume requests 0   | granted 0                   | used 30 held 0
                consume requests 71  | denied messages retry APRIL | used 30 held 0
                consume requests 70  | granted 70                  | used 100 held 0
                consume requests 0   | granted 0                   | used 100 held 0
                consume requests 1   | denied messages retry APRIL | used 100 held 0
                consume requests 101 | denied messages retry never | used 100 held 0
                """, MESSAGES);
    }

    @Test
    default void aNewWindowBeginsAtZeroAndTheOldOneStays() {
        table("""
                consume requests 100                | granted 100                 | used 100 held 0
                clock 2026-03-31T23:59:59.999999Z   |                             |
                consume requests 1                  | denied messages retry APRIL | used 100 held 0
                clock 2026-04-01T00:00:00Z          |                             |
                consume requests 1                  | granted 1                   | window 1 used 100 held 0, window 2 used 1 held 0
                """, MESSAGES);
    }

    @Test
    default void consumeUpToTakesWhatIsFree() {
        table("""
                consumeUpTo requests 30  | granted 30 | used 30 held 0
                reserve requests 20 as h | granted 20 | used 30 held 20
                consumeUpTo requests 60  | granted 50 | used 80 held 20
                consumeUpTo requests 1   | granted 0  | used 80 held 20
                consumeUpTo requests 0   | granted 0  | used 80 held 20
                release h                | granted 0 hold released | used 80 held 0
                consumeUpTo requests 21  | granted 20 | used 100 held 0
                """, MESSAGES);
    }

    @Test
    default void consumeUpToTakesOfEachMeterTheLeastThatItsLimitsLeave() {
        table("""
                acme/search consumeUpTo requests 9 tokens 50 | granted requests 9 tokens 50 | acme requests used 9 held 0, acme/search requests used 9 held 0, tokens used 50 held 0
                acme/search consumeUpTo requests 9 tokens 60 | granted requests 1 tokens 50 | acme requests used 10 held 0, acme/search requests used 10 held 0, tokens used 100 held 0
                acme/search consumeUpTo requests 9 tokens 1  | granted requests 0 tokens 0  | acme requests used 10 held 0
                acme/mail   consumeUpTo requests 9           | granted 9                    | acme requests used 19 held 0, acme/mail requests used 9 held 0
                """,
                MESSAGES,
                Limit.named("team").on("requests").level(1).capacity(10),
                Limit.named("tokens").capacity(100));
    }

    @Test
    default void recordTakesWhatHappened() {
        table("""
                record requests 90 | granted 90         | used 90 held 0
                record requests 30 | granted 30 over 20 | used 120 held 0
                record requests 5  | granted 5 over 5   | used 125 held 0
                record requests 0  | granted 0          | used 125 held 0
                consume requests 0 | granted 0          | used 125 held 0
                consume requests 1 | denied messages retry APRIL | used 125 held 0
                """, MESSAGES);
    }

    @Test
    default void checkChangesNothing() {
        table("""
                check requests 100                    | granted 100                 | used 0 held 0
                consume requests 60                   | granted 60                  | used 60 held 0
                check requests 41                     | denied messages retry APRIL | used 60 held 0
                check requests 40 key k               | granted 40                  | used 60 held 0
                check requests 101                    | denied messages retry never | used 60 held 0
                consume requests 40 key k             | granted 40                  | used 100 held 0
                """, MESSAGES);
        World world = world(MESSAGES);
        List<String> before = world.written();
        Request call = Request.of("acme/a").take("requests", 1);
        assertThat(quotas().check(call).orThrow().operationOrNull()).isNull();
        assertThat(world.written()).isEqualTo(before);
    }

    @Test
    default void aDecisionCarriesWhatAWebResponseNeeds() {
        World world = world(
                MESSAGES.message("{meter} of {scope}: {asked} asked, {used}+{held} of {capacity}, "
                        + "{remaining} left until {resets_at}, says {limit}"),
                Limit.named("free").on("requests").unlimited().message("{capacity} {remaining}"),
                Limit.named("soft").on("requests").capacity(1).per(Window.lifetime())
                        .mode(Limit.Mode.OBSERVE).message("{resets_at}"));
        world.clock(MARCH);
        Request call = Request.of("acme/a").take("requests", 30);
        Granted granted = quotas().consume(call).orThrow();
        quotas().reserve(call, MINUTE).orThrow();
        Denied denied = (Denied) quotas().consume(Request.of("acme/a").take("requests", 41));

        assertThat(granted.scope()).isEqualTo(Scope.of("acme/a"));
        assertThat(granted.asked()).isEqualTo(Map.of("requests", 30L));
        assertThat(granted.granted()).isEqualTo(Map.of("requests", 30L));
        assertThat(granted.at()).isEqualTo(Instant.parse(MARCH));
        assertThat(granted.replayed()).isFalse();
        assertThat(granted.late()).isFalse();
        assertThat(granted.hold()).isEmpty();
        assertThat(granted.limits()).extracting(v -> v.balance().limit())
                .containsExactly("messages", "free", "soft");
        assertThat(granted.limits().get(2).overage()).isEqualTo(29);
        assertThat(granted.limits().get(0).balance()).isEqualTo(new Balance("messages",
                "requests", Scope.of("acme"), Limit.Mode.ENFORCE, 100L, 30, 0,
                Instant.parse("2026-03-01T00:00:00Z"), Instant.parse(APRIL)));
        assertThat(granted.limits().get(0).balance().remaining()).hasValue(70);
        assertThat(granted.operation().tenant()).isEqualTo("acme");
        assertThat(world.rows("select operation, amount, verb from pgquota.ledger "
                + "where tenant = 'acme' and entry = 1 and counter in "
                + "(select id from pgquota.counter where per = 'month')"))
                .containsExactly(granted.operation().uuid() + " 30 consume");

        assertThat(denied.limits()).hasSize(3);
        assertThat(denied.refusing()).extracting(v -> v.balance().limit())
                .containsExactly("messages");
        assertThat(denied.retryAfter()).contains(Instant.parse(APRIL));
        assertThat(denied.reason())
                .isEqualTo("requests of acme: 41 asked, 30+30 of 100, 40 left "
                + "until 2026-04-01T00:00:00Z, says messages");
        assertThat(denied.limits().get(1).message()).contains("unlimited unlimited");
        assertThat(denied.limits().get(2).message()).contains("never");
    }

    @Test
    default void everyVerbChargesAllMetersAndLevelsOrNone() {
        table("""
                acme/red/ann consume requests 10 tokens 50 as op  | granted requests 10 tokens 50            | acme requests used 10 held 0, acme/red requests used 10 held 0, acme/red/ann used 10 held 0, acme tokens used 50 held 0, acme/red tokens used 50 held 0
                acme/red/ann consume requests 11 tokens 10        | denied user retry 2026-03-11T00:00:00Z   | requests used 30 held 0, tokens used 100 held 0
                acme/red/ann consume requests 1 tokens 51         | denied purse retry APRIL                 | requests used 30 held 0, tokens used 100 held 0
                acme/red/ann consume requests 11 tokens 951       | denied user tokens purse retry never     | requests used 30 held 0, tokens used 100 held 0
                acme/red/ann consume requests 1 bytes 1           | UnknownMeter bytes                       | requests used 30 held 0, tokens used 100 held 0
                acme/red/ann consumeUpTo requests 15 tokens 60    | granted requests 10 tokens 50            | acme requests used 20 held 0, acme/red requests used 20 held 0, acme/red/ann used 20 held 0, tokens used 200 held 0
                acme/red/ann consumeUpTo requests 1 tokens 1      | granted requests 0 tokens 0              | requests used 60 held 0, tokens used 200 held 0
                acme/red/ann consumeUpTo requests 1 bytes 1       | UnknownMeter bytes                       | requests used 60 held 0
                acme/red/ann record requests 5 tokens 7 as fact   | granted requests 5 tokens 7 over 7       | acme requests used 25 held 0, acme/red requests used 25 held 0, acme/red/ann used 25 held 0, tokens used 214 held 0
                acme/red/ann record requests 1 bytes 1            | UnknownMeter bytes                       | requests used 75 held 0
                acme/red/bob reserve requests 20 tokens 0 as h    | granted requests 20 tokens 0             | acme requests used 25 held 20, acme/red requests used 25 held 20, acme/red/bob requests used 0 held 20, tokens used 214 held 0
                acme/red/bob reserve requests 6 tokens 1          | denied team user purse retry APRIL       | requests used 75 held 60, tokens used 214 held 0
                acme/red/bob reserve requests 1 bytes 1           | UnknownMeter bytes                       | requests used 75 held 60
                extend h requests 1                               | denied user retry never                  | requests used 75 held 60
                extend h tokens 1                                 | denied purse retry never                 | tokens used 214 held 0
                extend h bytes 1                                  | Invalid meter                            | requests used 75 held 60
                settle h requests 1 bytes 1                       | Invalid meter                            | requests used 75 held 60
                settle h requests 15 tokens 3                     | granted requests 15 tokens 3 over 3 hold settled | acme requests used 40 held 0, acme/red requests used 40 held 0, acme/red/bob requests used 15 held 0, tokens used 220 held 0
                acme/red/eve reserve requests 8 tokens 0 as h2    | granted requests 8 tokens 0              | acme requests used 40 held 8, acme/red/eve requests used 0 held 8
                extend h2 requests 2                              | granted requests 2 tokens 0              | acme requests used 40 held 10, acme/red/eve requests used 0 held 10
                acme/red/bob check requests 1 tokens 0            | denied team retry 2026-03-16T00:00:00Z   | requests used 120 held 30
                release h2                                        | granted requests 0 tokens 0 hold released| requests used 120 held 0
                acme/red/bob check requests 5 tokens 0            | granted requests 5 tokens 0              | requests used 120 held 0
                acme/red/bob check requests 11 tokens 0           | denied team user retry 2026-03-16T00:00:00Z | requests used 120 held 0
                acme/red/bob check requests 1 bytes 1             | UnknownMeter bytes                       | requests used 120 held 0
                refund op requests 4 tokens 50                    | granted requests 4 tokens 50             | acme requests used 36 held 0, acme/red requests used 36 held 0, acme/red/ann used 21 held 0, tokens used 120 held 0
                refund op requests 1 tokens 1                     | RefundTooLarge tokens 1 of 0             | requests used 108 held 0
                refund op requests 7                              | RefundTooLarge requests 7 of 6           | requests used 108 held 0
                refund fact                                       | granted requests 5 tokens 7              | acme requests used 31 held 0, acme/red requests used 31 held 0, acme/red/ann used 16 held 0, tokens used 106 held 0
                """,
                Limit.named("org").on("requests").capacity(100),
                Limit.named("team").on("requests").level(1).capacity(50).per(Window.week()),
                Limit.named("user").on("requests").level(2).capacity(20).per(Window.day()),
                TOKENS,
                Limit.named("purse").on("tokens").level(1).capacity(100));
    }

    @Test
    default void aMeterThatIsLimitedDeeperOnlyNeedsALongerScope() {
        table("""
                acme       consume requests 1 steps 1     | UnknownMeter steps           | used 0 held 0
                acme/red   consumeUpTo requests 1 steps 1 | UnknownMeter steps           | used 0 held 0
                acme/red   record requests 1 steps 1      | UnknownMeter steps           | used 0 held 0
                acme/red   reserve requests 1 steps 1     | UnknownMeter steps           | used 0 held 0
                acme/red   check requests 1 steps 1       | UnknownMeter steps           | used 0 held 0
                acme/red/a consume requests 1 steps 1     | granted requests 1 steps 1   | requests used 1 held 0, acme/red/a steps used 1 held 0
                acme/red/a/b/c consume requests 1 steps 8 | granted requests 1 steps 8   | requests used 2 held 0, acme/red/a steps used 9 held 0
                acme/red/a/x consume steps 1              | denied deep retry never      | steps used 9 held 0
                """, MESSAGES,
                Limit.named("deep").on("steps").level(2).capacity(9).per(Window.lifetime()));
    }

    @Test
    default void nothingIsAskedAndNothingIsWritten() {
        World world = world(MESSAGES).clock(MARCH);
        lines(world, """
                consume requests 0 key c       | granted 0              | used 0 held 0
                consume requests 0 key c       | granted 0 replayed     | used 0 held 0
                consumeUpTo requests 0         | granted 0              | used 0 held 0
                record requests 0              | granted 0              | used 0 held 0
                check requests 0               | granted 0              | used 0 held 0
                reserve requests 0 as h        | granted 0              | used 0 held 0
                extend h                       | granted 0              | used 0 held 0
                settle h requests 0            | granted 0 hold settled | used 0 held 0
                consume requests 100 as op     | granted 100            | used 100 held 0
                refund op requests 0           | granted 0              | used 100 held 0
                record requests 5              | granted 5 over 5       | used 105 held 0
                consume requests 0             | granted 0              | used 105 held 0
                consumeUpTo requests 0         | granted 0              | used 105 held 0
                reserve requests 0             | granted 0              | used 105 held 0
                check requests 0               | granted 0              | used 105 held 0
                """);
        assertThat(world.rows("select amount from pgquota.ledger where tenant = 'acme' "
                + "order by entry")).containsExactly("100", "5");
    }

    @Test
    default void amountsMayBeVeryLarge() {
        table("""
                consumeUpTo requests 4_611_686_018_427_387_904 as op  | granted 4611686018427387904 | used 4611686018427387904 held 0
                check requests 1                                      | denied all retry never      | used 4611686018427387904 held 0
                check requests 4_611_686_018_427_387_904              | denied all retry never      | used 4611686018427387904 held 0
                consumeUpTo requests 4_611_686_018_427_387_904        | granted 0                   | used 4611686018427387904 held 0
                refund op requests 4_611_686_018_427_387_904          | granted 4611686018427387904 | used 0 held 0
                reserve requests 4_611_686_018_427_387_904 as h       | granted 4611686018427387904 | used 0 held 4611686018427387904
                extend h requests 4_611_686_018_427_387_904           | denied all retry never      | used 0 held 4611686018427387904
                settle h requests 4_611_686_018_427_387_904           | granted 4611686018427387904 hold settled | used 4611686018427387904 held 0
                record requests 4_611_686_018_427_387_903             | granted 4611686018427387903 over 4611686018427387903 | used 9223372036854775807 held 0
                record requests 1                                     | Invalid amount              | used 9223372036854775807 held 0
                """, Limit.named("all").on("requests").capacity(1L << 62)
                .per(Window.lifetime()));
    }

    /** Told in the plan's order, with how each stood; nothing comes of it. */
    @Test
    default void aDenialTellsOfEveryLimitAndWritesNothing() {
        World world = world(MESSAGES,
                Limit.named("team").on("requests").level(1).capacity(20).per(Window.day()),
                Limit.named("soft").on("requests").level(1).capacity(5).per(Window.week())
                        .mode(Limit.Mode.OBSERVE),
                TOKENS).clock(MARCH);
        quotas().consume(Request.of("acme/a").take("requests", 15)).orThrow();
        quotas().reserve(Request.of("acme/a").take("requests", 4), MINUTE).orThrow();
        List<String> before = world.written();
        Request call = Request.of("acme/a").take("tokens", 7).take("requests", 2).key("k");
        Map<String, Decision> answers = Map.of("consume", quotas().consume(call),
                "check", quotas().check(call), "reserve", quotas().reserve(call, MINUTE),
                "consumeAll", quotas().consumeAll(List.of(call)).get(0));
        answers.forEach((verb, decision) -> {
            Denied denied = (Denied) decision;
            assertThat(denied.scope()).as(verb).isEqualTo(Scope.of("acme/a"));
            assertThat(denied.asked()).as(verb).isEqualTo(Map.of("requests", 2L, "tokens", 7L));
            assertThat(denied.at()).as(verb).isEqualTo(Instant.parse(MARCH));
            assertThat(denied.retryAfter()).as(verb)
                    .contains(Instant.parse("2026-03-11T00:00:00Z"));
            assertThat(denied.limits()).as(verb).extracting(v -> v.balance().limit() + " "
                    + v.fits() + " " + v.balance().used() + " " + v.balance().held() + " "
                    + v.overage() + " " + v.crossed()).containsExactly(
                    "messages true 15 4 0 []", "team false 15 4 0 []", "soft false 15 4 0 []",
                    "tokens true 0 0 0 []");
            assertThat(denied.refusing()).as(verb).extracting(v -> v.balance().limit())
                    .containsExactly("team");
            assertThat(assertThrows(QuotaException.Exceeded.class, denied::orThrow).denied())
                    .as(verb).isEqualTo(denied);
        });
        assertThat(world.written()).isEqualTo(before);
    }

    @Test
    default void aCheckOfAnythingChangesNothing() {
        World world = world(MESSAGES.alertAt(1),
                Limit.named("team").on("requests").level(1).capacity(20), TOKENS);
        quotas().consume(Request.of("acme/a").take("requests", 10).key("k")).orThrow();
        List<String> before = world.written();
        Request fresh = Request.of("acme/new/scope").take("requests", 5).take("tokens", 1);
        assertThat(quotas().check(fresh).isGranted()).isTrue();
        assertThat(quotas().check(fresh.key("new")).isGranted()).isTrue();
        assertThat(quotas().check(fresh.key("new")).isGranted()).isTrue();
        assertThat(quotas().check(Request.of("acme/a").take("requests", 11)).isGranted())
                .isFalse();
        assertThat(quotas().check(Request.of("acme/a").take("requests", 10).key("k")).orThrow()
                .replayed()).isTrue();
        assertThrows(QuotaException.KeyConflict.class,
                () -> quotas().check(Request.of("acme/a").take("requests", 11).key("k")));
        assertThrows(QuotaException.UnknownMeter.class,
                () -> quotas().check(Request.of("acme").take("bytes", 1)));
        assertThat(world.written()).isEqualTo(before);
    }
}
