package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.sql.Connection;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What {@link InterleavingTest} does with single calls, with lists: they race in other code. */
class ListRaceTest {

    private static final Limit SINGLE = Limit.named("messages").on("requests").capacity(10);
    private static final Limit USER = Limit.named("user").on("requests").level(1).capacity(5);
    private static final Duration HOUR = Duration.ofHours(1);
    private static final Instant EIGHT = Instant.parse("2130-05-05T08:00:00Z");

    private World world;
    private Sessions sessions;

    private void start(Limit... limits) throws Exception {
        world = World.with(limits).clock(EIGHT.toString());
        sessions = new Sessions(world);
    }

    @AfterEach
    void close() throws Exception {
        sessions.close();
        world.proof();
        world.close();
    }

    private static Request ask(long requests) {
        return ask("acme", requests);
    }

    private static Request ask(String scope, long requests) {
        return Request.of(scope).take("requests", requests);
    }

    private List<String> counters() {
        return world.rows("select scope, used, held from pgquota.counter order by scope, start_at");
    }

    private void end(String how) throws Exception {
        if (how.equals("commit")) {
            sessions.commit();
        } else {
            sessions.rollback();
        }
    }

    /** What is told of each: granted, denied, replayed, or the name of its exception. */
    private static List<String> outcomes(Sessions.Waiting<List<Object>> waiting) throws Exception {
        return waiting.answer().stream().map(outcome -> outcome instanceof Granted granted
                ? granted.replayed() ? "replayed" : "granted"
                : outcome.getClass().getSimpleName().toLowerCase(java.util.Locale.ROOT)).toList();
    }

    @ParameterizedTest
    @CsvSource({"commit, denied, 10", "rollback, granted, 10"})
    void lastUnits(String how, String second, long used) throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(8));
        sessions.one().consume(ask(1));
        var waiting = sessions.two(List.of(q -> q.consume(ask(1)), q -> q.consume(ask(1))));
        end(how);
        assertThat(outcomes(waiting)).containsExactly("granted", second);
        assertThat(counters()).containsExactly("acme " + used + " 0");
    }

    /** One counter has filled up, the others have been charged when that is found out. */
    @Test
    void oneOfSeveralFillsUp() throws Exception {
        start(USER);
        world.quotas().consumeAll(List.of(ask("acme/a", 1), ask("acme/b", 1), ask("acme/c", 1)));
        sessions.one().consume(ask("acme/b", 4));
        var waiting = sessions.two(List.of(q -> q.consume(ask("acme/a", 2)),
                q -> q.consume(ask("acme/b", 1)), q -> q.consume(ask("acme/c", 3))));
        sessions.commit();
        assertThat(outcomes(waiting)).containsExactly("granted", "denied", "granted");
        assertThat(counters()).containsExactly("acme/a 3 0", "acme/b 5 0", "acme/c 4 0");
    }

    /** What is far above its limit by now still fits a number. */
    @Test
    void whatWasRecordedMeanwhileIsAsMuchAsACounterCanHold() throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(1));
        sessions.one().record(ask(1L << 62));
        sessions.one().record(ask((1L << 62) - 2));
        var waiting = sessions.two(List.of(q -> q.consume(ask(1)), q -> q.consume(ask(2))));
        sessions.commit();
        assertThat(outcomes(waiting)).containsExactly("denied", "denied");
        assertThat(counters()).containsExactly("acme " + Long.MAX_VALUE + " 0");
    }

    @Test
    void theSameOfASingleCall() throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(1));
        sessions.one().record(ask(1L << 62));
        sessions.one().record(ask((1L << 62) - 2));
        var waiting = sessions.two(q -> q.consume(ask(1)));
        sessions.commit();
        assertThat(waiting.answer().isGranted()).isFalse();
        assertThat(counters()).containsExactly("acme " + Long.MAX_VALUE + " 0");
    }

    @Test
    void aClockThatHasSteppedBack() throws Exception {
        start(SINGLE.per(Window.hour()));
        world.quotas().consume(ask(1));
        world.later(HOUR);
        world.quotas().consume(ask(9));
        world.later(HOUR.negated());
        assertThat(world.quotas().consumeAll(List.of(ask(1), ask(2))))
                .extracting(Decision::isGranted).containsExactly(true, false);
        assertThat(counters()).containsExactly("acme 1 0", "acme 10 0");
    }

    @ParameterizedTest
    @CsvSource({"commit, replayed, 3", "rollback, granted, 3"})
    void duplicate(String how, String first, long used) throws Exception {
        start(USER);
        world.quotas().consumeAll(List.of(ask("acme/a", 1), ask("acme/b", 1)));
        sessions.one().consume(ask("acme/a", 2).key("k"));
        var waiting = sessions.two(List.of(q -> q.consume(ask("acme/a", 2).key("k")),
                q -> q.consume(ask("acme/b", 1))));
        end(how);
        assertThat(outcomes(waiting)).containsExactly(first, "granted");
        assertThat(counters()).containsExactly("acme/a " + used + " 0", "acme/b 2 0");
    }

    /** They have no counter in common, only the key. */
    @Test
    void otherRequestUnderTheKey() throws Exception {
        start(USER);
        world.quotas().consumeAll(List.of(ask("acme/a", 1), ask("acme/b", 1)));
        sessions.one().consume(ask("acme/a", 1).key("k"));
        var waiting = sessions.two(List.of(q -> q.consume(ask("acme/b", 1).key("k")),
                q -> q.consume(ask("acme/b", 2))));
        sessions.commit();
        assertThat(outcomes(waiting)).containsExactly("keyconflict", "granted");
        assertThat(counters()).containsExactly("acme/a 2 0", "acme/b 3 0");
    }

    /**
     * A rival's first answer comes between the look at the keys and that at the counters, and fills
     * the counter: its duplicate is not told that there is no room.
     */
    @Test
    void duplicateOfTheOneWhoTookTheLastMeanwhile() throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(1));
        // who reserves looks at the settings between these two looks
        world.execute("create or replace function pgquota.exactly(p_span interval) returns interval"
                + " language plpgsql as 'begin"
                + " perform pg_advisory_xact_lock_shared(1); return p_span; end'");
        try (var statement = sessions.connection().createStatement()) {
            statement.execute("select pg_advisory_xact_lock(1)");
        }
        var waiting = sessions.two(List.of(q -> q.reserve(ask(4).key("k"), HOUR),
                q -> q.reserve(ask(5).key("l"), HOUR)));
        world.quotas().consume(ask(9).key("k")).orThrow();
        sessions.commit();
        assertThat(outcomes(waiting)).containsExactly("keyconflict", "denied");
        assertThat(counters()).containsExactly("acme 10 0");
    }

    /** A list, too, refuses a key whose own time tells that it is too old. */
    @Test
    void aKeyThatTellsItsAge() throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(1));
        String old = new UUID(EIGHT.minus(Duration.ofDays(40)).toEpochMilli() << 16 | 0x7000,
                0x8000_0000_0000_0001L).toString();
        sessions.one().consume(ask(1));
        var waiting = sessions.two(List.of(q -> q.consume(ask(1).key(old)),
                q -> q.consume(ask(2))));
        sessions.commit();
        assertThat(outcomes(waiting)).containsExactly("keyexpired", "granted");
        assertThat(counters()).containsExactly("acme 4 0");
    }

    private OperationId hold(long requests) {
        return world.quotas().reserve(ask(requests), HOUR).orThrow().operation();
    }

    /** What is held of the counter is enough for it all the same. */
    @ParameterizedTest
    @CsvSource({"commit, replayed, 1", "rollback, granted, 4"})
    void settleAgainstRelease(String how, String first, long used) throws Exception {
        start(SINGLE);
        OperationId hold = hold(4);
        hold(5);
        sessions.one().release(hold);
        var waiting = sessions.two(List.of(q -> q.settle(hold, Map.of("requests", 3L)),
                q -> q.record(ask(1))));
        end(how);
        assertThat(outcomes(waiting)).containsExactly(first, "granted");
        assertThat(counters()).containsExactly("acme " + used + " 5");
    }

    /** The same time to live, but more units. */
    @Test
    void settleAgainstExtend() throws Exception {
        start(SINGLE);
        OperationId hold = hold(6);
        hold(1);
        sessions.one().extend(hold, Map.of("requests", 2L), Duration.ofMinutes(1), null);
        var waiting = sessions.two(List.of(q -> q.settle(hold, Map.of("requests", 4L)),
                q -> q.record(ask(1))));
        sessions.commit();
        assertThat(outcomes(waiting)).containsExactly("granted", "granted");
        assertThat(counters()).containsExactly("acme 5 1");
    }

    /** The same of a call by itself. */
    @Test
    void aSingleSettleAgainstExtend() throws Exception {
        start(SINGLE);
        OperationId hold = hold(6);
        hold(1);
        sessions.one().extend(hold, Map.of("requests", 2L), Duration.ofMinutes(1), null);
        var waiting = sessions.two(q -> q.settle(hold, Map.of("requests", 4L)));
        sessions.commit();
        waiting.answer();
        assertThat(counters()).containsExactly("acme 4 1");
    }

    @Test
    void refundAgainstRefund() throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(4));
        OperationId operation = world.quotas().consume(ask(5)).orThrow().operation();
        sessions.one().refund(operation, Map.of("requests", 3L), null);
        var waiting = sessions.two(List.of(q -> q.refund(operation, Map.of("requests", 3L), null),
                q -> q.record(ask(1))));
        sessions.commit();
        assertThat(outcomes(waiting)).containsExactly("refundtoolarge", "granted");
        assertThat(counters()).containsExactly("acme 7 0");
    }

    /** What it sees is old, so a lock has to tell whether its denial still stands. */
    @Test
    void stricterCallerAndARelease() throws Exception {
        start(SINGLE);
        OperationId hold = hold(10);
        sessions.connection().setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        sessions.one().balances(Scope.of("acme"));
        world.quotas().release(hold);
        assertThatThrownBy(() -> sessions.one().consumeAll(List.of(ask(1), ask(2))))
                .isInstanceOf(QuotaException.RetryTransaction.class);
        sessions.rollback();
        assertThat(sessions.one().consumeAll(List.of(ask(1), ask(2))))
                .allMatch(Decision::isGranted);
    }

    /** It looked as if there was room, so windows were opened; then a rival has taken it. */
    @ParameterizedTest
    @CsvSource({"PT0S", "PT1H"})
    void windowsThatWereOpenedInVain(Duration later) throws Exception {
        start(SINGLE.per(Window.lifetime()), USER.per(Window.hour()));
        if (!later.isZero()) {
            world.quotas().consumeAll(List.of(ask("acme/a", 1), ask("acme/b", 1)));
        }
        world.later(later);
        List<String> before = world.rows("select scope, current from pgquota.counter "
                + "where scope <> 'acme' order by id");
        sessions.one().record(ask(9));
        var waiting = sessions.two(List.of(q -> q.consume(ask("acme/a", 2)),
                q -> q.consume(ask("acme/b", 3))));
        sessions.commit();
        assertThat(outcomes(waiting)).containsExactly("denied", "denied");
        assertThat(world.rows("select scope, current from pgquota.counter "
                + "where scope <> 'acme' order by id")).isEqualTo(before);
        world.quotas().record(ask("acme/b", 1));
    }

    /** The limit is lowered between the look that opened a window, and the one that charges it. */
    @Test
    void aWindowThatWasOpenedAsTheLimitWasLowered() throws Exception {
        start(SINGLE.per(Window.hour()));
        world.quotas().consume(ask(3));
        world.later(HOUR);
        world.execute("create function public.held_up() returns trigger language plpgsql as 'begin"
                + " perform pg_advisory_xact_lock_shared(1); return new; end'");
        world.execute("create trigger held_up before insert on pgquota.counter"
                + " for each row execute function public.held_up()");
        try (var statement = sessions.connection().createStatement()) {
            statement.execute("select pg_advisory_xact_lock(1)");
        }
        var waiting = sessions.two(q -> q.consume(ask(5)));
        world.plan("P", SINGLE.capacity(4).per(Window.hour()));
        sessions.commit();
        assertThat(waiting.answer().isGranted()).isFalse();
        assertThat(world.rows("select used, current from pgquota.counter"))
                .containsExactly("3 t");
        world.quotas().consume(ask(4)).orThrow();
        assertThat(counters()).containsExactly("acme 3 0", "acme 4 0");
    }
}
