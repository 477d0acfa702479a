package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.pgquota.tool.Proxy;
import java.sql.Connection;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.postgresql.ds.PGSimpleDataSource;

/** What is tried again, how often, and what the caller is told. The database has the last word. */
class RetryTest {

    private static final Request CALL = Request.of("acme").take("requests", 1);
    private static final Retry QUICK = Retry.standard()
            .waits(Duration.ofMillis(1), Duration.ofMillis(20));

    private final List<Retry.Attempt> attempts =
            Collections.synchronizedList(new ArrayList<>());
    private World world;
    private Proxy proxy;
    private Pools.Pool pool;
    private Quotas quotas;

    @BeforeEach
    void open() {
        world = World.with(
                Limit.named("requests").capacity(10).per(Window.month()).billed(true));
        proxy = Proxy.to(world.database().url());
        pool = Pools.create(proxy.url(world.database().url()), TestDatabase.server().user(),
                TestDatabase.server().password(), 1);
        quotas = Quotas.on(pool).timeouts(new Timeouts(Duration.ofMillis(500),
                Duration.ofSeconds(2), Duration.ofSeconds(3))).build();
    }

    /** That of the next call: first a call has its answer, or a log-in's would be lost. */
    private void loseAReply() {
        quotas.balances(CALL.scope());
        proxy.loseReplies(1);
    }

    private PGSimpleDataSource source() {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(proxy.url(world.database().url()));
        source.setUser(TestDatabase.server().user());
        source.setPassword(TestDatabase.server().password());
        return source;
    }

    @AfterEach
    void close() {
        quotas.close();
        pool.close();
        proxy.close();
        world.close();
    }

    private Operations retrying() {
        return quotas.retrying(QUICK.listener(attempts::add));
    }

    @Test
    void whatWasCertainlyNotAppliedIsTriedAgain() throws Exception {
        Thread opens;
        try (Connection locked = locked()) {
            opens = new Thread(() -> {
                Gate.await().until(() -> !attempts.isEmpty());
                rollback(locked);
            });
            opens.start();
            assertThat(retrying().consume(CALL).isGranted()).isTrue();
            opens.join();
        }
        assertThat(used()).isEqualTo(2);
        assertThat(attempts.get(0)).satisfies(first -> {
            assertThat(first.number()).isEqualTo(1);
            assertThat(first.verb() + " " + first.scope()).isEqualTo("consume acme");
            assertThat(first.failure()).isInstanceOf(QuotaException.Unavailable.class);
            assertThat(first.nextIn()).isBetween(Duration.ofNanos(1), Duration.ofMillis(20));
        });
    }

    @Test
    void aLostAnswerIsAskedForAgainByItsKeyAndChargedOnce() throws Exception {
        loseAReply();
        Granted granted = (Granted) retrying().consume(CALL.key("k"));
        assertThat(granted.replayed()).isTrue();
        assertThat(attempts).singleElement().matches(
                a -> a.failure() instanceof QuotaException.OutcomeUnknown);
        assertThat(used()).isEqualTo(1);
        assertThat(world.rows("select operation from pgquota.ledger"))
                .containsExactly(granted.operation().uuid().toString());
    }

    @Test
    void withoutAKeyALostAnswerIsToldAndNothingIsRepeated() throws Exception {
        loseAReply();
        assertThrows(QuotaException.OutcomeUnknown.class, () -> retrying().consume(CALL));
        assertThat(attempts).singleElement().matches(a -> a.number() == 1 && a.nextIn() == null);
        assertThat(used()).isEqualTo(1);

        loseAReply();
        assertThrows(QuotaException.OutcomeUnknown.class,
                () -> retrying().consumeAll(List.of(CALL.key("k"), CALL)));
        assertThat(used()).isEqualTo(3);
        loseAReply();
        assertThat(retrying().consumeAll(List.of(CALL.key("m"), CALL.key("n")))).hasSize(2);
        assertThat(used()).isEqualTo(5);
    }

    @Test
    void aHoldEndsOnceSoItsEndIsRepeatedWithoutAKey() throws Exception {
        OperationId hold = quotas.reserve(CALL, Duration.ofMinutes(1)).orThrow().operation();
        OperationId other = quotas.reserve(CALL, Duration.ofMinutes(1)).orThrow().operation();
        loseAReply();
        retrying().settle(hold, Map.of("requests", 3L));
        loseAReply();
        retrying().release(other);
        assertThat(attempts).hasSize(2);
        assertThat(world.rows("select used, held from pgquota.counter"))
                .containsExactly("3 0");

        OperationId charged = quotas.consume(CALL).orThrow().operation();
        loseAReply();
        assertThrows(QuotaException.OutcomeUnknown.class,
                () -> retrying().refund(charged, Map.of(), null));
        OperationId second = quotas.consume(CALL).orThrow().operation();
        loseAReply();
        retrying().refund(second, Map.of(), "r");
        assertThat(world.rows("select used, held from pgquota.counter"))
                .containsExactly("3 0");
    }

    @Test
    void attemptsAreBoundedInNumberAndTime() throws Exception {
        try (Connection locked = locked()) {
            Operations thrice = quotas.retrying(QUICK.attempts(3).listener(attempts::add));
            QuotaException e = assertThrows(QuotaException.Unavailable.class,
                    () -> thrice.consume(CALL));
            assertThat(e.getSuppressed()).hasSize(2)
                    .allMatch(other -> other instanceof QuotaException.Unavailable);
            assertThat(attempts).extracting(Retry.Attempt::number).containsExactly(1, 2, 3);
            attempts.clear();
            assertThrows(QuotaException.Unavailable.class, () -> quotas.retrying(
                    QUICK.within(Duration.ofMillis(700)).listener(attempts::add)).consume(CALL));
            assertThat(attempts.size()).isLessThan(4); // each waits 500 ms for the lock
            locked.rollback();
        }
        assertThat(used()).isEqualTo(1);
    }

    /** One attempt may have been applied: that another one was not does not tell. */
    @Test
    void whatMayHaveBeenAppliedStaysUnknown() throws Exception {
        quotas.consume(CALL).orThrow();
        loseAReply();
        QuotaException e = assertThrows(QuotaException.OutcomeUnknown.class,
                () -> quotas.retrying(QUICK.attempts(3).listener(attempt -> {
                    attempts.add(attempt);
                    proxy.close(); // from now on no connection can be had
                })).consume(CALL.key("k")));
        assertThat(attempts).extracting(a -> a.failure().getClass().getSimpleName())
                .containsExactly("OutcomeUnknown", "Unavailable", "OutcomeUnknown");
        assertThat(e.getSuppressed()).hasSize(2);
        assertThat(used()).isEqualTo(2);
    }

    @Test
    void soItDoesWhateverALaterAttemptIsRefusedFor() {
        quotas.consume(CALL).orThrow();
        loseAReply();
        QuotaException e = assertThrows(QuotaException.OutcomeUnknown.class,
                () -> quotas.retrying(QUICK.listener(attempt -> {
                    if (attempt.nextIn() != null) {
                        world.execute("alter schema pgquota rename to elsewhere");
                    }
                })).consume(CALL.key("k")));
        assertThat(e.getSuppressed()).singleElement()
                .isInstanceOf(QuotaException.SchemaMismatch.class);
        world.execute("alter schema elsewhere rename to pgquota");
        assertThat(used()).isEqualTo(2);
    }

    @Test
    void aListenerThatFailsChangesNothing() {
        loseAReply();
        assertThat(quotas.retrying(QUICK.listener(attempt -> {
            throw new IllegalStateException("mine");
        })).consume(CALL.key("k")).orThrow().replayed()).isTrue();
        assertThat(used()).isEqualTo(1);
    }

    /** It charges nothing, so nothing is under way that could. */
    @Test
    void aLookIsToldAtOnce() {
        loseAReply();
        assertThat(retrying().check(Request.of("acme").take("requests", 11)).isGranted()).isFalse();
        assertThat(attempts).hasSize(1);
    }

    /**
     * The lost attempt has found room and is held up before it takes it. Somebody else takes it, a
     * second attempt is denied, the room comes back, and the lost attempt takes it. Who was told
     * "denied" would have been charged.
     */
    @Test
    void aDenialIsNotTrustedWhileTheLostAttemptMayBeUnderWay() throws Exception {
        quotas.consume(Request.of("acme").take("requests", 9)).orThrow();
        world.execute("create function public.held_up() returns trigger language plpgsql as $$"
                + " begin if current_setting('application_name') = 'held up'"
                + " then perform pg_advisory_xact_lock(42); end if; return null; end $$");
        world.execute("create trigger held_up before update on pgquota.counter"
                + " for each statement execute function public.held_up()");
        PGSimpleDataSource source = source();
        source.setApplicationName("held up");
        try (Connection rival = world.database().connection();
                Statement sql = rival.createStatement();
                Quotas slow = Quotas.on(source).direct().timeouts(new Timeouts(
                        Duration.ofMillis(4_500), Duration.ofSeconds(5), Duration.ofSeconds(9)))
                        .build()) {
            sql.execute("select pg_advisory_lock(42)");
            CompletableFuture<Decision> call = CompletableFuture.supplyAsync(() ->
                    slow.retrying(QUICK.listener(attempts::add)).consume(CALL.key("k")));
            Gate.await().until(() -> world.count("select count(*) from pg_stat_activity"
                    + " where wait_event = 'advisory' and datname = current_database()") == 1);
            OperationId last = world.quotas().consume(CALL).orThrow().operation();
            proxy.cut();
            Gate.await().until(() -> attempts.size() == 2); // the second one was denied
            world.quotas().refund(last, Map.of(), null);
            sql.execute("select pg_advisory_unlock(42)");
            Granted granted = call.get(30, TimeUnit.SECONDS).orThrow();
            assertThat(granted.replayed()).isTrue();
            assertThat(world.rows("select used, (select count(*) from pgquota.operation_key)"
                    + " from pgquota.counter")).containsExactly("10 1");
        }
    }

    @Test
    void anInterruptEndsTheWait() throws Exception {
        try (Connection locked = locked()) {
            Thread.currentThread().interrupt();
            assertThrows(QuotaException.Withdrawn.class,
                    () -> quotas.retrying(Retry.standard().waits(Duration.ofSeconds(5),
                            Duration.ofSeconds(5))).consume(CALL));
            assertThat(Thread.interrupted()).isTrue();
            locked.rollback();
        }
        assertThat(used()).isEqualTo(1);
    }

    @Test
    void anInterruptBetweenAttemptsEndsThemAndStays() throws Exception {
        try (Connection locked = locked()) {
            assertThrows(QuotaException.Withdrawn.class, () -> quotas.retrying(QUICK.listener(
                    attempt -> {
                        if (attempt.nextIn() != null) {
                            Thread.currentThread().interrupt();
                        }
                    })).consume(CALL));
            assertThat(Thread.interrupted()).isTrue();
            locked.rollback();
        }
        assertThat(used()).isEqualTo(1);
    }

    @Test
    void waitsGrowUpToTheLongest() {
        pool.close(); // from now on no connection can be had
        assertThrows(QuotaException.Unavailable.class, () -> quotas.retrying(QUICK.attempts(12)
                .waits(Duration.ofMillis(1), Duration.ofMillis(2)).listener(attempts::add))
                .consume(CALL));
        assertThat(attempts).hasSize(12).allMatch(attempt -> attempt.nextIn() == null
                || attempt.nextIn().compareTo(Duration.ofMillis(2)) <= 0);
    }

    @Test
    void theFirstWaitsAreShort() {
        pool.close();
        assertThrows(QuotaException.Unavailable.class, () -> quotas.retrying(QUICK.attempts(4)
                .within(Duration.ofSeconds(2)).waits(Duration.ofMillis(1), Duration.ofSeconds(10))
                .listener(attempts::add)).consume(CALL));
        assertThat(attempts).hasSize(4).allMatch(attempt -> attempt.nextIn() == null || attempt
                .nextIn().compareTo(Duration.ofMillis(1L << attempt.number() - 1)) <= 0);
    }

    /** Callers that failed together do not come back together, though their policy is the same. */
    @Test
    void waitsAreRandom() {
        pool.close();
        Duration bound = Duration.ofMillis(2);
        assertThrows(QuotaException.Unavailable.class, () -> quotas.retrying(QUICK.attempts(60)
                .waits(bound, bound).listener(attempts::add)).consume(CALL));
        List<Duration> waits = attempts.stream().map(Retry.Attempt::nextIn)
                .filter(Objects::nonNull).toList();
        assertThat(waits).hasSize(59).allMatch(wait -> wait.compareTo(bound) <= 0)
                .anyMatch(wait -> wait.compareTo(bound.dividedBy(2)) < 0)
                .anyMatch(wait -> wait.compareTo(bound.dividedBy(2)) > 0);
        assertThat(waits.stream().distinct()).hasSizeGreaterThan(50);
    }

    @Test
    void denialsAndErrorsAreAnswersAndNotTriedAgain() throws Exception {
        assertThat(retrying().consume(Request.of("acme").take("requests", 11)).isGranted())
                .isFalse();
        assertThrows(QuotaException.UnknownMeter.class,
                () -> retrying().consume(Request.of("acme").take("none", 1)));
        assertThat(attempts).isEmpty();
    }

    @Test
    void policiesAreInBounds() {
        assertThatThrownBy(() -> QUICK.attempts(0)).hasMessage("attempts \"0\" must be 1 to 1000");
        assertThatThrownBy(() -> QUICK.within(Duration.ZERO))
                .hasMessage("within \"PT0S\" must be PT0.001S to a day");
        assertThatThrownBy(() -> QUICK.waits(Duration.ofSeconds(2), Duration.ofSeconds(1)))
                .hasMessage("longestWait \"PT1S\" must be PT2S to a day");
    }

    private Connection locked() throws Exception {
        quotas.consume(CALL).orThrow();
        Connection connection = world.database().connection();
        connection.setAutoCommit(false);
        try (Statement sql = connection.createStatement()) {
            sql.execute("select from pgquota.counter for update");
        }
        return connection;
    }

    private static void rollback(Connection connection) {
        try {
            connection.rollback();
        } catch (java.sql.SQLException e) {
            throw new IllegalStateException(e);
        }
    }

    private long used() {
        return world.count("select used from pgquota.counter");
    }
}
