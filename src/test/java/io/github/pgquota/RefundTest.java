package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import org.junit.jupiter.api.Test;

/** What is given back, and where. */
class RefundTest {

    private static final Limit MESSAGES =
            Limit.named("messages").on("requests").capacity(100).per(Window.month());

    @Test
    void anOperationIsRefundedInPartsAndNeverMoreThanItTook() {
        try (World world = World.with(MESSAGES, Limit.named("tokens").capacity(1000))) {
            Table.run(world, """
                    consume requests 10 tokens 100 as op | granted requests 10 tokens 100 | requests used 10 held 0, tokens used 100 held 0
                    consume requests 50                  | granted 50                     | requests used 60 held 0
                    refund op requests 4                 | granted requests 4 tokens 0    | requests used 56 held 0, tokens used 100 held 0
                    refund op requests 7                 | RefundTooLarge requests 7 of 6 | requests used 56 held 0
                    refund op requests 6 tokens 101      | RefundTooLarge tokens 101 of 100 | requests used 56 held 0
                    refund op requests 6 tokens 1        | granted requests 6 tokens 1    | requests used 50 held 0, tokens used 99 held 0
                    refund op                            | granted requests 0 tokens 99   | requests used 50 held 0, tokens used 0 held 0
                    refund op requests 1                 | RefundTooLarge requests 1 of 0 | requests used 50 held 0
                    """);
        }
    }

    @Test
    void aMeterThatWasNotChargedHasNothingToGiveBack() {
        try (World world = World.with(MESSAGES, Limit.named("tokens").capacity(1000))) {
            Table.run(world, """
                    consume requests 10 as op     | granted 10                   | used 10 held 0
                    refund op tokens 1            | RefundTooLarge tokens 1 of 0 | used 10 held 0
                    refund op requests 1 tokens 1 | RefundTooLarge tokens 1 of 0 | used 10 held 0
                    refund op requests 1 bytes 0  | granted 1                    | used 9 held 0
                    """);
        }
    }

    @Test
    void everyLevelIsGivenBack() {
        try (World world = World.with(MESSAGES,
                Limit.named("team").on("requests").level(1).capacity(50),
                Limit.named("day").on("requests").capacity(50).per(Window.day()))) {
            Table.run(world, """
                    acme/red consume requests 50 as op | granted 50 | acme used 100 held 0, acme/red used 50 held 0
                    refund op requests 20              | granted 20 | acme used 60 held 0, acme/red used 30 held 0
                    acme/red consume requests 20       | granted 20 | acme used 100 held 0, acme/red used 50 held 0
                    """);
        }
    }

    @Test
    void aClosedWindowGetsItsOwnBack() {
        try (World world = World.with(MESSAGES)) {
            Table.run(world, """
                    clock 2026-03-31T23:00:00Z |             |
                    consume requests 60 as op  | granted 60  | used 60 held 0
                    clock 2026-04-02T00:00:00Z |             |
                    consume requests 90        | granted 90  | window 2 used 90 held 0
                    refund op requests 50      | granted 50  | window 1 used 10 held 0, window 2 used 90 held 0
                    consume requests 11        | denied messages retry 2026-05-01T00:00:00Z | window 2 used 90 held 0
                    """);
        }
    }

    @Test
    void aResetHasGivenBackAlready() {
        try (World world = World.with(MESSAGES)) {
            OperationId operation = world.quotas()
                    .consume(Request.of("acme").take("requests", 60)).orThrow().operation();
            world.quotas().plans().reset(Scope.of("acme"), false);
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("0");
            QuotaException.RefundTooLarge e = org.junit.jupiter.api.Assertions.assertThrows(
                    QuotaException.RefundTooLarge.class, () -> world.quotas()
                            .refund(operation, Map.of("requests", 1L), null));
            assertThat(e.refundable()).isZero();
            assertThat(world.quotas().refund(operation, Map.of(), null).granted())
                    .containsEntry("requests", 0L);
            world.proof();
        }
    }

    @Test
    void aSettlementIsRefundedByItsOwnId() {
        try (World world = World.with(MESSAGES)) {
            Table.run(world, """
                    reserve requests 50 as h        | granted 50              | used 0 held 50
                    refund h                        | NotFound operation      | used 0 held 50
                    settle h requests 30 as op      | granted 30 hold settled | used 30 held 0
                    refund op requests 10           | granted 10              | used 20 held 0
                    refund h                        | NotFound operation      | used 20 held 0
                    """);
        }
    }

    @Test
    void whoRefundsAHoldIsToldWhatToRefund() {
        try (World world = World.with(MESSAGES)) {
            Reservation hold = world.quotas().hold(
                    Request.of("acme").take("requests", 5), java.time.Duration.ofMinutes(1));
            hold.settle(Map.of());
            org.assertj.core.api.Assertions.assertThatThrownBy(
                    () -> world.quotas().refund(hold.id(), Map.of(), null))
                    .isInstanceOf(QuotaException.NotFound.class)
                    .hasMessageEndingWith("of a hold, refund the operation that settled it");
        }
    }

    @Test
    void whatWasNotBilledOrNeverHappenedIsNotFound() {
        try (World world = World.with(MESSAGES.billed(false))) {
            Table.run(world, """
                    consume requests 10 as op | granted 10         | used 10 held 0
                    refund op requests 1      | NotFound operation | used 10 held 0
                    refund op                 | NotFound operation | used 10 held 0
                    """);
            assertThat(world.rows("select * from pgquota.ledger")).isEmpty();
            Granted granted =
                    world.quotas().consume(Request.of("acme").take("requests", 1)).orThrow();
            for (OperationId none : Set.of(
                    new OperationId("acme", UUID.randomUUID()),
                    new OperationId("other", granted.operation().uuid()))) {
                assertThat(org.junit.jupiter.api.Assertions.assertThrows(
                        QuotaException.NotFound.class,
                        () -> world.quotas().refund(none, Map.of(), null)).id())
                        .isEqualTo(none.toString());
            }
        }
    }

    @Test
    void onlyTheBilledLimitsOfAnOperationGetItBack() {
        try (World world = World.with(MESSAGES,
                Limit.named("burst").on("requests").capacity(50).per(Window.hour()))) {
            Table.run(world, """
                    clock 2026-03-10T12:00:00Z |            |
                    consume requests 40 as op  | granted 40 | used 80 held 0
                    refund op                  | granted 40 | used 40 held 0
                    consume requests 40        | denied burst retry 2026-03-10T13:00:00Z | used 40 held 0
                    """);
            assertThat(world.rows("select per, used from pgquota.counter order by per"))
                    .containsExactly("hour 40", "month 0");
        }
    }

    @Test
    void manyAtOnceNeverGiveBackMoreThanWasTaken() throws Exception {
        try (World world = World.create(16)) {
            world.plan("P", MESSAGES).tenant("acme", "P");
            OperationId operation = world.quotas()
                    .consume(Request.of("acme").take("requests", 50)).orThrow().operation();
            // others' use, which must not be given back in its place
            world.quotas().consume(Request.of("acme").take("requests", 50)).orThrow();
            List<Long> given = Callers.run(16, caller -> {
                try {
                    return world.quotas().refund(operation, Map.of("requests", 4L), null)
                            .granted().get("requests");
                } catch (QuotaException.RefundTooLarge e) {
                    assertThat(e.refundable()).isEqualTo(2);
                    return 0L;
                }
            });
            assertThat(given.stream().mapToLong(n -> n).sum()).isEqualTo(48);
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("52");
            world.proof();
        }
    }
}
