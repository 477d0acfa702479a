package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import org.junit.jupiter.api.Test;

/** A change of plans is obeyed by every call that begins after it. */
interface ChangeContract extends Contract {

    private static Limit messages(long capacity, Limit.Mode mode) {
        return Limit.named("messages").on("requests").capacity(capacity).mode(mode)
                .per(Window.lifetime());
    }

    @Test
    default void aLoweredLimitIsObeyedByTheNextCallAndNothingIsTakenBack() {
        World world = world(messages(100, Limit.Mode.ENFORCE));
        lines(world, "consume requests 60 | granted 60 | used 60 held 0");
        world.plan("P", messages(50, Limit.Mode.ENFORCE));
        lines(world, """
                consume requests 0 | granted 0                   | used 60 held 0
                consume requests 1 | denied messages retry never | used 60 held 0
                """);
        world.plan("P", messages(50, Limit.Mode.OBSERVE));
        lines(world, "consume requests 1 | granted 1 over 1 | used 61 held 0");
        world.plan("P", messages(62, Limit.Mode.ENFORCE));
        lines(world, """
                consume requests 2 | denied messages retry never | used 61 held 0
                consume requests 1 | granted 1                   | used 62 held 0
                """);
    }

    @Test
    default void aPlanThatBeginsLaterBeginsThen() {
        World world = world(messages(100, Limit.Mode.ENFORCE));
        world.clock(MARCH);
        world.planFrom("P", Instant.parse("2026-03-11T00:00:00Z"),
                messages(200, Limit.Mode.ENFORCE));
        lines(world, """
                consume requests 101              | denied messages retry never | used 0 held 0
                clock 2026-03-10T23:59:59.999999Z |                             |
                consume requests 101              | denied messages retry never | used 0 held 0
                clock 2026-03-11T00:00:00Z        |                             |
                consume requests 200              | granted 200                 | used 200 held 0
                """);
    }

    @Test
    default void overridesAndBoostsHoldFromAndUntil() {
        World world = world(messages(100, Limit.Mode.ENFORCE),
                Limit.named("team").on("tokens").level(1).capacity(10).per(Window.lifetime()));
        world.clock(MARCH);
        Plans plans = world.quotas().plans();
        Instant eleventh = Instant.parse("2026-03-11T00:00:00Z");
        plans.override(Scope.of("acme"), "messages", 20L, eleventh,
                Instant.parse("2026-03-12T00:00:00Z"), "audit");
        plans.boost(Scope.of("acme"), "messages", 5, eleventh, null, "sorry");
        plans.override(Scope.of("acme/red"), "team", null, Instant.EPOCH, null, "friends");
        lines(world, """
                consume requests 21              | granted 21                  | requests used 21 held 0
                clock 2026-03-11T00:00:00Z       |                             |
                consume requests 5               | denied messages retry never | requests used 21 held 0
                consume requests 4               | granted 4                   | requests used 25 held 0
                clock 2026-03-12T00:00:00Z       |                             |
                consume requests 80              | granted 80                  | requests used 105 held 0
                consume requests 1               | denied messages retry never | requests used 105 held 0
                acme/red consume tokens 11       | granted 11                  | acme/red tokens used 11 held 0
                acme/blue consume tokens 11      | denied team retry never     | acme/red tokens used 11 held 0
                """);
    }

    @Test
    default void anotherPlanInMidWindowKeepsUsage() {
        Limit month = Limit.named("messages").on("requests").per(Window.month());
        World world = world(month.capacity(100));
        world.plan("BIG", month.capacity(200), Limit.named("tokens").capacity(9));
        world.plan("DAILY", month.capacity(70).per(Window.day()));
        lines(world, """
                clock 2026-03-10T12:00:00Z | |
                consume requests 100 | granted 100 | used 100 held 0
                """);
        world.quotas().plans().assign("acme", "BIG");
        lines(world, """
                consume requests 101 | denied messages retry 2026-04-01T00:00:00Z | requests used 100 held 0
                consume requests 100 tokens 9 | granted requests 100 tokens 9     | requests used 200 held 0
                """);
        world.quotas().plans().assign("acme", "DAILY");
        // another kind of window has counters of its own
        lines(world, """
                consume tokens 1     | UnknownMeter tokens | tokens used 9 held 0
                consume requests 71  | denied messages retry never | requests used 200 held 0
                consume requests 70  | granted 70          | requests used 270 held 0
                """);
        world.quotas().plans().assign("acme", "P");
        lines(world, """
                consume requests 1   | denied messages retry 2026-04-01T00:00:00Z | requests used 270 held 0
                clock 2026-04-01T00:00:00Z |             |
                consume requests 100 | granted 100       | requests used 370 held 0
                """);
    }

    @Test
    default void anotherPlanInMidWindowRestartsUsageIfAsked() {
        Limit month = Limit.named("messages").on("requests").per(Window.month());
        World world = world(month.capacity(100));
        world.plan("BIG", month.capacity(200));
        lines(world, "consume requests 100 | granted 100 | used 100 held 0");
        world.quotas().plans().assign("acme", "BIG", Plans.Usage.RESTART);
        lines(world, """
                check requests 201   | denied messages retry never | used 0 held 0
                consume requests 200 | granted 200 | used 200 held 0
                """);
        assertThat(world.rows("select entry, amount, used_after from pgquota.ledger "
                + "where tenant = 'acme' order by entry"))
                .containsExactly("1 100 100", "2 -100 0", "3 200 200");
    }

    @Test
    default void anotherZoneTakesEffectWhenTheRunningWindowEnds() {
        Limit day = Limit.named("messages").on("requests").capacity(10).per(Window.day());
        World world = world(day);
        world.clock(MARCH);
        lines(world, "consume requests 10 | granted 10 | used 10 held 0");
        world.quotas().plans().zone("acme", ZoneId.of("Asia/Tokyo"));
        // midnight in Tokyo is 15:00 UTC: that day ends where the running one does not
        lines(world, """
                clock 2026-03-10T15:00:00Z        |                                            |
                consume requests 1                | denied messages retry 2026-03-11T00:00:00Z | used 10 held 0
                clock 2026-03-10T23:59:59.999999Z |                                            |
                consume requests 1                | denied messages retry 2026-03-11T00:00:00Z | used 10 held 0
                clock 2026-03-11T00:00:00Z        |                                            |
                consume requests 10               | granted 10                                 | window 2 used 10 held 0
                consume requests 1                | denied messages retry 2026-03-11T15:00:00Z | window 2 used 10 held 0
                clock 2026-03-11T15:00:00Z        |                                            |
                consume requests 1                | granted 1                                  | window 3 used 1 held 0
                """);
        assertThat(counters(world,
                "start_at at time zone 'UTC', end_at at time zone 'UTC'")).containsExactly(
                "2026-03-10 00:00:00 2026-03-11 00:00:00",
                "2026-03-11 00:00:00 2026-03-11 15:00:00",
                "2026-03-11 15:00:00 2026-03-12 15:00:00");
    }

    @Test
    default void anotherAnchorTakesEffectWhenTheRunningWindowEnds() {
        Limit month = Limit.named("messages").on("requests").capacity(10).per(Window.month());
        World world = world(month);
        world.clock("2026-01-10T12:00:00Z");
        lines(world, "consume requests 10 | granted 10 | used 10 held 0");
        world.quotas().plans().anchor("acme", LocalDateTime.parse("2026-01-31T06:00:00"));
        lines(world, """
                clock 2026-01-31T06:00:00Z | |
                consume requests 1  | denied messages retry 2026-02-01T00:00:00Z | used 10 held 0
                clock 2026-02-01T00:00:00Z | |
                consume requests 10 | granted 10 | window 2 used 10 held 0
                consume requests 1  | denied messages retry 2026-02-28T06:00:00Z | window 2 used 10 held 0
                clock 2026-02-28T06:00:00Z | |
                consume requests 10 | granted 10 | window 3 used 10 held 0
                consume requests 1  | denied messages retry 2026-03-31T06:00:00Z | window 3 used 10 held 0
                """);
    }

    @Test
    default void aClockThatStepsBackStaysInTheNewestWindow() {
        Limit day = Limit.named("messages").on("requests").capacity(10).per(Window.day());
        World world = world(day);
        lines(world, """
                clock 2026-03-10T23:59:59Z | |
                consume requests 9  | granted 9 | used 9 held 0
                clock 2026-03-11T00:00:01Z | |
                consume requests 4  | granted 4 | window 2 used 4 held 0
                clock 2026-03-10T23:59:59Z | |
                consume requests 1  | granted 1 | window 1 used 9 held 0, window 2 used 5 held 0
                consume requests 6  | denied messages retry 2026-03-12T00:00:00Z | window 2 used 5 held 0
                """);
    }
}
