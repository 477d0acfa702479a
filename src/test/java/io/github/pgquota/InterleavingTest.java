package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.Statement;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Two callers whose steps interleave: the first holds its transaction open, the second is seen
 * waiting for it, the first commits or rolls back. Each test is a way in which plain SQL goes
 * wrong.
 */
class InterleavingTest {

    private static final Limit SINGLE = Limit.named("messages").on("requests").capacity(10);
    private static final Limit ORG = Limit.named("org").on("requests").capacity(30);
    private static final Limit TEAM = Limit.named("team").on("requests").level(1).capacity(10);
    private static final Limit USER = Limit.named("user").on("requests").level(2).capacity(5);
    private static final Duration HOUR = Duration.ofHours(1);
    private static final Instant EIGHT = Instant.parse("2130-05-05T08:00:00Z");

    private World world;
    private Sessions sessions;

    @AfterEach
    void close() throws Exception {
        sessions.close();
        world.proof();
        world.close();
    }

    private void start(Limit... limits) throws Exception {
        world = World.create();
        publish(limits);
        world.tenant("acme", "P");
        sessions = new Sessions(world);
    }

    /** The clock stands still at 08:00. */
    private void startAtEight(Limit... limits) throws Exception {
        start(limits);
        world.clock(EIGHT.toString());
    }

    /** The plan's next version. */
    private void publish(Limit... limits) {
        world.quotas().plans().publish(new Plan("P", List.of(limits)));
    }

    private static Request ask(long requests) {
        return ask("acme/a/u", requests);
    }

    private static Request ask(String scope, long requests) {
        return Request.of(scope).take("requests", requests);
    }

    private List<String> counters() {
        return world.rows("select scope, used, held from pgquota.counter order by scope, start_at");
    }

    /** Commits or rolls back the first session. */
    private void end(String how) throws Exception {
        if (how.equals("commit")) {
            sessions.commit();
        } else {
            sessions.rollback();
        }
    }

    private static void assertGranted(Decision decision, boolean granted) {
        assertThat(decision.isGranted()).as("%s", decision).isEqualTo(granted);
    }

    // One counter

    @ParameterizedTest
    @CsvSource({"commit, false", "rollback, true"})
    void lastUnit(String how, boolean second) throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(9));
        assertGranted(sessions.one().consume(ask(1)), true);
        var waiting = sessions.two(q -> q.consume(ask(1)));
        end(how);
        assertGranted(waiting.answer(), second);
        assertThat(counters()).containsExactly("acme 10 0");
    }

    /** A limit that counts nothing has no counter, whose lock would stand for the hold's. */
    @Test
    void endsOfAHoldWithoutCounters() throws Exception {
        start(Limit.named("idle").on("requests").capacity(10).mode(Limit.Mode.OFF));
        OperationId hold = world.quotas().reserve(ask(4), HOUR).orThrow().operation();
        sessions.one().settle(hold, Map.of());
        var waiting = sessions.two(q -> q.release(hold));
        sessions.commit();
        assertThat(waiting.answer().hold().orElseThrow().state()).isEqualTo(Hold.State.SETTLED);
        assertThat(waiting.answer().replayed()).isTrue();
    }

    /** What the second takes back leaves no trace: the other hold still expires. */
    @Test
    void settleOfAHoldThatEndsWhileAnotherIsOpen() throws Exception {
        startAtEight(SINGLE);
        Duration minute = Duration.ofMinutes(1);
        OperationId first = world.quotas().reserve(ask(4), minute).orThrow().operation();
        world.quotas().reserve(ask(4), minute).orThrow();
        sessions.one().release(first);
        var waiting = sessions.two(q -> q.settle(first, Map.of("requests", 3L)));
        sessions.commit();
        assertThat(waiting.answer().replayed()).isTrue();
        assertThat(waiting.answer().hold().orElseThrow().state()).isEqualTo(Hold.State.RELEASED);
        assertThat(counters()).containsExactly("acme 0 4");
        world.proof();
        world.later(minute);
        assertGranted(world.quotas().consume(ask(10)), true);
    }

    @ParameterizedTest
    @CsvSource({"commit, false", "rollback, true"})
    void firstCallOfAScope(String how, boolean second) throws Exception {
        start(SINGLE);
        assertGranted(sessions.one().consume(ask(10)), true);
        var waiting = sessions.two(q -> q.consume(ask(10)));
        end(how);
        assertGranted(waiting.answer(), second);
        assertThat(counters()).containsExactly("acme 10 0");
    }

    @Test
    void limitRaisedWhileWaiting() throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(9));
        sessions.one().consume(ask(1));
        var waiting = sessions.two(q -> q.consume(ask(1)));
        publish(SINGLE.capacity(20));
        sessions.commit();
        assertGranted(waiting.answer(), true);
        assertThat(counters()).containsExactly("acme 11 0");
    }

    @Test
    void boostedWhileWaiting() throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(9));
        sessions.one().consume(ask(1));
        var waiting = sessions.two(q -> q.consume(ask(1)));
        world.quotas().plans().boost(Scope.of("acme"), "messages", 5, world.now(), null, "a gift");
        sessions.commit();
        assertGranted(waiting.answer(), true);
        assertThat(counters()).containsExactly("acme 11 0");
    }

    /** A call that began before the change may obey the old limit, but never passes it. */
    @Test
    void limitLoweredWhileWaiting() throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(8));
        sessions.one().consume(ask(1));
        var waiting = sessions.two(q -> q.consume(ask(1)));
        publish(SINGLE.capacity(9));
        sessions.commit();
        boolean granted = waiting.answer().isGranted();
        assertThat(counters()).containsExactly("acme " + (granted ? 10 : 9) + " 0");
        assertGranted(world.quotas().consume(ask(1)), false);
    }

    @Test
    void planMovedWhileWaiting() throws Exception {
        start(SINGLE);
        world.quotas().plans().publish(
                Plan.named("Q").limit(Limit.named("more").on("requests").capacity(100)));
        world.quotas().consume(ask(9));
        sessions.one().consume(ask(1));
        var waiting = sessions.two(q -> q.consume(ask(1)));
        world.tenant("acme", "Q");
        sessions.commit();
        Decision second = waiting.answer();
        assertGranted(second, true);
        assertThat(second.limits()).singleElement()
                .satisfies(v -> assertThat(v.balance().limit()).isEqualTo("more"));
        assertThat(counters()).containsExactly("acme 11 0");
    }

    // Several counters

    /** By bytes "Tokens" comes first, and so it does for all, whatever the database sorts by. */
    @Test
    void oneOrderOfLocksInADatabaseThatSortsOtherwise() throws Exception {
        start(SINGLE, Limit.named("tokens").on("Tokens").capacity(100));
        Request both = ask(1).take("Tokens", 1);
        world.quotas().consume(both);
        sessions.one().consume(Request.of("acme").take("Tokens", 1));
        var waiting = sessions.two(q -> q.consume(both));
        sessions.one().consume(ask(1)); // not locked by the one who waits
        sessions.commit();
        assertGranted(waiting.answer(), true);
        assertThat(counters()).containsExactly("acme 3 0", "acme 3 0");
    }

    /** The one who opens a window has locked, or waits for, the older counter first. */
    @Test
    void firstWindowOfOneOfSeveral() throws Exception {
        start(ORG, TEAM);
        world.quotas().consume(ask("acme", 1));
        sessions.one().consume(ask("acme", 1));
        var waiting = sessions.two(q -> q.consume(ask("acme/a", 1)));
        assertGranted(sessions.one().consume(ask("acme/a", 1)), true);
        sessions.commit();
        assertGranted(waiting.answer(), true);
        assertThat(counters()).containsExactly("acme 4 0", "acme/a 2 0");
    }

    @Test
    void limitLoweredWhileWaitingForSeveral() throws Exception {
        start(ORG, TEAM, USER);
        world.quotas().consume(ask(2));
        sessions.one().consume(ask(1));
        var waiting = sessions.two(q -> q.consume(ask(1)));
        publish(ORG, TEAM, USER.capacity(3));
        sessions.commit();
        int used = waiting.answer().isGranted() ? 4 : 3;
        assertThat(counters()).containsExactly(
                "acme " + used + " 0", "acme/a " + used + " 0", "acme/a/u " + used + " 0");
        assertGranted(world.quotas().consume(ask(1)), false);
    }

    @ParameterizedTest
    @CsvSource({"commit, false", "rollback, true"})
    void allOrNothing(String how, boolean second) throws Exception {
        start(ORG, TEAM, USER);
        world.quotas().consume(ask("acme/a/u", 5));
        world.quotas().consume(ask("acme/a/v", 4));
        world.quotas().consume(ask("acme/b/w", 1));
        sessions.one().consume(ask("acme/a/v", 1));
        var waiting = sessions.two(q -> q.consume(ask("acme/a/x", 1)));
        end(how);
        Decision answer = waiting.answer();
        assertGranted(answer, second);
        if (answer instanceof Denied denied) {
            assertThat(denied.refusing()).extracting(v -> v.balance().limit())
                    .containsExactly("team");
            assertThat(counters()).contains("acme 11 0", "acme/a 10 0")
                    .doesNotContain("acme/a/x 1 0");
        } else {
            assertThat(counters()).contains("acme 11 0", "acme/a 10 0", "acme/a/x 1 0");
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"commit", "rollback"})
    void rowsThatTheHolderInserted(String how) throws Exception {
        start(ORG, TEAM, USER);
        sessions.one().consume(ask("acme/a/u", 1));
        var waiting = sessions.two(q -> q.consume(ask("acme/a/v", 2)));
        end(how);
        assertGranted(waiting.answer(), true);
        assertThat(counters()).isEqualTo(how.equals("commit")
                ? List.of("acme 3 0", "acme/a 3 0", "acme/a/u 1 0", "acme/a/v 2 0")
                : List.of("acme 2 0", "acme/a 2 0", "acme/a/v 2 0"));
    }

    @Test
    void rowsThatTheHolderInsertedAndFilled() throws Exception {
        start(ORG, TEAM.capacity(1), USER);
        sessions.one().consume(ask("acme/a/u", 1));
        var waiting = sessions.two(q -> q.consume(ask("acme/a/v", 1)));
        sessions.commit();
        assertThat(((Denied) waiting.answer()).refusing())
                .extracting(v -> v.balance().limit()).containsExactly("team");
        assertThat(counters()).contains("acme 1 0", "acme/a 1 0", "acme/a/u 1 0");
        assertThat(world.count("select coalesce(sum(used), 0) from pgquota.counter where scope = "
                + "'acme/a/v'"))
                .isZero();
    }

    @Test
    void listsInOppositeOrder() throws Exception {
        start(USER);
        List<Request> there = List.of(ask("acme/a/u", 1), ask("acme/b/v", 1), ask("acme/c/w", 1));
        List<Request> back = List.of(there.get(2), there.get(1), there.get(0));
        sessions.one().consumeAll(there);
        var waiting = sessions.two(q -> q.consumeAll(back));
        sessions.commit();
        assertThat(waiting.answer()).allMatch(Decision::isGranted);
        assertThat(counters()).containsExactly("acme/a/u 2 0", "acme/b/v 2 0", "acme/c/w 2 0");
    }

    /** A denial, and how much was left, are as true as what the list took before them. */
    @ParameterizedTest
    @CsvSource({"commit, true", "rollback, false"})
    void listWhileSomethingIsGivenBack(String how, boolean second) throws Exception {
        start(USER);
        OperationId first = world.quotas().consume(ask(3)).orThrow().operation();
        sessions.one().refund(first, Map.of(), null);
        var waiting = sessions.two(q -> q.consumeAll(List.of(ask(2), ask(2))));
        end(how);
        List<Decision> answers = waiting.answer();
        assertGranted(answers.get(0), true);
        assertGranted(answers.get(1), second);
        assertThat(counters()).containsExactly(second ? "acme/a/u 4 0" : "acme/a/u 5 0");
        assertThat(answers.get(1).limits().get(0).balance().used()).isEqualTo(second ? 4 : 5);
    }

    @Test
    void upToWhileSomethingIsGivenBack() throws Exception {
        start(USER);
        OperationId first = world.quotas().consume(ask(3)).orThrow().operation();
        sessions.one().refund(first, Map.of(), null);
        var waiting = sessions.two(q -> q.consumeUpTo(ask(4)));
        sessions.commit();
        assertThat(waiting.answer().granted()).isEqualTo(Map.of("requests", 4L));
        assertThat(counters()).containsExactly("acme/a/u 4 0");
    }

    // Windows

    @ParameterizedTest
    @ValueSource(strings = {"commit", "rollback"})
    void firstCallersOfANewWindow(String how) throws Exception {
        startAtEight(SINGLE.per(Window.hour()));
        world.quotas().consume(ask(10));
        world.later(HOUR);
        sessions.one().consume(ask(4));
        var waiting = sessions.two(q -> q.consume(ask(5)));
        end(how);
        assertGranted(waiting.answer(), true);
        assertThat(counters())
                .containsExactly("acme 10 0", how.equals("commit") ? "acme 9 0" : "acme 5 0");
        assertThat(world.rows("select used from pgquota.counter where current")).hasSize(1);
    }

    @Test
    void windowThatEndsWhileWaiting() throws Exception {
        startAtEight(SINGLE.per(Window.hour()));
        world.quotas().consume(ask(3));
        sessions.one().consume(ask(1));
        var waiting = sessions.two(q -> q.consume(ask(1)));
        world.later(HOUR);
        sessions.commit();
        Decision second = waiting.answer();
        assertGranted(second, true);
        assertThat(second.limits().get(0).balance().startOrNull()).isEqualTo(EIGHT.plus(HOUR));
        assertThat(counters()).containsExactly("acme 4 0", "acme 1 0");
    }

    @Test
    void windowThatEndsWhileAListWaits() throws Exception {
        startAtEight(SINGLE.per(Window.hour()),
                Limit.named("tokens").on("tokens").per(Window.lifetime()));
        Request tokens = Request.of("acme").take("tokens", 0);
        world.quotas().consumeAll(List.of(ask(3), tokens));
        sessions.one().consume(ask(1));
        var waiting = sessions.two(q -> q.consumeAll(List.of(ask(1), tokens)));
        world.later(HOUR);
        sessions.commit();
        assertThat(waiting.answer()).allMatch(Decision::isGranted)
                .extracting(d -> d.limits().get(0).balance().startOrNull())
                .containsExactly(EIGHT.plus(HOUR), null);
        assertThat(counters()).containsExactly("acme 0 0", "acme 4 0", "acme 1 0");
    }

    /** The one who waits has read an old clock, from before the holder opened the new window. */
    @Test
    void clockThatStepsBackWhileANewWindowIsOpened() throws Exception {
        startAtEight(SINGLE.per(Window.hour()));
        world.quotas().consume(ask(10));
        world.later(HOUR);
        sessions.one().consume(ask(3));
        world.later(Duration.ofMinutes(-1));
        // the old window is full, so that the second asks for a record to wait for it at all
        var waiting = sessions.two(q -> q.record(ask(2)));
        sessions.commit();
        Granted second = waiting.answer();
        assertThat(second.at()).isEqualTo(EIGHT.plus(HOUR));
        assertThat(counters()).containsExactly("acme 10 0", "acme 5 0");
    }

    @Test
    void clockThatStepsBackDoesNotReopenAWindow() throws Exception {
        startAtEight(SINGLE.per(Window.hour()));
        world.quotas().consume(ask(1));
        world.later(HOUR);
        world.quotas().consume(ask(10));
        world.later(HOUR.negated());
        assertGranted(world.quotas().consume(ask(1)), false);
        assertThat(counters()).containsExactly("acme 1 0", "acme 10 0");
    }

    /** A counter whose last operation was later, by a clock that has stepped back since. */
    @Test
    void oneTimeForAllCountersOfACall() throws Exception {
        startAtEight(Limit.named("a").capacity(9), Limit.named("b").capacity(9));
        Request a = Request.of("acme").take("a", 1);
        Request b = Request.of("acme").take("b", 1);
        world.quotas().consumeAll(List.of(a, b));
        world.later(Duration.ofMinutes(2));
        world.quotas().consume(b);
        world.later(Duration.ofMinutes(-1));
        Decision both = world.quotas().consume(a.take("b", 1));
        assertThat(both.at()).isEqualTo(EIGHT.plusSeconds(120));
        assertThat(world.rows("select distinct at from pgquota.ledger where operation = ?",
                both.orThrow().operation().uuid())).hasSize(1);
        world.quotas().consume(a); // is later than that, says the proof
    }

    // Keys

    @ParameterizedTest
    @ValueSource(strings = {"commit", "rollback"})
    void duplicate(String how) throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(1));
        Granted first = sessions.one().consume(ask(3).key("k")).orThrow();
        var waiting = sessions.two(q -> q.consume(ask(3).key("k")).orThrow());
        end(how);
        Granted second = waiting.answer();
        assertThat(second.replayed()).isEqualTo(how.equals("commit"));
        assertThat(second.operation().equals(first.operation())).isEqualTo(how.equals("commit"));
        assertThat(counters()).containsExactly("acme 4 0");
    }

    /** The first answer fills the counter: its duplicate must not be told that there is no room. */
    @Test
    void duplicateOfTheOneWhoTookTheLast() throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(1));
        Granted first = sessions.one().consume(ask(9).key("k")).orThrow();
        var waiting = sessions.two(q -> q.consume(ask(9).key("k")).orThrow());
        sessions.commit();
        assertThat(waiting.answer().operation()).isEqualTo(first.operation());
        assertThat(counters()).containsExactly("acme 10 0");
    }

    @Test
    void duplicateOfADeniedOne() throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(8));
        assertGranted(sessions.one().consume(ask(3).key("k")), false);
        assertGranted(world.quotas().consume(ask(2).key("k")), true);
        assertThatThrownBy(() -> sessions.one().consume(ask(3).key("k")))
                .isInstanceOfSatisfying(QuotaException.KeyConflict.class,
                        e -> assertThat(e.field()).isEqualTo("amounts"));
        assertThat(counters()).containsExactly("acme 10 0");
    }

    @ParameterizedTest
    @CsvSource({"acme/a/u, 2, amounts", "acme/b/v, 1, scope"})
    void otherRequestUnderTheKey(String scope, long requests, String field) throws Exception {
        start(USER);
        world.quotas().consumeAll(List.of(ask("acme/a/u", 1), ask("acme/b/v", 1)));
        sessions.one().consume(ask("acme/a/u", 1).key("k"));
        var waiting = sessions.two(q -> q.consume(ask(scope, requests).key("k")));
        sessions.commit();
        assertThatThrownBy(waiting::answer).isInstanceOfSatisfying(QuotaException.KeyConflict.class,
                e -> assertThat(e.field()).isEqualTo(field));
        assertThat(counters()).containsExactly("acme/a/u 2 0", "acme/b/v 1 0");
    }

    // Holds and refunds

    private OperationId hold(long requests, Duration ttl) {
        return world.quotas().reserve(ask(requests), ttl).orThrow().operation();
    }

    @ParameterizedTest
    @CsvSource({"commit, 3, true", "rollback, 5, false"})
    void settleAgainstSettle(String how, long used, boolean replayed) throws Exception {
        start(SINGLE);
        OperationId hold = hold(6, HOUR);
        sessions.one().settle(hold, Map.of("requests", 3L));
        var waiting = sessions.two(q -> q.settle(hold, Map.of("requests", 5L)));
        end(how);
        assertThat(waiting.answer().granted()).isEqualTo(Map.of("requests", used));
        assertThat(waiting.answer().replayed()).isEqualTo(replayed);
        assertThat(counters()).containsExactly("acme " + used + " 0");
    }

    @ParameterizedTest
    @CsvSource({"commit, 0, RELEASED", "rollback, 6, SETTLED"})
    void settleAgainstRelease(String how, long used, Hold.State state) throws Exception {
        start(SINGLE);
        OperationId hold = hold(6, HOUR);
        sessions.one().release(hold);
        var waiting = sessions.two(q -> q.settle(hold, Map.of()));
        end(how);
        assertThat(waiting.answer().hold().orElseThrow().state()).isEqualTo(state);
        assertThat(counters()).containsExactly("acme " + used + " 0");
    }

    /** A call that needs the room of an expired hold ends it while its settlement comes in. */
    @ParameterizedTest
    @CsvSource({"commit, 16, 6", "rollback, 6, 0"})
    void settleAgainstTheEndOfAnExpiredHold(String how, long used, long overage) throws Exception {
        startAtEight(SINGLE);
        OperationId hold = hold(6, HOUR);
        world.later(HOUR);
        assertGranted(sessions.one().consume(ask(10)), true);
        var waiting = sessions.two(q -> q.settle(hold, Map.of()));
        end(how);
        Granted late = waiting.answer();
        assertThat(late.late()).isTrue();
        assertThat(late.overage()).isEqualTo(overage);
        assertThat(counters()).containsExactly("acme " + used + " 0");
    }

    /** The hold expires while its settlement is under way: its units come back once. */
    @ParameterizedTest
    @CsvSource({"commit, 6, false", "rollback, 6, true"})
    void expiryAgainstSettle(String how, long asked, boolean second) throws Exception {
        startAtEight(SINGLE);
        OperationId hold = hold(6, HOUR);
        sessions.one().settle(hold, Map.of());
        world.later(HOUR);
        var waiting = sessions.two(q -> q.consume(ask(asked)));
        end(how);
        assertGranted(waiting.answer(), second);
        assertThat(counters()).containsExactly("acme 6 0");
    }

    @Test
    void expiredHoldIsGivenBackOnceToTwo() throws Exception {
        startAtEight(SINGLE);
        world.quotas().consume(ask(4));
        hold(6, HOUR);
        world.later(HOUR);
        assertGranted(sessions.one().consume(ask(3)), true);
        var waiting = sessions.two(q -> q.consume(ask(4)));
        sessions.commit();
        assertGranted(waiting.answer(), false);
        assertThat(counters()).containsExactly("acme 7 0");
        assertThat(world.rows("select state from pgquota.hold")).containsExactly("expired");
    }

    @Test
    void extendAgainstExpiry() throws Exception {
        startAtEight(SINGLE);
        world.quotas().consume(ask(1));
        OperationId hold = hold(6, HOUR);
        sessions.one().consume(ask(1));
        var waiting = sessions.two(q -> q.extend(hold, Map.of("requests", 1L), HOUR, null));
        world.later(HOUR);
        sessions.commit();
        assertThatThrownBy(waiting::answer).isInstanceOfSatisfying(QuotaException.HoldEnded.class,
                e -> assertThat(e.state()).isEqualTo(Hold.State.EXPIRED));
        assertThat(world.quotas().balances(Scope.of("acme")).get(0).remaining()).hasValue(8);
        world.quotas().consume(ask(8)).orThrow();
        assertThat(counters()).containsExactly("acme 10 0");
    }

    /** That its time is over is not told while somebody is giving it more. */
    @Test
    void extendAgainstExtend() throws Exception {
        startAtEight(SINGLE);
        OperationId hold = hold(6, HOUR);
        sessions.one().extend(hold, Map.of("requests", 1L), HOUR.plusMinutes(5), null);
        world.later(HOUR);
        var waiting = sessions.two(q -> q.extend(hold, Map.of("requests", 1L), HOUR, null));
        sessions.commit();
        assertThat(waiting.answer()).isInstanceOf(Granted.class);
        assertThat(counters()).containsExactly("acme 0 8");
    }

    /** Extended in time, though not committed yet when it would have expired. */
    @ParameterizedTest
    @CsvSource({"commit, false", "rollback, true"})
    void expiryAgainstExtend(String how, boolean second) throws Exception {
        startAtEight(SINGLE);
        OperationId hold = hold(6, HOUR);
        world.later(HOUR.minusSeconds(1));
        sessions.one().extend(hold, Map.of("requests", 1L), HOUR, null);
        world.later(Duration.ofSeconds(1));
        var waiting = sessions.two(q -> q.consume(ask(5)));
        end(how);
        assertGranted(waiting.answer(), second);
        assertThat(counters()).containsExactly(second ? "acme 5 0" : "acme 0 7");
    }

    @ParameterizedTest
    @CsvSource({"commit, 3", "rollback, 0"})
    void refundAgainstRefund(String how, long given) throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(4)); // so that it is not the counter that runs out
        OperationId operation = world.quotas().consume(ask(5)).orThrow().operation();
        Map<String, Long> three = Map.of("requests", 3L);
        sessions.one().refund(operation, three, null);
        var waiting = sessions.two(q -> q.refund(operation, three, null));
        end(how);
        if (given > 0) {
            assertThatThrownBy(waiting::answer).isInstanceOfSatisfying(
                    QuotaException.RefundTooLarge.class, e -> assertThat(e.refundable())
                    .isEqualTo(2));
        } else {
            assertThat(waiting.answer().granted()).isEqualTo(three);
        }
        assertThat(counters()).containsExactly("acme 6 0");
    }

    // Callers that look through a snapshot

    private void snapshot(int isolation) throws Exception {
        Connection connection = sessions.connection();
        connection.setTransactionIsolation(isolation);
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("select count(*) from pgquota.counter")) {
            assertThat(rows.next()).isTrue();
        }
    }

    private void assertRetry(Request request) throws Exception {
        List<String> before = world.written();
        assertThatThrownBy(() -> sessions.one().consume(request))
                .isInstanceOfSatisfying(QuotaException.RetryTransaction.class,
                        e -> assertThat(e.sqlState()).isEqualTo("40001"));
        sessions.rollback();
        assertThat(world.written()).isEqualTo(before);
        assertGranted(sessions.one().consume(request), true);
        sessions.rollback();
    }

    @ParameterizedTest
    @ValueSource(ints = {Connection.TRANSACTION_REPEATABLE_READ,
            Connection.TRANSACTION_SERIALIZABLE})
    void stricterCallerAndAnUpdate(int isolation) throws Exception {
        start(SINGLE);
        world.quotas().consume(ask(1));
        snapshot(isolation);
        world.quotas().consume(ask(1));
        assertRetry(ask(1));
    }

    @ParameterizedTest
    @ValueSource(ints = {Connection.TRANSACTION_REPEATABLE_READ,
            Connection.TRANSACTION_SERIALIZABLE})
    void stricterCallerAndAFirstInsert(int isolation) throws Exception {
        start(SINGLE);
        snapshot(isolation);
        world.quotas().consume(ask(1));
        assertRetry(ask(1));
    }

    @ParameterizedTest
    @ValueSource(ints = {Connection.TRANSACTION_REPEATABLE_READ,
            Connection.TRANSACTION_SERIALIZABLE})
    void stricterCallerAndARelease(int isolation) throws Exception {
        start(SINGLE);
        OperationId hold = hold(10, HOUR);
        snapshot(isolation);
        world.quotas().release(hold);
        assertRetry(ask(1));
    }

    @ParameterizedTest
    @ValueSource(ints = {Connection.TRANSACTION_REPEATABLE_READ,
            Connection.TRANSACTION_SERIALIZABLE})
    void stricterCallerAndADuplicate(int isolation) throws Exception {
        start(USER);
        world.quotas().consumeAll(List.of(ask("acme/a/u", 1), ask("acme/b/v", 1)));
        snapshot(isolation);
        world.quotas().consume(ask(1).key("k"));
        assertThatThrownBy(() -> sessions.one().consume(ask("acme/b/v", 1).key("k")))
                .isInstanceOf(QuotaException.RetryTransaction.class);
        sessions.rollback();
        assertThat(counters()).containsExactly("acme/a/u 2 0", "acme/b/v 1 0");
    }

    @Test
    void savepointTakesItsChargeBack() throws Exception {
        start(SINGLE);
        sessions.one().consume(ask(1));
        var savepoint = sessions.connection().setSavepoint();
        assertGranted(sessions.one().consume(ask(9)), true);
        sessions.connection().rollback(savepoint);
        var waiting = sessions.two(q -> q.consume(ask(9)));
        sessions.commit();
        assertGranted(waiting.answer(), true);
        assertThat(counters()).containsExactly("acme 10 0");
    }
}
