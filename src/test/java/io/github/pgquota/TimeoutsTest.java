package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.pgquota.tool.PostgresServer;
import io.github.pgquota.tool.Proxy;
import java.sql.Connection;
import java.sql.Statement;
import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.postgresql.ds.PGSimpleDataSource;

/** Nothing waits for ever, whatever the DataSource is set to; and no wait is ended by a cancel. */
class TimeoutsTest {

    private static final Request CALL = Request.of("acme").take("requests", 1);
    private static final Timeouts SHORT =
            new Timeouts(Duration.ofMillis(300), Duration.ofMillis(600), Duration.ofMillis(900));

    private World world;

    @BeforeEach
    void open() throws Exception {
        world = World.with(Limit.named("requests").capacity(1_000).per(Window.month()));
        world.quotas().consume(CALL).orThrow();
    }

    @AfterEach
    void close() {
        world.close();
    }

    private Connection lockedCounters() throws Exception {
        Connection connection = world.database().connection();
        connection.setAutoCommit(false);
        try (Statement sql = connection.createStatement()) {
            sql.execute("select from pgquota.counter for update");
        }
        return connection;
    }

    /** From now on a charge takes a minute of the server's time, and waits for no lock. */
    private void slowDown() {
        world.execute("create function public.slow() returns trigger language plpgsql as $$"
                + " begin perform pg_sleep(60); return new; end $$");
        world.execute("create trigger slow before update on pgquota.counter"
                + " for each row execute function public.slow()");
    }

    private Quotas.Builder hasty() {
        return Quotas.on(world.database().dataSource()).timeouts(SHORT);
    }

    @Test
    void aLockIsNotWaitedForForEver() throws Exception {
        try (Connection locked = lockedCounters(); Quotas direct = hasty().direct().build();
                Quotas combined = hasty().build()) {
            for (Quotas quotas : new Quotas[] {direct, combined}) {
                assertThat(assertThrows(QuotaException.Unavailable.class,
                        () -> quotas.consume(CALL)).sqlState()).isEqualTo("55P03");
            }
            locked.rollback();
        }
        assertThat(used()).isEqualTo(1);
    }

    @Test
    void theServerEndsAStatementThatTakesTooLong() throws Exception {
        slowDown();
        for (int mode = 0; mode < 2; mode++) {
            try (Quotas quotas = mode == 0 ? hasty().direct().build() : hasty().build()) {
                assertThat(assertThrows(QuotaException.Unavailable.class,
                        () -> quotas.consume(CALL)).sqlState()).isEqualTo("57014");
            }
        }
        world.execute("drop trigger slow on pgquota.counter");
        assertThat(used()).isEqualTo(1);
    }

    /** Also one that is shorter than callers wait together. */
    @Test
    void aShortTimeForLocksIsKeptByCallsInCommon() throws Exception {
        try (Connection locked = lockedCounters(); Quotas combined = Quotas.on(
                world.database().dataSource()).timeouts(Timeouts.standard().lock(
                        Duration.ofMillis(5)).statement(Duration.ofMillis(60))).build()) {
            assertThat(assertThrows(QuotaException.Unavailable.class,
                    () -> combined.consume(CALL)).sqlState()).isEqualTo("55P03");
            locked.rollback();
        }
        assertThat(used()).isEqualTo(1);
    }

    /** The driver sends what it has prepared in another way than what it has not. */
    @Test
    void alsoOneThatTheDriverHasPrepared() throws Exception {
        try (var pool = world.database().pool(1);
                Quotas quotas = Quotas.on(pool).timeouts(SHORT).direct().build()) {
            for (int i = 0; i < 12; i++) {
                quotas.consume(CALL).orThrow();
                quotas.consumeAll(java.util.List.of(CALL, CALL));
                quotas.balances(CALL.scope());
            }
            slowDown();
            assertThat(assertThrows(QuotaException.Unavailable.class,
                    () -> quotas.consume(CALL)).sqlState()).isEqualTo("57014");
            assertThat(assertThrows(QuotaException.Unavailable.class,
                    () -> quotas.consumeAll(java.util.List.of(CALL, CALL))).sqlState())
                    .isEqualTo("57014");
        }
        assertThat(used()).isEqualTo(37);
    }

    @Test
    void aShorterBoundOfTheSessionHoldsInsteadAndNothingIsLeftOnIt() throws Exception {
        PGSimpleDataSource source = source("statement_timeout=100");
        slowDown();
        try (var pool = PostgresServer.pool(source, 1); Quotas quotas = Quotas.on(pool).build()) {
            assertThat(assertThrows(QuotaException.Unavailable.class,
                    () -> quotas.consume(CALL)).sqlState()).isEqualTo("57014");
            world.execute("drop trigger slow on pgquota.counter");
            quotas.consume(CALL).orThrow();
            try (Connection connection = pool.getConnection();
                    Statement sql = connection.createStatement();
                    var row = sql.executeQuery("select current_setting('statement_timeout'),"
                            + " current_setting('lock_timeout')")) {
                row.next();
                assertThat(row.getString(1) + " " + row.getString(2)).isEqualTo("100ms 0");
                assertThat(connection.getNetworkTimeout()).isZero();
            }
        }
        assertThat(used()).isEqualTo(2);
    }

    /** The caller's transaction has its own bounds; without one for locks, it waits 5 seconds. */
    @Test
    void theCallersTransactionWaitsAsItSays() throws Exception {
        try (Connection locked = lockedCounters();
                Connection mine = world.database().connection();
                Statement sql = mine.createStatement()) {
            for (String setting : new String[] {"0", "200ms"}) {
                mine.setAutoCommit(false);
                sql.execute("set local lock_timeout = '" + setting + "'");
                long begin = System.nanoTime();
                assertThat(assertThrows(QuotaException.Unavailable.class,
                        () -> world.quotas().within(mine).consume(CALL)).sqlState())
                        .isEqualTo("55P03");
                assertThat((System.nanoTime() - begin) / 1_000_000 >= 4_900)
                        .isEqualTo(setting.equals("0"));
                mine.rollback();
            }
            locked.rollback();
            sql.execute("set local lock_timeout = '200ms'");
            world.quotas().within(mine).consume(CALL).orThrow();
            try (var row = sql.executeQuery("show lock_timeout")) {
                row.next();
                assertThat(row.getString(1)).isEqualTo("200ms");
            }
            mine.commit();
        }
        assertThat(used()).isEqualTo(2);
    }

    @Test
    void aServerThatFallsSilentIsNoticedThoughTheDriverIsNotSetSo() throws Exception {
        try (Proxy proxy = Proxy.to(world.database().url())) {
            PGSimpleDataSource source = source("search_path=");
            source.setURL(proxy.url(world.database().url()));
            try (var pool = PostgresServer.pool(source, 1);
                    Quotas quotas = Quotas.on(pool).timeouts(SHORT).direct().build()) {
                quotas.consume(CALL).orThrow();
                proxy.delay(Duration.ofSeconds(15));
                assertThrows(QuotaException.OutcomeUnknown.class, () -> quotas.consume(CALL));
            }
        }
    }

    @Test
    void timeoutsAreInOrder() {
        Timeouts standard = Timeouts.standard();
        assertThatThrownBy(() -> standard.lock(Duration.ofSeconds(9)))
                .isInstanceOf(QuotaException.Invalid.class)
                .hasMessage("statement \"PT8S\" must be PT9S to a day: a lock is given up before"
                        + " its statement is, and that before the socket");
        assertThatThrownBy(() -> standard.statement(Duration.ofSeconds(10)))
                .hasMessageContaining("socket \"PT10S\" must be PT10.001S to a day");
        assertThatThrownBy(() -> standard.lock(Duration.ZERO))
                .hasMessageContaining("lock \"PT0S\" must be PT0.001S to a day");
        assertThat(standard.lock(Duration.ofSeconds(1)).statement(Duration.ofSeconds(2))
                .socket(Duration.ofSeconds(3))).hasToString(
                        "Timeouts[lock=PT1S, statement=PT2S, socket=PT3S]");
    }

    private PGSimpleDataSource source(String setting) {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(world.database().url());
        source.setUser(TestDatabase.server().user());
        source.setPassword(TestDatabase.server().password());
        source.setOptions("-c " + setting);
        return source;
    }

    private long used() throws Exception {
        return world.count("select used from pgquota.counter");
    }
}
