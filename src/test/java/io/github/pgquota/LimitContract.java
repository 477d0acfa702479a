package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.api.Test;

/** What limits say: how much, how strictly, to whom, for how long. */
interface LimitContract extends Contract {

    @Test
    default void overageIsDeniedAllowedOrAllowedUpToSoMuch() {
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
    default void aModeEnforcesObservesOrIsOff() {
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
    default void unlimitedCountsAndZeroBlocks() {
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
    default void twoLimitsOnOneCounterChargeItOnce() {
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
    default void aHierarchyIsChargedAtEveryLevelOrNowhere() {
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
    default void waitingHelpsWhenTheLatestOfTheWindowsEnds() {
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
    default void fixedAndAlignedWindowsCountTheirOwnWay() {
        table("""
                consume requests 10 | granted 10                              | used 20 held 0
                clock +PT30M        |                                         |
                consume requests 1  | denied fixed retry 2026-03-10T13:00:00Z | used 20 held 0
                clock +PT30M        |                                         |
                consume requests 6  | granted 6                               | used 32 held 0
                consume requests 5  | denied fixed retry 2026-03-10T14:00:00Z | used 32 held 0
                """,
                Limit.named("fixed").on("requests").capacity(10)
                        .per(Window.fixed(Duration.ofHours(1))),
                Limit.named("aligned").on("requests").capacity(100)
                        .per(Window.aligned(Duration.ofMinutes(45))));
    }

    @Test
    default void thresholdsAreCrossedOnce() {
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
    default void anAllowedOverageHoldsForEveryVerb() {
        table("""
                reserve requests 100 as h   | granted 100                 | used 0 held 100
                check requests 20           | granted 20                  | used 0 held 100
                check requests 21           | denied messages retry APRIL | used 0 held 100
                extend h requests 15        | granted 15 over 15          | used 0 held 115
                extend h requests 6         | denied messages retry never | used 0 held 115
                consumeUpTo requests 9      | granted 5 over 5            | used 5 held 115
                release h                   | granted 0 hold released     | used 5 held 0
                record requests 130 as fact | granted 130 over 35         | used 135 held 0
                refund fact requests 16     | granted 16                  | used 119 held 0
                consume requests 1          | granted 1 over 1            | used 120 held 0
                """, MESSAGES.allowOverage(20));
    }

    @Test
    default void whatIsOnlyObservedRefusesNoVerb() {
        table("""
                reserve requests 15 as h  | granted 15 over 5               | used 0 held 15
                check requests 20         | granted 20                      | used 0 held 15
                extend h requests 5       | granted 5 over 5                | used 0 held 20
                consume requests 1 as op  | granted 1 over 1                | used 1 held 20
                consumeUpTo requests 30   | granted 30 over 30              | used 31 held 20
                record requests 1         | granted 1 over 1                | used 32 held 20
                settle h requests 25      | granted 25 over 5 hold settled  | used 57 held 0
                reserve requests 1 as h2  | granted 1 over 1                | used 57 held 1
                release h2                | granted 0 hold released         | used 57 held 0
                refund op                 | granted 1                       | used 56 held 0
                consume requests 0        | granted 0                       | used 56 held 0
                """, MESSAGES.capacity(10).mode(Limit.Mode.OBSERVE));
    }

    @Test
    default void whatIsOffCountsNothingByAnyVerb() {
        World world = world(MESSAGES.capacity(0).mode(Limit.Mode.OFF)).clock(MARCH);
        lines(world, """
                consume requests 5 key k  | granted 5              | used 0 held 0
                consume requests 5 key k  | granted 5 replayed     | used 0 held 0
                consumeUpTo requests 5    | granted 5              | used 0 held 0
                record requests 5 as fact | granted 5              | used 0 held 0
                check requests 5          | granted 5              | used 0 held 0
                reserve requests 5 as h   | granted 5              | used 0 held 0
                extend h requests 5       | granted                | used 0 held 0
                settle h requests 5       | granted hold settled   | used 0 held 0
                settle h requests 5       | granted hold settled replayed | used 0 held 0
                reserve requests 5 as h2  | granted 5              | used 0 held 0
                release h2                | granted hold released  | used 0 held 0
                refund fact               | NotFound operation     | used 0 held 0
                consume bytes 1           | UnknownMeter bytes     | used 0 held 0
                """);
        assertThat(counters(world, "*")).isEmpty();
        assertThat(world.rows("select state from pgquota.hold where tenant = 'acme' "
                + "order by state")).containsExactly("released", "settled");
    }

    @Test
    default void whatIsUnlimitedOnlyCounts() {
        table("""
                consumeUpTo requests 4_611_686_018_427_387_904 as op | granted 4611686018427387904 | used 4611686018427387904 held 0
                refund op                     | granted 4611686018427387904  | used 0 held 0
                reserve requests 10 as h      | granted 10                   | used 0 held 10
                extend h requests 90          | granted 90                   | used 0 held 100
                settle h requests 700         | granted 700 hold settled     | used 700 held 0
                check requests 4_611_686_018_427_387_904 | granted 4611686018427387904 | used 700 held 0
                """, Limit.named("all").on("requests").unlimited().alertAt(1));
    }

    @Test
    default void nothingFitsIntoNothing() {
        table("""
                check requests 1           | denied none retry never  | used 0 held 0
                check requests 0           | granted 0                | used 0 held 0
                reserve requests 0 as h    | granted 0                | used 0 held 0
                extend h requests 1        | denied none retry never  | used 0 held 0
                settle h requests 2        | granted 2 over 2 hold settled | used 2 held 0
                record requests 1 as fact  | granted 1 over 1         | used 3 held 0
                refund fact                | granted 1                | used 2 held 0
                consume requests 1         | denied none retry never  | used 2 held 0
                """, Limit.named("none").on("requests").capacity(0).alertAt(50));
    }

    @Test
    default void aThresholdIsToldOnceWhateverVerbReachesIt() {
        World world = world(MESSAGES.alertAt(50, 80, 100, 110),
                Limit.named("team").on("requests").level(1).capacity(200).per(Window.day())
                        .alertAt(20, 30)).clock(MARCH);
        lines(world, """
                acme/a consume requests 60 as op key k | granted 60 crossed 50,20,30    | acme used 60 held 0
                acme/a consume requests 60 key k       | granted 60 crossed 50,20,30 replayed | acme used 60 held 0
                acme/a consume requests 41             | denied messages retry APRIL    | acme used 60 held 0
                acme/a check requests 40               | granted 40                     | acme used 60 held 0
                refund op requests 25                  | granted 25                     | acme used 35 held 0
                acme/b consume requests 45             | granted 45 crossed 80,20       | acme used 80 held 0
                acme/b reserve requests 20 as h        | granted 20                     | acme used 80 held 20
                settle h                               | granted 20 crossed 100,30 hold settled | acme used 100 held 0
                refund op requests 30                  | granted 30                     | acme used 70 held 0
                acme/b consumeUpTo requests 60         | granted 30                     | acme used 100 held 0
                acme/b record requests 10              | granted 10 over 10 crossed 110 | acme used 110 held 0
                """);
        assertThat(world.rows("select limit_name, percent, used from pgquota.alert "
                + "where tenant = 'acme' order by limit_name, percent, used")).containsExactly(
                "messages 50 60", "messages 80 80", "messages 100 100", "messages 110 110",
                "team 20 45", "team 20 60", "team 30 60", "team 30 65");
    }
}
