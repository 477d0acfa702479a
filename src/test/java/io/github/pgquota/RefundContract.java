package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.Map;
import java.util.Set;
import java.util.UUID;
import org.junit.jupiter.api.Test;

/** What is given back, and where. */
interface RefundContract extends Contract {

    @Test
    default void aRefundGivesBackInTheWindowThatWasCharged() {
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
    default void anOperationIsRefundedInPartsAndNeverMoreThanItTook() {
        table("""
                consume requests 10 tokens 100 as op | granted requests 10 tokens 100 | requests used 10 held 0, tokens used 100 held 0
                consume requests 50                  | granted 50                     | requests used 60 held 0
                refund op requests 4                 | granted requests 4 tokens 0    | requests used 56 held 0, tokens used 100 held 0
                refund op requests 7                 | RefundTooLarge requests 7 of 6 | requests used 56 held 0
                refund op requests 6 tokens 101      | RefundTooLarge tokens 101 of 100 | requests used 56 held 0
                refund op requests 6 tokens 1        | granted requests 6 tokens 1    | requests used 50 held 0, tokens used 99 held 0
                refund op                            | granted requests 0 tokens 99   | requests used 50 held 0, tokens used 0 held 0
                refund op requests 1                 | RefundTooLarge requests 1 of 0 | requests used 50 held 0
                """, MESSAGES, TOKENS);
    }

    @Test
    default void aMeterThatWasNotChargedHasNothingToGiveBack() {
        table("""
                consume requests 10 as op     | granted 10                   | used 10 held 0
                refund op tokens 1            | RefundTooLarge tokens 1 of 0 | used 10 held 0
                refund op requests 1 tokens 1 | RefundTooLarge tokens 1 of 0 | used 10 held 0
                refund op requests 1 bytes 0  | granted 1                    | used 9 held 0
                """, MESSAGES, TOKENS);
    }

    @Test
    default void everyLevelIsGivenBack() {
        table("""
                acme/red consume requests 50 as op | granted 50 | acme used 100 held 0, acme/red used 50 held 0
                refund op requests 20              | granted 20 | acme used 60 held 0, acme/red used 30 held 0
                acme/red consume requests 20       | granted 20 | acme used 100 held 0, acme/red used 50 held 0
                """, MESSAGES,
                Limit.named("team").on("requests").level(1).capacity(50),
                Limit.named("day").on("requests").capacity(50).per(Window.day()));
    }

    @Test
    default void aClosedWindowGetsItsOwnBack() {
        table("""
                clock 2026-03-31T23:00:00Z |             |
                consume requests 60 as op  | granted 60  | used 60 held 0
                clock 2026-04-02T00:00:00Z |             |
                consume requests 90        | granted 90  | window 2 used 90 held 0
                refund op requests 50      | granted 50  | window 1 used 10 held 0, window 2 used 90 held 0
                consume requests 11        | denied messages retry 2026-05-01T00:00:00Z | window 2 used 90 held 0
                """, MESSAGES);
    }

    @Test
    default void aResetHasGivenBackAlready() {
        World world = world(MESSAGES);
        OperationId operation = quotas()
                .consume(Request.of("acme").take("requests", 60)).orThrow().operation();
        world.quotas().plans().reset(Scope.of("acme"), false);
        assertThat(counters(world, "used")).containsExactly("0");
        QuotaException.RefundTooLarge e = assertThrows(QuotaException.RefundTooLarge.class,
                () -> quotas().refund(operation, Map.of("requests", 1L), null));
        assertThat(e.refundable()).isZero();
        assertThat(quotas().refund(operation, Map.of(), null).granted())
                .containsEntry("requests", 0L);
    }

    @Test
    default void aSettlementIsRefundedByItsOwnId() {
        table("""
                reserve requests 50 as h        | granted 50              | used 0 held 50
                refund h                        | NotFound operation      | used 0 held 50
                settle h requests 30 as op      | granted 30 hold settled | used 30 held 0
                refund op requests 10           | granted 10              | used 20 held 0
                refund h                        | NotFound operation      | used 20 held 0
                """, MESSAGES);
    }

    @Test
    default void whoRefundsAHoldIsToldWhatToRefund() {
        world(MESSAGES);
        Reservation hold = quotas().hold(Request.of("acme").take("requests", 5), MINUTE);
        hold.settle(Map.of());
        assertThatThrownBy(() -> quotas().refund(hold.id(), Map.of(), null))
                .isInstanceOf(QuotaException.NotFound.class)
                .hasMessageEndingWith("of a hold, refund the operation that settled it");
    }

    @Test
    default void whatWasNotBilledOrNeverHappenedIsNotFound() {
        World world = world(MESSAGES.billed(false));
        lines(world, """
                consume requests 10 as op | granted 10         | used 10 held 0
                refund op requests 1      | NotFound operation | used 10 held 0
                refund op                 | NotFound operation | used 10 held 0
                """);
        assertThat(world.rows("select * from pgquota.ledger where tenant = 'acme'")).isEmpty();
        Granted granted = quotas().consume(Request.of("acme").take("requests", 1)).orThrow();
        for (OperationId none : Set.of(
                new OperationId("acme", UUID.randomUUID()),
                new OperationId("other", granted.operation().uuid()))) {
            assertThat(assertThrows(QuotaException.NotFound.class,
                    () -> quotas().refund(none, Map.of(), null)).id()).isEqualTo(none.toString());
        }
    }

    @Test
    default void onlyTheBilledLimitsOfAnOperationGetItBack() {
        World world = world(MESSAGES,
                Limit.named("burst").on("requests").capacity(50).per(Window.hour()));
        lines(world, """
                clock 2026-03-10T12:00:00Z |            |
                consume requests 40 as op  | granted 40 | used 80 held 0
                refund op                  | granted 40 | used 40 held 0
                consume requests 40        | denied burst retry 2026-03-10T13:00:00Z | used 40 held 0
                """);
        assertThat(counters(world, "per, used")).containsExactly("hour 40", "month 0");
    }

    @Test
    default void everyVerbThatChargesCanBeRefunded() {
        World world = world(MESSAGES.unlimited(), TOKENS).clock(MARCH);
        lines(world, """
                consume requests 10 tokens 20 as a     | granted requests 10 tokens 20               | requests used 10 held 0, tokens used 20 held 0
                consumeUpTo requests 10 tokens 2000 as b | granted requests 10 tokens 980            | requests used 20 held 0, tokens used 1000 held 0
                record requests 10 tokens 5 as c       | granted requests 10 tokens 5 over 5         | requests used 30 held 0, tokens used 1005 held 0
                reserve requests 10 as h               | granted 10                                  | requests used 30 held 10
                settle h requests 15 as d              | granted 15 hold settled                     | requests used 45 held 0
                refund b tokens 981                    | RefundTooLarge tokens 981 of 980            | requests used 45 held 0, tokens used 1005 held 0
                refund b                               | granted requests 10 tokens 980              | requests used 35 held 0, tokens used 25 held 0
                refund c requests 3                    | granted requests 3 tokens 0                 | requests used 32 held 0, tokens used 25 held 0
                refund c requests 8                    | RefundTooLarge requests 8 of 7              | requests used 32 held 0
                refund c                               | granted requests 7 tokens 5                 | requests used 25 held 0, tokens used 20 held 0
                refund d requests 15                   | granted 15                                  | requests used 10 held 0
                refund a tokens 20                     | granted requests 0 tokens 20                | requests used 10 held 0, tokens used 0 held 0
                refund a tokens 1                      | RefundTooLarge tokens 1 of 0                | tokens used 0 held 0
                """);
        assertThat(world.rows("select sum(l.amount) filter (where l.verb = 'refund'), "
                + "count(distinct l.ref) from pgquota.ledger l where tenant = 'acme' "
                + "and verb = 'refund'")).containsExactly("-1040 4");
    }

    @Test
    default void aRefundOfARefundOrOfADeadHoldIsNotFound() {
        table("""
                consume requests 10 as op   | granted 10              | used 10 held 0
                refund op requests 4 as back| granted 4               | used 6 held 0
                refund back                 | NotFound operation      | used 6 held 0
                reserve requests 5 as h     | granted 5               | used 6 held 5
                release h as gone           | granted 0 hold released | used 6 held 0
                refund gone                 | NotFound operation      | used 6 held 0
                consume requests 0 as none  | granted 0               | used 6 held 0
                refund none                 | NotFound operation      | used 6 held 0
                """, MESSAGES);
    }
}
