package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.pgquota.internal.EngineList;
import java.sql.Statement;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/**
 * Locks are taken in one order. The first caller has a lock that comes first in it; the second one
 * waits for that lock, and has none that comes later: the first one can take it without a deadlock.
 */
class LockOrderTest {

    private static final Limit ORG =
            Limit.named("org").on("requests").capacity(30).per(Window.lifetime());
    private static final Limit TEAM = Limit.named("team").on("requests").level(1).capacity(10);
    private static final Limit LIMIT_A = Limit.named("a").capacity(9);
    private static final Limit LIMIT_B = Limit.named("b").capacity(9);
    private static final Duration HOUR = Duration.ofHours(1);

    private World world;
    private Sessions sessions;

    private void start(Limit... limits) throws Exception {
        world = World.with(limits).clock("2130-05-05T08:00:00Z");
        sessions = new Sessions(world);
    }

    @AfterEach
    void close() throws Exception {
        sessions.close();
        world.proof();
        world.close();
    }

    private static Request org() {
        return Request.of("acme").take("requests", 1);
    }

    private static Request team() {
        return Request.of("acme/a").take("requests", 1);
    }

    private List<String> counters() {
        return world.rows("select scope, meter, used, held from pgquota.counter "
                + "order by scope, meter, start_at");
    }

    @Test
    void ofASingleCall() throws Exception {
        start(TEAM, ORG);
        world.quotas().consume(team());
        sessions.one().consume(org());
        var waiting = sessions.two(q -> q.consume(team()));
        sessions.one().consume(team());
        sessions.commit();
        waiting.answer().orThrow();
        assertThat(counters()).containsExactly("acme requests 4 0", "acme/a requests 3 0");
    }

    @Test
    void ofAList() throws Exception {
        start(TEAM, ORG);
        world.quotas().consume(team());
        sessions.one().consume(org());
        var waiting = sessions.two(q -> q.consumeAll(List.of(team(), team())));
        sessions.one().consume(team());
        sessions.commit();
        assertThat(waiting.answer()).allMatch(Decision::isGranted);
        assertThat(counters()).containsExactly("acme requests 5 0", "acme/a requests 4 0");
    }

    /** A refund locks its counters before it looks. */
    @Test
    void ofWhatIsLockedFirst() throws Exception {
        start(TEAM, ORG);
        OperationId operation = world.quotas().consume(team()).orThrow().operation();
        sessions.one().consume(org());
        var waiting = sessions.two(q -> q.refund(operation, Map.of(), null));
        sessions.one().consume(team());
        sessions.commit();
        waiting.answer();
        assertThat(counters()).containsExactly("acme requests 2 0", "acme/a requests 1 0");
    }

    /** Both have to open windows: who was there first may go on. */
    @Test
    void ofFirstWindows() throws Exception {
        start(TEAM, ORG);
        sessions.one().consume(org());
        var waiting = sessions.two(q -> q.consume(team()));
        sessions.one().consume(team());
        sessions.commit();
        waiting.answer().orThrow();
        assertThat(counters()).containsExactly("acme requests 3 0", "acme/a requests 2 0");
    }

    /** A window is there already, the other has to be opened. */
    @Test
    void ofAFirstWindowBesideAnOpenOne() throws Exception {
        start(TEAM, ORG);
        world.quotas().consume(org());
        sessions.one().consume(org());
        var waiting = sessions.two(q -> q.consume(team()));
        sessions.one().consume(team());
        sessions.commit();
        waiting.answer().orThrow();
        assertThat(counters()).containsExactly("acme requests 4 0", "acme/a requests 2 0");
    }

    /** Who waits for a window that a rival opens has locked what comes before, open or not. */
    @Test
    void ofAnOpenWindowBeforeAFirstOne() throws Exception {
        start(LIMIT_A, LIMIT_B);
        Request a = Request.of("acme").take("a", 1);
        Request b = Request.of("acme").take("b", 1);
        world.quotas().consume(a);
        sessions.one().consume(b);
        var opening = sessions.two(q -> q.consume(a.take("b", 1)));
        try (Sessions others = new Sessions(world)) {
            var waiting = others.two(q -> q.consume(a));
            sessions.commit();
            opening.answer().orThrow();
            waiting.answer().orThrow();
        }
        assertThat(counters()).containsExactly("acme a 3 0", "acme b 2 0");
    }

    /** A window is there, the other has ended: it is closed under its lock, as all others are. */
    @Test
    void ofALaterWindowBesideAnOpenOne() throws Exception {
        start(TEAM.per(Window.hour()), ORG);
        world.quotas().consume(team());
        world.later(HOUR);
        sessions.one().consume(org());
        var waiting = sessions.two(q -> q.consume(team()));
        sessions.one().consume(team());
        sessions.commit();
        waiting.answer().orThrow();
        assertThat(counters()).containsExactly("acme requests 4 0", "acme/a requests 1 0",
                "acme/a requests 2 0");
    }

    /**
     * While a list waits for a window a rival opens the next one: that is locked before what comes
     * later. Another one has it already where it was not.
     */
    @Test
    void ofAWindowThatARivalOpens() throws Exception {
        start(ORG.per(Window.aligned(Duration.ofMinutes(1))), TEAM);
        world.quotas().consume(team());
        world.later(Duration.ofSeconds(55));
        sessions.one().consume(org());
        var waiting = sessions.two(q -> q.consumeAll(List.of(team(), team())));
        try (Sessions others = new Sessions(world);
                Statement statement = others.connection().createStatement()) {
            statement.execute("select from pgquota.counter where scope = 'acme/a' for update");
            world.later(Duration.ofSeconds(10));
            sessions.one().consume(org());
            sessions.commit();
            others.awaitBlocking();
            var later = others.two(q -> q.consume(team()));
            others.rollback();
            assertThat(waiting.answer()).allMatch(Decision::isGranted);
            later.answer().orThrow();
        }
        assertThat(counters()).containsExactly("acme requests 2 0", "acme requests 4 0",
                "acme/a requests 4 0");
    }

    @Test
    void ofKeys() throws Exception {
        start(TEAM);
        Request a = Request.of("acme/a").take("requests", 1);
        Request b = Request.of("acme/b").take("requests", 1);
        Request c = Request.of("acme/c").take("requests", 1);
        Request d = Request.of("acme/d").take("requests", 1);
        world.quotas().consumeAll(List.of(a, b, c, d));
        sessions.one().consume(a.key("1"));
        var waiting = sessions.two(q -> q.consumeAll(List.of(c.key("2"), d.key("1"))));
        sessions.one().consume(b.key("2"));
        sessions.commit();
        assertThatThrownBy(waiting::answer)
                .isInstanceOfSatisfying(QuotaException.Partial.class, e -> assertThat(e.outcomes())
                        .hasSize(2).allMatch(QuotaException.KeyConflict.class::isInstance));
        assertThat(counters()).containsExactly("acme/a requests 2 0", "acme/b requests 2 0",
                "acme/c requests 1 0", "acme/d requests 1 0");
    }

    private OperationId hold(Request request, Duration ttl) {
        OperationId hold = world.quotas().reserve(request, ttl).orThrow().operation();
        world.later(Duration.ofMillis(1)); // so that the next one's id comes after it
        return hold;
    }

    /** No counter's lock stands for theirs. */
    @Test
    void ofHoldsThatNothingCounts() throws Exception {
        start(Limit.named("idle").on("requests").capacity(10).mode(Limit.Mode.OFF));
        OperationId first = hold(org(), HOUR);
        OperationId second = hold(org(), HOUR);
        sessions.one().release(first);
        var waiting = sessions.two(List.of(q -> q.release(second), q -> q.release(first)));
        sessions.one().release(second);
        sessions.commit();
        assertThat(waiting.answer()).hasSize(2).allMatch(
                answer -> answer instanceof Granted granted && granted.replayed());
    }

    /** Its row is locked before the look, so that an end that others are writing is seen. */
    @Test
    void ofAnExtensionOfWhatNothingCounts() throws Exception {
        start(Limit.named("idle").on("requests").capacity(10).mode(Limit.Mode.OFF));
        OperationId hold = hold(org(), HOUR);
        sessions.one().settle(hold, Map.of());
        var waiting = sessions.two(q -> q.extend(hold, Map.of(), HOUR, null));
        sessions.commit();
        assertThatThrownBy(waiting::answer).isInstanceOf(QuotaException.HoldEnded.class);
        assertThat(world.rows("select state from pgquota.hold")).containsExactly("settled");
    }

    /** That its time is over is looked at again under locks: here there are none to take. */
    @Test
    void ofAnExtensionOfWhatNothingCountsBesideAFirstWindow() throws Exception {
        start(Limit.named("idle").on("requests").capacity(10).mode(Limit.Mode.OFF), LIMIT_A);
        OperationId hold = hold(org(), HOUR);
        world.later(HOUR);
        try (Statement statement = sessions.connection().createStatement()) {
            statement.execute("set statement_timeout = '20 s'");
        }
        List<Object> answers = EngineList.decide(sessions.connection(), List.of(
                q -> q.extend(hold, Map.of(), HOUR, null),
                q -> q.consume(Request.of("acme").take("a", 1))), false);
        assertThat(answers.get(0)).isInstanceOf(QuotaException.HoldEnded.class);
        assertThat(answers.get(1)).isInstanceOf(Granted.class);
        sessions.commit();
    }

    /** The window is opened first, as its counter comes first. */
    @Test
    void ofAnExtensionBesideAFirstWindow() throws Exception {
        start(LIMIT_A, LIMIT_B);
        Request a = Request.of("acme").take("a", 1);
        Request b = Request.of("acme").take("b", 1);
        OperationId hold = hold(b, HOUR);
        world.later(HOUR);
        sessions.one().consume(a);
        var waiting = sessions.two(List.of(q -> q.extend(hold, Map.of(), HOUR, null),
                q -> q.consume(a)));
        sessions.one().consume(b);
        sessions.commit();
        assertThat(waiting.answer().get(0)).isInstanceOf(QuotaException.HoldEnded.class);
        assertThat(waiting.answer().get(1)).isInstanceOf(Granted.class);
        assertThat(counters()).containsExactly("acme a 2 0", "acme b 1 0");
    }

    /** A hold that has ended has no meters to be asked for. */
    @Test
    void ofAnExpiredHoldAndAMeterThatItHasNot() throws Exception {
        start(LIMIT_A, LIMIT_B);
        OperationId hold = hold(Request.of("acme").take("a", 1), HOUR);
        world.later(HOUR);
        assertThatThrownBy(() -> world.quotas().extend(hold, Map.of("b", 1L), HOUR, null))
                .isInstanceOf(QuotaException.HoldEnded.class);
    }

    /** Each on two counters, whose other one somebody has. */
    @Test
    void ofHoldsThatHaveExpired() throws Exception {
        start(LIMIT_A, LIMIT_B, Limit.named("c").capacity(9));
        Request both = Request.of("acme").take("b", 1);
        hold(both.take("a", 1), HOUR);
        hold(both.take("c", 1), HOUR);
        world.later(HOUR);
        sessions.one().consume(Request.of("acme").take("a", 1));
        var waiting = sessions.two(q -> q.consume(both));
        sessions.one().consume(Request.of("acme").take("c", 1));
        sessions.commit();
        waiting.answer().orThrow();
        assertThat(counters()).containsExactly("acme a 1 0", "acme b 1 0", "acme c 1 0");
    }

    /** Holds are looked at under the counter's lock. */
    @Test
    void ofACounterAndItsHolds() throws Exception {
        start(ORG);
        hold(org(), HOUR);
        sessions.one().consume(org());
        world.later(HOUR);
        var waiting = sessions.two(q -> q.consume(org()));
        sessions.one().consume(org());
        sessions.commit();
        waiting.answer().orThrow();
        assertThat(counters()).containsExactly("acme requests 3 0");
    }
}
