package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;

/** A hold is taken, extended, and ends exactly once. */
interface HoldContract extends Contract {

    private static List<String> holds(World world) {
        return world.rows("select state from pgquota.hold where tenant = 'acme'");
    }

    @Test
    default void aHoldIsSettledWithLessAsMuchMoreOrNothing() {
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
    default void aSettlementNamesSomeMetersAndTheOthersAreChargedAsHeld() {
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
    default void aReleasedHoldChargesNothing() {
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
    default void aHoldIsExtendedInTimeAndUnits() {
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
    default void anExpiredHoldStopsCountingWithoutAnyJob() {
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
        World world = world(MESSAGES);
        world.clock(MARCH);
        quotas().reserve(Request.of("acme").take("requests", 60), MINUTE);
        world.later(MINUTE);
        assertThat(quotas().balances(Scope.of("acme")).get(0).held()).isZero();
        assertThat(holds(world)).containsExactly("open");
    }

    /** The one that was taken first expires first; the other one when nobody has asked since. */
    @Test
    default void onlyWhatHasExpiredIsGivenBack() {
        World world = world(Limit.named("messages").on("requests").capacity(10)).clock(MARCH);
        Request three = Request.of("acme").take("requests", 3);
        quotas().reserve(Request.of("acme").take("requests", 4), MINUTE).orThrow();
        quotas().reserve(three, MINUTE.multipliedBy(60)).orThrow();
        world.later(MINUTE);
        quotas().consume(Request.of("acme").take("requests", 7)).orThrow();
        assertThat(counters(world, "used, held")).containsExactly("7 3");
        assertThat(quotas().consume(three).isGranted()).isFalse();
        world.later(MINUTE.multipliedBy(60));
        quotas().consume(three).orThrow();
        assertThat(counters(world, "used, held")).containsExactly("10 0");
        world.proof();
    }

    @Test
    default void aHoldThatNothingCountsExpiresToo() {
        World world = world(Limit.named("off").on("requests").capacity(10).mode(Limit.Mode.OFF))
                .clock(MARCH);
        OperationId hold = quotas().reserve(Request.of("acme").take("requests", 4), MINUTE)
                .orThrow().operation();
        world.later(MINUTE);
        assertThatThrownBy(() -> quotas().extend(hold, Map.of(), MINUTE, null))
                .isInstanceOfSatisfying(QuotaException.HoldEnded.class,
                        e -> assertThat(e.state()).isEqualTo(Hold.State.EXPIRED));
    }

    @Test
    default void aLateSettlementIsChargedAndSaysSo() {
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
    default void aHoldIsChargedToTheWindowItWasTakenIn() {
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
    default void aHoldSurvivesTheLimitsItWasTakenUnder() {
        World world = world(MESSAGES);
        Reservation hold = quotas().hold(Request.of("acme").take("requests", 60), MINUTE);
        world.plan("P", Limit.named("other").on("tokens").capacity(1));
        assertThat(hold.settle(Map.of("requests", 70L)).granted()).containsEntry("requests", 70L);
        assertThat(counters(world, "used, held")).containsExactly("70 0");
    }

    @Test
    default void closingAReservationReleasesWhatWasNotSettled() {
        World world = world(MESSAGES);
        Request call = Request.of("acme").take("requests", 60);
        try (Reservation hold = quotas().hold(call, MINUTE)) {
            assertThat(hold.expiresAt()).isAfter(hold.granted().at());
            assertThat(counters(world, "used, held")).containsExactly("0 60");
        }
        assertThat(holds(world)).containsExactly("released");
        try (Reservation hold = quotas().hold(call, MINUTE)) {
            hold.settle();
        }
        assertThat(counters(world, "used, held")).containsExactly("60 0");
        assertThatThrownBy(() -> quotas().hold(call, MINUTE))
                .isInstanceOfSatisfying(QuotaException.Exceeded.class, e ->
                        assertThat(e.denied().refusing()).hasSize(1));
    }

    @Test
    default void anyProcessSettlesByTheIdsText() {
        World world = world(MESSAGES);
        try (Quotas other = Quotas.on(world.database().dataSource()).build()) {
            String id = quotas().hold(Request.of("acme/a").take("requests", 60), MINUTE)
                    .id().toString();
            other.settle(OperationId.parse(id), Map.of("requests", 10L));
            assertThat(counters(world, "used, held")).containsExactly("10 0");
            OperationId stranger = new OperationId("other", OperationId.parse(id).uuid());
            assertThatThrownBy(() -> other.release(stranger))
                    .isInstanceOf(QuotaException.NotFound.class);
        }
    }

    @Test
    default void aHoldIsNoLongerThanTheLongestAllowed() {
        World world = world(MESSAGES);
        world.clock(MARCH);
        Reservation hold = quotas().hold(
                Request.of("acme").take("requests", 1), Duration.ofDays(9999));
        assertThat(hold.expiresAt()).isEqualTo("2026-03-11T12:00:00Z");
        world.later(Duration.ofHours(23));
        Granted more = hold.extend(Duration.ofDays(2)).orThrow();
        assertThat(more.hold().orElseThrow().expiresAt()).isEqualTo("2026-03-11T12:00:00Z");
        world.later(Duration.ofMinutes(-30));
        Granted less = hold.extend(Duration.ofSeconds(1)).orThrow();
        assertThat(less.hold().orElseThrow().expiresAt()).isEqualTo("2026-03-11T12:00:00Z");
    }

    @Test
    default void aHoldThatIsMissingIsNotFound() {
        World world = world(MESSAGES);
        OperationId none = OperationId.parse("acme/019c8f2e-1234-7abc-8def-0123456789ab");
        for (Consumer<Operations> call : List.<Consumer<Operations>>of(
                q -> q.settle(none, Map.of()),
                q -> q.release(none),
                q -> q.extend(none, Map.of(), MINUTE, "k"))) {
            QuotaException.NotFound e = assertThrows(
                    QuotaException.NotFound.class, () -> call.accept(quotas()));
            assertThat(e.what() + " " + e.id()).isEqualTo("hold " + none);
        }
        assertThat(world.rows("select * from pgquota.operation_key where tenant = 'acme'"))
                .isEmpty();
    }

    @Test
    default void aHoldOverLevelsAndMetersGrowsAndEndsInAllOfThem() {
        table("""
                acme/red reserve requests 10 tokens 100 ttl PT1M as h | granted requests 10 tokens 100 | acme requests used 0 held 10, acme/red requests used 0 held 10, tokens used 0 held 100
                extend h requests 5 tokens 50 ttl PT2M   | granted requests 5 tokens 50            | acme requests used 0 held 15, acme/red requests used 0 held 15, tokens used 0 held 150
                extend h tokens 900 ttl PT3M             | denied tokens retry never               | tokens used 0 held 150
                extend h requests 16 tokens 900 ttl PT3M | denied team tokens retry never          | requests used 0 held 30, tokens used 0 held 150
                clock +PT1M59S                           |                                         |
                acme/red check requests 16               | denied team retry 2026-03-11T00:00:00Z  | requests used 0 held 30
                settle h tokens 120                      | granted requests 15 tokens 120 hold settled | acme requests used 15 held 0, acme/red requests used 15 held 0, tokens used 120 held 0
                settle h tokens 1                        | granted requests 15 tokens 120 hold settled replayed | requests used 30 held 0, tokens used 120 held 0
                release h                                | granted requests 15 tokens 120 hold settled replayed | requests used 30 held 0, tokens used 120 held 0
                extend h requests 1                      | HoldEnded settled                       | requests used 30 held 0
                """, MESSAGES,
                Limit.named("team").on("requests").level(1).capacity(30).per(Window.day()),
                TOKENS);
    }

    @Test
    default void aHoldOverLevelsThatRanOutIsGivenBackInAllOfThem() {
        table("""
                acme/red reserve requests 10 ttl PT1M as h   | granted 10                              | acme used 0 held 10, acme/red used 0 held 10
                acme/red reserve requests 20 ttl PT9M as h2  | granted 20                              | acme used 0 held 30, acme/red used 0 held 30
                acme/red consume requests 1                  | denied team retry 2026-03-11T00:00:00Z  | acme used 0 held 30, acme/red used 0 held 30
                clock +PT1M                                  |                                         |
                acme/red consumeUpTo requests 11             | granted 10                              | acme used 10 held 20, acme/red used 10 held 20
                settle h2 requests 20                        | granted 20 hold settled                 | acme used 30 held 0, acme/red used 30 held 0
                settle h requests 4                          | granted 4 over 4 hold settled late      | acme used 34 held 0, acme/red used 34 held 0
                release h                                    | granted 4 over 4 hold settled late replayed | acme used 34 held 0, acme/red used 34 held 0
                """, MESSAGES,
                Limit.named("team").on("requests").level(1).capacity(30).per(Window.day()));
    }

    @Test
    default void settlingNothingIsNotReleasing() {
        table("""
                reserve requests 10 as h1 | granted 10                       | used 0 held 10
                settle h1 requests 0      | granted 0 hold settled           | used 0 held 0
                release h1                | granted 0 hold settled replayed  | used 0 held 0
                extend h1                 | HoldEnded settled                | used 0 held 0
                reserve requests 10 as h2 | granted 10                       | used 0 held 10
                release h2                | granted 0 hold released          | used 0 held 0
                settle h2                 | granted 0 hold released replayed | used 0 held 0
                """, MESSAGES);
    }

    @Test
    default void aDecisionTellsOfItsHold() {
        World world = world(MESSAGES).clock(MARCH);
        Instant expiry = Instant.parse("2026-03-10T12:01:00Z");
        Granted taken = quotas().reserve(CALL.key("k"), MINUTE).orThrow();
        OperationId id = taken.operation();
        assertThat(taken.hold()).contains(new Hold(id, Hold.State.OPEN, expiry));
        assertThat(taken.scope()).isEqualTo(Scope.of("acme/a"));
        world.later(Duration.ofSeconds(30));
        Granted extended = quotas().extend(id, Map.of("requests", 1L), MINUTE, null).orThrow();
        assertThat(extended.hold())
                .contains(new Hold(id, Hold.State.OPEN, expiry.plusSeconds(30)));
        assertThat(extended.scope()).isEqualTo(Scope.of("acme"));
        assertThat(extended.asked()).isEqualTo(Map.of("requests", 1L));
        Granted settled = quotas().settle(id, Map.of("requests", 4L));
        assertThat(settled.hold())
                .contains(new Hold(id, Hold.State.SETTLED, expiry.plusSeconds(30)));
        assertThat(settled.at()).isEqualTo(Instant.parse(MARCH).plusSeconds(30));
        assertThat(settled.operation()).isNotIn(id, extended.operation());
        world.later(MINUTE);
        assertThat(quotas().settle(id, Map.of()).operation()).isEqualTo(settled.operation());
        assertThat(quotas().release(id).at()).isEqualTo(settled.at());
        // the key tells of the hold as it was taken
        assertThat(quotas().reserve(CALL.key("k"), MINUTE).orThrow()).isEqualTo(new Granted(
                taken.scope(), taken.asked(), taken.granted(), taken.limits(), taken.at(), id,
                true, false, taken.hold().orElseThrow()));
        assertThat(world.rows("select id, state, expires_at at time zone 'UTC' from pgquota.hold "
                + "where tenant = 'acme'"))
                .containsExactly(id.uuid() + " settled 2026-03-10 12:01:30");
        assertThat(world.rows("select operation, verb, amount, ref from pgquota.ledger "
                + "where tenant = 'acme'")).containsExactly(
                settled.operation().uuid() + " settle 4 " + id.uuid());
    }
}
