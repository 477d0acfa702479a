package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** What is billed is written down, entry by entry. */
interface LedgerContract extends Contract {

    /** The entries of a counter, in their order. */
    private static List<String> ledger(World world, String scope, String meter, String per) {
        return world.rows("""
                select l.entry, l.verb, l.amount, l.used_after
                  from pgquota.ledger l
                  join pgquota.counter c on c.tenant = l.tenant and c.id = l.counter
                 where c.tenant = 'acme' and c.scope = ? and c.meter = ? and c.per = ?
                 order by c.start_at, l.entry
                """, scope, meter, per);
    }

    @Test
    default void everyVerbThatChargesWritesAnEntryAndNoOtherDoes() {
        World world = world(MESSAGES,
                Limit.named("team").on("requests").level(1).unlimited().per(Window.day()),
                Limit.named("burst").on("requests").capacity(90).per(Window.hour()),
                TOKENS).clock(MARCH);
        lines(world, """
                acme/a consume requests 10 tokens 7 as op | granted requests 10 tokens 7 | tokens used 7 held 0
                acme/a consume requests 0                 | granted 0                    | tokens used 7 held 0
                acme/a consume requests 81                | denied burst retry 2026-03-10T13:00:00Z | tokens used 7 held 0
                acme/a check requests 1 tokens 1          | granted requests 1 tokens 1  | tokens used 7 held 0
                acme/b consumeUpTo requests 200           | granted 80                   | acme/b used 80 held 0
                acme/b consumeUpTo requests 1             | granted 0                    | acme/b used 80 held 0
                clock 2026-03-11T12:00:00Z                |                              |
                acme/a record requests 20                 | granted 20 over 10           | acme/a used 30 held 0
                acme/a reserve requests 1                 | denied messages retry APRIL  | acme/a used 30 held 0
                refund op requests 4 tokens 7             | granted requests 4 tokens 7  | tokens used 0 held 0
                refund op requests 7                      | RefundTooLarge requests 7 of 6 | tokens used 0 held 0
                clock 2026-04-01T00:00:00Z                |                              |
                acme/a reserve requests 5 as h            | granted 5                    | acme/a used 26 held 5
                extend h requests 5                       | granted 5                    | acme/a used 26 held 10
                settle h requests 8                       | granted 8 hold settled       | acme/a used 34 held 0
                acme/a reserve requests 5 as h2           | granted 5                    | acme/a used 34 held 5
                release h2                                | granted 0 hold released      | acme/a used 34 held 0
                refund op requests 6                      | granted requests 6 tokens 0  | acme/a used 28 held 0
                """);
        assertThat(ledger(world, "acme", "requests", "month")).containsExactly(
                "1 consume 10 10", "2 consume_up_to 80 90", "3 record 20 110", "4 refund -4 106",
                "5 refund -6 100", "1 settle 8 8");
        assertThat(ledger(world, "acme/a", "requests", "day")).containsExactly(
                "1 consume 10 10", "2 refund -4 6", "3 refund -6 0", "1 record 20 20",
                "1 settle 8 8");
        assertThat(ledger(world, "acme/b", "requests", "day")).containsExactly(
                "1 consume_up_to 80 80");
        assertThat(ledger(world, "acme", "tokens", "month")).containsExactly(
                "1 consume 7 7", "2 refund -7 0");
        assertThat(ledger(world, "acme", "requests", "hour")).as("not billed").isEmpty();
    }

    @Test
    default void anEntryNamesItsOperationAndWhatItIsAbout() {
        World world = world(MESSAGES);
        Granted charged = quotas().consume(CALL).orThrow();
        OperationId hold = quotas().reserve(CALL, MINUTE).orThrow().operation();
        Granted settled = quotas().settle(hold, Map.of());
        Granted refunded = quotas().refund(charged.operation(), Map.of(), null);
        Granted denied = quotas().consumeUpTo(Request.of("acme").take("requests", 0));
        assertThat(world.rows("select operation, ref, amount from pgquota.ledger "
                + "where tenant = 'acme' order by entry")).containsExactly(
                charged.operation().uuid() + " null 10",
                settled.operation().uuid() + " " + hold.uuid() + " 10",
                refunded.operation().uuid() + " " + charged.operation().uuid() + " -10");
        assertThat(world.quotas().reports().ledger(settled.operation())).singleElement()
                .isEqualTo(new LedgerEntry(settled.operation(), settled.at(), "settle",
                        Scope.of("acme"), "requests", settled.limits().get(0).balance()
                        .startOrNull(), 2, 10, 20, hold));
        assertThat(world.quotas().reports().ledger(denied.operation())).isEmpty();
        assertThat(world.quotas().reports().reconcile("acme")).isEmpty();
    }

    @Test
    default void whatIsBilledIsTheLimitsToSay() {
        World world = world(MESSAGES.billed(false),
                Limit.named("burst").on("requests").capacity(50).per(Window.hour()).billed(true),
                Limit.named("ever").on("requests").unlimited().per(Window.lifetime()))
                .clock(MARCH);
        lines(world, """
                consume requests 10 as op | granted 10              | used 30 held 0
                reserve requests 5 as h   | granted 5               | used 30 held 15
                settle h requests 2       | granted 2 hold settled  | used 36 held 0
                refund op requests 4      | granted 4               | used 28 held 0
                """);
        assertThat(ledger(world, "acme", "requests", "month")).isEmpty();
        assertThat(counters(world, "per, used, entries")).containsExactly(
                "hour 8 3", "lifetime 8 3", "month 12 0");
        assertThat(ledger(world, "acme", "requests", "hour")).containsExactly(
                "1 consume 10 10", "2 settle 2 12", "3 refund -4 8");
        assertThat(ledger(world, "acme", "requests", "lifetime")).containsExactly(
                "1 consume 10 10", "2 settle 2 12", "3 refund -4 8");
    }
}
