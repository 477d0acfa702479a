package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Every verb of the contract, as tables. */
class VerbsTest {

    private static final Limit MESSAGES =
            Limit.named("messages").on("requests").capacity(100).per(Window.month());
    private static final String MARCH = "clock 2026-03-10T12:00:00Z | |\n";
    private static final String APRIL = "2026-04-01T00:00:00Z";

    private static void table(String lines, Limit... limits) {
        try (World world = World.with(limits)) {
            Table.run(world, MARCH + lines.replace("APRIL", APRIL));
        }
    }

    @Test
    void consumeTakesAllOrNothing() {
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
    void aNewWindowBeginsAtZeroAndTheOldOneStays() {
        table("""
                consume requests 100                | granted 100                 | used 100 held 0
                clock 2026-03-31T23:59:59.999999Z   |                             |
                consume requests 1                  | denied messages retry APRIL | used 100 held 0
                clock 2026-04-01T00:00:00Z          |                             |
                consume requests 1                  | granted 1                   | window 1 used 100 held 0, window 2 used 1 held 0
                """, MESSAGES);
    }

    @Test
    void consumeUpToTakesWhatIsFree() {
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
    void consumeUpToTakesOfEachMeterTheLeastThatItsLimitsLeave() {
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
    void recordTakesWhatHappened() {
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
    void aHoldIsSettledWithLessAsMuchMoreOrNothing() {
        table("""
                reserve requests 40 as h1 | granted 40                     | used 0 held 40
                reserve requests 61       | denied messages retry APRIL    | used 0 held 40
                consume requests 61       | denied messages retry APRIL    | used 0 held 40
                settle h1 requests 10     | granted 10 hold settled        | used 10 held 0
                reserve requests 40 as h2 | granted 40                     | used 10 held 40
                settle h2                 | granted 40 hold settled        | used 50 held 0
                reserve requests 40 as h3 | granted 40                     | used 50 held 40
                settle h3 requests 60     | granted 60 over 10 hold settled| used 110 held 0
                reserve requests 0 as h4  | granted 0                      | used 110 held 0
                settle h4 requests 0      | granted 0 hold settled         | used 110 held 0
                reserve requests 1        | denied messages retry APRIL    | used 110 held 0
                """, MESSAGES);
    }

    @Test
    void aSettlementNamesSomeMetersAndTheOthersAreChargedAsHeld() {
        table("""
                reserve requests 1 tokens 50 as h | granted requests 1 tokens 50              | requests used 0 held 1, tokens used 0 held 50
                settle h bytes 1                  | Invalid meter                             | requests used 0 held 1, tokens used 0 held 50
                settle h tokens 20                | granted requests 1 tokens 20 hold settled | requests used 1 held 0, tokens used 20 held 0
                settle h tokens 33                | granted requests 1 tokens 20 hold settled replayed | requests used 1 held 0, tokens used 20 held 0
                release h                         | granted requests 1 tokens 20 hold settled replayed | tokens used 20 held 0
                extend h ttl PT9M                 | HoldEnded settled                         | tokens used 20 held 0
                """, MESSAGES, Limit.named("tokens").capacity(100),
                Limit.named("bytes").capacity(9));
    }

    @Test
    void aReleasedHoldChargesNothing() {
        table("""
                reserve requests 40 as h | granted 40                          | used 0 held 40
                release h                | granted 0 hold released             | used 0 held 0
                release h                | granted 0 hold released replayed    | used 0 held 0
                settle h requests 5      | granted 0 hold released replayed    | used 0 held 0
                extend h                 | HoldEnded released                  | used 0 held 0
                consume requests 100     | granted 100                         | used 100 held 0
                """, MESSAGES);
    }

    @Test
    void aHoldIsExtendedInTimeAndUnits() {
        table("""
                reserve requests 40 ttl PT1M as h | granted 40                  | used 0 held 40
                extend h ttl PT2M                 | granted 0                   | used 0 held 40
                clock +PT1M30S                    |                             |
                extend h requests 60 ttl PT1M     | granted 60                  | used 0 held 100
                extend h requests 1 ttl PT1M      | denied messages retry never | used 0 held 100
                extend h tokens 1 ttl PT1M        | Invalid meter               | used 0 held 100
                clock +PT59S                      |                             |
                consume requests 1                | denied messages retry APRIL | used 0 held 100
                settle h                          | granted 100 hold settled    | used 100 held 0
                """, MESSAGES, Limit.named("tokens").capacity(100));
    }

    @Test
    void aRefundGivesBackInTheWindowThatWasCharged() {
        table("""
                consume requests 60 as op  | granted 60                    | used 60 held 0
                refund op requests 20      | granted 20                    | used 40 held 0
                refund op requests 41      | RefundTooLarge requests 41 of 40 | used 40 held 0
                refund op requests 0       | granted 0                     | used 40 held 0
                refund op                  | granted 40                    | used 0 held 0
                refund op                  | granted 0                     | used 0 held 0
                """, MESSAGES);
    }

    @Test
    void checkChangesNothing() {
        table("""
                check requests 100                    | granted 100                 | used 0 held 0
                consume requests 60                   | granted 60                  | used 60 held 0
                check requests 41                     | denied messages retry APRIL | used 60 held 0
                check requests 40 key k               | granted 40                  | used 60 held 0
                check requests 101                    | denied messages retry never | used 60 held 0
                consume requests 40 key k             | granted 40                  | used 100 held 0
                """, MESSAGES);
        try (World world = World.with(MESSAGES)) {
            List<String> before = world.written();
            Request call = Request.of("acme/a").take("requests", 1);
            assertThat(world.quotas().check(call).orThrow().operationOrNull()).isNull();
            assertThat(world.written()).isEqualTo(before);
        }
    }

    @Test
    void overageIsDeniedAllowedOrAllowedUpToSoMuch() {
        table("""
                consume requests 90  | granted 90         | used 90 held 0
                consume requests 20  | granted 20 over 10 | used 110 held 0
                consume requests 500 | granted 500 over 500 | used 610 held 0
                """, MESSAGES.allowOverage());
        table("""
                consume requests 90  | granted 90         | used 90 held 0
                consume requests 31  | denied messages retry APRIL | used 90 held 0
                consume requests 121 | denied messages retry never | used 90 held 0
                reserve requests 30 as h | granted 30 over 20 | used 90 held 30
                consume requests 1   | denied messages retry APRIL | used 90 held 30
                consumeUpTo requests 1 | granted 0        | used 90 held 30
                settle h requests 40 | granted 40 over 10 hold settled | used 130 held 0
                """, MESSAGES.allowOverage(20));
    }

    @Test
    void aModeEnforcesObservesOrIsOff() {
        table("""
                consume requests 90  | granted 90           | used 90 held 0
                consume requests 90  | granted 90 over 80   | used 180 held 0
                consumeUpTo requests 5 | granted 5 over 5   | used 185 held 0
                """, MESSAGES.mode(Limit.Mode.OBSERVE));
        table("""
                consume requests 900 | granted 900 | used 0 held 0
                """, MESSAGES.mode(Limit.Mode.OFF));
        table("""
                consume requests 90  | granted 90                | used 90 held 0
                consume requests 20  | denied hard retry APRIL   | used 90 held 0
                consume requests 5   | granted 5 over 5          | used 95 held 0
                """,
                MESSAGES.mode(Limit.Mode.OFF),
                Limit.named("soft").on("requests").capacity(90).mode(Limit.Mode.OBSERVE),
                Limit.named("hard").on("requests").capacity(100));
    }

    @Test
    void unlimitedCountsAndZeroBlocks() {
        table("""
                consume requests 4_611_686_018_427_387_904 | granted 4611686018427387904 | used 4611686018427387904 held 0
                record requests 4_611_686_018_427_387_903  | granted 4611686018427387903 | used 9223372036854775807 held 0
                consume requests 1                         | Invalid amount              | used 9223372036854775807 held 0
                record requests 1                          | Invalid amount              | used 9223372036854775807 held 0
                check requests 1                           | Invalid amount              | used 9223372036854775807 held 0
                """, Limit.named("all").on("requests").unlimited());
        table("""
                consume requests 0     | granted 0                | used 0 held 0
                consume requests 1     | denied none retry never  | used 0 held 0
                reserve requests 1     | denied none retry never  | used 0 held 0
                consumeUpTo requests 1 | granted 0                | used 0 held 0
                record requests 1      | granted 1 over 1         | used 1 held 0
                """, Limit.named("none").on("requests").capacity(0));
    }

    @Test
    void twoLimitsOnOneCounterChargeItOnce() {
        table("""
                consume requests 10      | granted 10             | used 10 held 0
                consume requests 41      | denied low retry APRIL | used 10 held 0
                consume requests 51      | denied low retry never | used 10 held 0
                consume requests 101     | denied low high retry never | used 10 held 0
                reserve requests 40 as h | granted 40             | used 10 held 40
                settle h                 | granted 40 hold settled | used 50 held 0
                consumeUpTo requests 9   | granted 0              | used 50 held 0
                """,
                Limit.named("low").on("requests").capacity(50),
                Limit.named("high").on("requests").capacity(100));
    }

    @Test
    void aHierarchyIsChargedAtEveryLevelOrNowhere() {
        String after = "acme used 30 held 0, acme/red used 30 held 0, ";
        table("""
                acme/red/ann consume requests 20 | granted 20           | acme used 20 held 0, acme/red used 20 held 0, acme/red/ann used 20 held 0
                acme/red/bob consume requests 10 | granted 10           | AFTER acme/red/bob used 10 held 0
                acme/red/bob consume requests 11 | denied user retry 2026-03-11T00:00:00Z | AFTER acme/red/bob used 10 held 0
                acme/red/bob consume requests 31 | denied team user retry never | AFTER acme/red/bob used 10 held 0
                acme/red/eve consume requests 20 | granted 20           | acme used 50 held 0, acme/red used 50 held 0, acme/red/eve used 20 held 0
                acme/red/eve consume requests 1  | denied team user retry 2026-03-16T00:00:00Z | acme used 50 held 0, acme/red used 50 held 0
                acme/red     consume requests 1  | denied team retry 2026-03-16T00:00:00Z | acme used 50 held 0
                acme         consume requests 50 | granted 50           | acme used 100 held 0, acme/red used 50 held 0
                acme/blue/al consume requests 1  | denied org retry APRIL | acme used 100 held 0, acme/blue used 0 held 0
                acme/red/ann consume requests 1  | denied org team user retry APRIL | acme used 100 held 0
                """.replace("AFTER", after),
                Limit.named("org").on("requests").capacity(100),
                Limit.named("team").on("requests").level(1).capacity(50).per(Window.week()),
                Limit.named("user").on("requests").level(2).capacity(20).per(Window.day()));
    }

    @Test
    void waitingHelpsWhenTheLatestOfTheWindowsEnds() {
        table("""
                consume requests 10 tokens 10 | granted requests 10 tokens 10 | requests used 20 held 0, tokens used 10 held 0
                consume requests 1            | denied day quarter retry APRIL | requests used 20 held 0
                consume requests 1 tokens 1   | denied day quarter ever retry never | requests used 20 held 0, tokens used 10 held 0
                consume tokens 1              | denied ever retry never | tokens used 10 held 0
                """,
                Limit.named("day").on("requests").capacity(10).per(Window.day()),
                Limit.named("quarter").on("requests").capacity(10).per(Window.quarter()),
                Limit.named("ever").on("tokens").capacity(10).per(Window.lifetime()));
    }

    @Test
    void fixedAndAlignedWindowsCountTheirOwnWay() {
        table("""
                consume requests 10 | granted 10                              | used 20 held 0
                clock +PT30M        |                                         |
                consume requests 1  | denied fixed retry 2026-03-10T13:00:00Z | used 20 held 0
                clock +PT30M        |                                         |
                consume requests 6  | granted 6                               | used 32 held 0
                consume requests 5  | denied fixed retry 2026-03-10T14:00:00Z | used 32 held 0
                """,
                Limit.named("fixed").on("requests").capacity(10)
                        .per(Window.fixed(java.time.Duration.ofHours(1))),
                Limit.named("aligned").on("requests").capacity(100)
                        .per(Window.aligned(java.time.Duration.ofMinutes(45))));
    }

    @Test
    void thresholdsAreCrossedOnce() {
        table("""
                consume requests 49 | granted 49                   | used 49 held 0
                consume requests 1  | granted 1 crossed 50         | used 50 held 0
                consume requests 1  | granted 1                    | used 51 held 0
                reserve requests 40 as h | granted 40              | used 51 held 40
                settle h            | granted 40 crossed 80 hold settled | used 91 held 0
                record requests 20  | granted 20 over 11 crossed 100,110 | used 111 held 0
                clock 2026-04-02T00:00:00Z | |
                consume requests 80 | granted 80 crossed 50,80     | window 2 used 80 held 0
                """, MESSAGES.alertAt(50, 80, 100, 110));
    }

    @Test
    void thresholdsAreCrossedOnceByManyCallers() throws Exception {
        try (World world = World.create(32)) {
            world.plan("P", MESSAGES.capacity(640).alertAt(1, 25, 50, 75, 100))
                    .tenant("acme", "P");
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

    @Test
    void aDecisionCarriesWhatAWebResponseNeeds() {
        try (World world = World.with(
                MESSAGES.message("{meter} of {scope}: {asked} asked, {used}+{held} of {capacity}, "
                        + "{remaining} left until {resets_at}, says {limit}"),
                Limit.named("free").on("requests").unlimited().message("{capacity} {remaining}"),
                Limit.named("soft").on("requests").capacity(1).per(Window.lifetime())
                        .mode(Limit.Mode.OBSERVE).message("{resets_at}"))) {
            world.clock("2026-03-10T12:00:00Z");
            Request call = Request.of("acme/a").take("requests", 30);
            Granted granted = world.quotas().consume(call).orThrow();
            world.quotas().reserve(call, java.time.Duration.ofMinutes(1)).orThrow();
            Denied denied =
                    (Denied) world.quotas().consume(Request.of("acme/a").take("requests", 41));

            assertThat(granted.scope()).isEqualTo(Scope.of("acme/a"));
            assertThat(granted.asked()).isEqualTo(Map.of("requests", 30L));
            assertThat(granted.granted()).isEqualTo(Map.of("requests", 30L));
            assertThat(granted.at()).isEqualTo(Instant.parse("2026-03-10T12:00:00Z"));
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
                    + "where entry = 1 and counter in (select id from pgquota.counter "
                    + "where per = 'month')"))
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
            world.proof();
        }
    }

    @Test
    void aListIsDecidedOneByOneInItsOrder() {
        try (World world = World.with(MESSAGES, Limit.named("tokens").capacity(10))) {
            Request r60 = Request.of("acme/a").take("requests", 60);
            Request t5 = Request.of("acme/b").take("tokens", 5);
            List<Decision> decisions = world.quotas().consumeAll(List.of(r60, r60, t5,
                    Request.of("acme").take("requests", 40), t5, t5));
            assertThat(decisions).extracting(Decision::isGranted)
                    .containsExactly(true, false, true, true, true, false);
            assertThat(world.rows("select meter, used from pgquota.counter order by meter"))
                    .containsExactly("requests 100", "tokens 10");
            assertThat(world.quotas().consumeAll(List.of())).isEmpty();
            world.proof();
        }
    }

    @Test
    void anErrorInAListLeavesTheOthersDecided() {
        try (World world = World.with(MESSAGES)) {
            Request good = Request.of("acme").take("requests", 60);
            Request bad = Request.of("acme").take("bytes", 1);
            QuotaException.Partial partial = org.junit.jupiter.api.Assertions.assertThrows(
                    QuotaException.Partial.class,
                    () -> world.quotas().consumeAll(List.of(good, bad, good)));
            assertThat(partial).hasCauseInstanceOf(QuotaException.UnknownMeter.class)
                    .hasMessageStartingWith("the request at index 1 of the list failed: meter");
            assertThat(partial.outcomes()).satisfiesExactly(
                    o -> assertThat(o).isInstanceOf(Granted.class),
                    o -> assertThat(o).isInstanceOf(QuotaException.UnknownMeter.class),
                    o -> assertThat(o).isInstanceOf(Denied.class));
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("60");
        }
    }

    @Test
    void balancesListEveryLimitThatApplies() {
        try (World world = World.with(MESSAGES,
                Limit.named("user").on("requests").level(1).capacity(20).per(Window.day()),
                Limit.named("deep").on("requests").level(2).capacity(5),
                Limit.named("all").on("tokens").unlimited().per(Window.lifetime()))) {
            world.clock("2026-03-10T12:00:00Z");
            world.quotas().consume(Request.of("acme/a").take("requests", 7));
            world.quotas().reserve(Request.of("acme/a").take("requests", 2),
                    java.time.Duration.ofMinutes(1));
            assertThat(world.quotas().balances(Scope.of("acme/a"))).containsExactly(
                    new Balance("messages", "requests", Scope.of("acme"), Limit.Mode.ENFORCE, 100L,
                            7, 2, Instant.parse("2026-03-01T00:00:00Z"), Instant.parse(APRIL)),
                    new Balance("user", "requests", Scope.of("acme/a"), Limit.Mode.ENFORCE, 20L,
                            7, 2, Instant.parse("2026-03-10T00:00:00Z"),
                            Instant.parse("2026-03-11T00:00:00Z")),
                    new Balance("all", "tokens", Scope.of("acme"), Limit.Mode.ENFORCE, null,
                            0, 0, null, null));
        }
    }
}
