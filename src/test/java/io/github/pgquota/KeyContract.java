package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.List;
import java.util.UUID;
import org.junit.jupiter.api.Test;

/** A key makes an operation exactly-once. */
interface KeyContract extends Contract {

    @Test
    default void everyVerbThatChargesIsReplayed() {
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
                """, MESSAGES, TOKENS);
    }

    @Test
    default void aReplayTellsTheFirstAnswerWhateverHasHappenedSince() {
        World world = world(MESSAGES, TOKENS);
        Request call = Request.of("acme/a").take("requests", 30).key("k");
        Granted first = quotas().consume(call).orThrow();
        quotas().consume(Request.of("acme/a").take("requests", 70)).orThrow();
        world.plan("P", MESSAGES.capacity(5));
        Granted again = quotas().consume(call).orThrow();
        assertThat(again).isEqualTo(new Granted(first.scope(), first.asked(), first.granted(),
                first.limits(), first.at(), first.operation(), true, false, null));
    }

    @Test
    default void anotherRequestUnderTheKeyIsRefusedWithTheFieldThatDiffers() {
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
                """, MESSAGES, TOKENS);
    }

    @Test
    default void aKeyBelongsToItsTenant() {
        World world = world(MESSAGES, TOKENS).tenant("other", "P");
        for (String tenant : List.of("acme", "other")) {
            Granted granted = quotas()
                    .consume(Request.of(tenant).take("requests", 1).key("k")).orThrow();
            assertThat(granted.replayed()).isFalse();
        }
        assertThat(world.rows("select used from pgquota.counter where tenant in ('acme', 'other')"))
                .containsExactly("1", "1");
    }

    @Test
    default void aDeniedOrFailedAttemptDoesNotBurnItsKey() {
        table("""
                consume requests 90             | granted 90                                  | requests used 90 held 0
                consume requests 20 key k       | denied messages retry APRIL                 | requests used 90 held 0
                consume bytes 1 key k           | UnknownMeter bytes                          | requests used 90 held 0
                clock 2026-04-01T00:00:00Z      |                                             |
                consume requests 20 key k       | granted 20                                  | window 2 used 20 held 0
                consume requests 20 key k       | granted 20 replayed                         | window 2 used 20 held 0
                """, MESSAGES, TOKENS);
    }

    @Test
    default void aKeyOlderThanItsRetentionIsRefused() {
        table("""
                consume requests 10 key k         | granted 10          | requests used 10 held 0
                clock +PT839H59M                  |                     |
                consume requests 10 key k         | granted 10 replayed | requests used 10 held 0
                clock +PT2H                       |                     |
                consume requests 10 key k         | KeyExpired          | requests used 10 held 0
                """, MESSAGES, TOKENS);
    }

    @Test
    default void aLongerRetentionBringsNoDroppedKeyBack() {
        String key = "019c8f2e-1234-7abc-8def-0123456789ab";
        World world = world(MESSAGES);
        Request call = Request.of("acme").take("requests", 10).key(key);
        world.clock(MARCH);
        quotas().consume(call);
        world.clock("2026-04-20T12:00:00Z");
        assertThat(world.quotas().upkeep().runOnce(Duration.ofSeconds(5)).keysDropped())
                .isEqualTo(1);
        world.execute("update pgquota.setting set key_retention = '400 days'");
        quotas().consume(call.key(null));
        assertThatThrownBy(() -> quotas().consume(call))
                .isInstanceOf(QuotaException.KeyExpired.class);
    }

    @Test
    default void aTimeOrderedKeyTellsItsAgeEvenWhenItsRowIsGone() {
        String key = "019c8f2e-1234-7abc-8def-0123456789ab"; // a UUIDv7 of February 2026
        assertThat(UUID.fromString(key).version()).isEqualTo(7);
        World world = world(MESSAGES);
        Request call = Request.of("acme").take("requests", 10).key(key);
        world.clock(MARCH);
        assertThat(quotas().consume(call).isGranted()).isTrue();
        world.clock("2027-03-10T12:00:00Z").execute("delete from pgquota.operation_key");
        quotas().consume(call.key(null)); // opens the window: the short way is tried
        List<String> before = world.written();
        assertThatThrownBy(() -> quotas().consume(call))
                .isInstanceOfSatisfying(QuotaException.KeyExpired.class,
                        e -> assertThat(e.key()).isEqualTo(key));
        assertThat(world.written()).isEqualTo(before);
    }

    @Test
    default void noVerbMayUseTheKeyOfAnother() {
        String keyed = "consume consumeUpTo record reserve";
        for (String first : keyed.split(" ")) {
            World world = world(MESSAGES, TOKENS).clock(MARCH);
            lines(world, first + " requests 10 key k as op | granted 10 | ");
            for (String second : keyed.split(" ")) {
                lines(world, second + " requests 10 key k | " + (second.equals(first)
                        ? "granted 10 replayed" : "KeyConflict verb") + " | ");
            }
            lines(world, "check requests 10 key k | " + (first.equals("consume")
                    ? "granted 10 replayed" : "KeyConflict verb") + " | ");
            lines(world, "consume requests 1 as op | granted 1 | \n"
                    + "refund op key k | KeyConflict verb | \n"
                    + "reserve requests 1 as h | granted 1 | \n"
                    + "extend h key k | KeyConflict verb | \n"
                    + "release h | granted 0 hold released | \n"
                    + "refund op | granted 1 | ");
            assertThat(world.rows("select verb, count(*) over () from pgquota.operation_key "
                    + "where tenant = 'acme'")).containsExactly(
                    (first.equals("consumeUpTo") ? "consume_up_to" : first) + " 1");
            assertThat(counters(world, "used + held")).containsExactly("10");
        }
    }

    @Test
    default void whatWasDeniedOrFailedMayTryAgainByEveryVerb() {
        World world = world(MESSAGES, TOKENS).clock(MARCH);
        lines(world, """
                consume requests 90 as op         | granted 90                       | requests used 90 held 0
                reserve requests 10 as h          | granted 10                       | requests used 90 held 10
                reserve requests 20 key r         | denied messages retry APRIL      | requests used 90 held 10
                extend h requests 1 key e         | denied messages retry never      | requests used 90 held 10
                extend h tokens 1 key e           | Invalid meter                    | requests used 90 held 10
                refund op requests 91 key f       | RefundTooLarge requests 91 of 90 | requests used 90 held 10
                consumeUpTo bytes 1 key u         | UnknownMeter bytes               | requests used 90 held 10
                record bytes 1 key c              | UnknownMeter bytes               | requests used 90 held 10
                """);
        assertThat(world.rows("select key from pgquota.operation_key where tenant = 'acme'"))
                .isEmpty();
        lines(world, """
                clock 2026-04-01T00:00:00Z        |                                  |
                reserve requests 20 key r as h    | granted 20                       | window 2 requests used 0 held 20
                reserve requests 20 key r         | granted 20 replayed              | window 2 requests used 0 held 20
                extend h requests 1 key e         | granted 1                        | window 2 requests used 0 held 21
                extend h requests 1 key e         | granted 1 replayed               | window 2 requests used 0 held 21
                consumeUpTo requests 1 key u as u | granted 1                        | window 2 requests used 1 held 21
                record requests 3 key c as c      | granted 3                        | window 2 requests used 4 held 21
                refund c requests 3 key f         | granted 3                        | window 2 requests used 1 held 21
                refund c requests 3 key f         | granted 3 replayed               | window 2 requests used 1 held 21
                """);
        assertThat(world.rows("select key from pgquota.operation_key where tenant = 'acme' "
                + "order by key")).containsExactly("c", "e", "f", "r", "u");
    }

    @Test
    default void aReplayIsAsItWasAlsoWhereItWasRemarkable() {
        World world = world(MESSAGES.alertAt(50, 110), TOKENS).clock(MARCH);
        lines(world, """
                consumeUpTo requests 150 key u as u   | granted 100 crossed 50              | requests used 100 held 0
                refund u requests 60 key f            | granted 60                          | requests used 40 held 0
                consumeUpTo requests 150 key u        | granted 100 crossed 50 replayed     | requests used 40 held 0
                record requests 80 tokens 1 key r     | granted requests 80 tokens 1 over 20 crossed 110 | requests used 120 held 0, tokens used 1 held 0
                clock 2026-04-02T00:00:00Z            |                                     |
                record requests 80 tokens 1 key r     | granted requests 80 tokens 1 over 20 crossed 110 replayed | requests used 120 held 0, tokens used 1 held 0
                refund u requests 60 key f            | granted 60 replayed                 | requests used 120 held 0
                reserve requests 30 key h as h        | granted 30                          | window 2 requests used 0 held 30
                settle h requests 10                  | granted 10 hold settled             | window 2 requests used 10 held 0
                reserve requests 30 key h             | granted 30 replayed                 | window 2 requests used 10 held 0
                """);
        assertThat(world.rows("select percent from pgquota.alert where tenant = 'acme' "
                + "order by percent")).containsExactly("50", "110");
    }
}
