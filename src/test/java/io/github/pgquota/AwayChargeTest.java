package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.pgquota.tool.Proxy;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.postgresql.ds.PGSimpleDataSource;

/** What goes wrong while a gate charges holds up as little as can be, and opens nothing. */
class AwayChargeTest extends AwayCase {

    private static final Request OTHER = Request.of("other").take("requests", 1);

    /** What a method does. */
    private interface Does {
        @Nullable Object on(Method method, Object[] arguments) throws Exception;
    }

    private static <T> T proxied(Class<T> type, Does does) {
        return type.cast(java.lang.reflect.Proxy.newProxyInstance(
                AwayChargeTest.class.getClassLoader(), new Class<?>[] {type},
                (self, method, arguments) -> {
                    try {
                        return does.on(method, arguments);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                }));
    }

    /** Before a connection is had from it something else happens. */
    private static DataSource after(Runnable first, DataSource source) {
        return proxied(DataSource.class, (method, arguments) -> {
            first.run();
            return method.invoke(source, arguments);
        });
    }

    private static boolean isChargers() {
        return Thread.currentThread().getName().equals("pgquota-away");
    }

    private Away wide() {
        return Away.keptIn(folder.resolve("away")).open("requests", 0, 1_000);
    }

    private Connection lock(String tenant) throws Exception {
        Connection blocker = world.database().connection();
        blocker.setAutoCommit(false);
        try (var sql = blocker.createStatement()) {
            sql.execute("select from pgquota.counter where tenant = '" + tenant + "' for update");
        }
        return blocker;
    }

    /** While it is recorded, the caller's own attempt, whose answer was lost, is committed. */
    @Test
    void whatItsCallerWasGrantedAfterAllIsChargedOnce() throws Exception {
        Request keyed = CALL.key("k");
        OperationId first = world.quotas().consume(Request.of("acme").take("requests", 10))
                .orThrow().operation();
        Files.writeString(folder.resolve("away"), "+ 1 consume acme%2Fsearch k requests=1\n");
        try (Sessions sessions = new Sessions(world)) {
            sessions.one().refund(first, Map.of("requests", 1L), null);
            sessions.one().consume(keyed).orThrow();
            try (Away.Gate gate = quotas.away(policy())) {
                sessions.awaitBlocking();
                sessions.commit();
                awaitCharged(gate);
                assertThat(gate.report().refused()).isEmpty();
            }
        }
        assertThat(world.rows("select used, entries from pgquota.counter")).containsExactly("10 3");
    }

    /** The database is there: it denies what it would deny, whatever became of one call. */
    @Test
    void oneLostAnswerOpensNoGateForOthers() {
        world.quotas().consume(Request.of("other").take("requests", 10)).orThrow();
        try (Pools.Pool pool = pool(); Quotas pooled = Quotas.on(pool).build();
                Away.Gate gate = pooled.away(policy())) {
            gate.balances(CALL.scope());
            proxy.loseReplies(1);
            assertThat(gate.consume(CALL.key("k")).orThrow().isCharged()).isFalse();
            assertThat(gate.report().sinceOrNull()).isNull();
            assertThat(gate.consume(OTHER).isGranted()).isFalse();
            awaitCharged(gate);
        }
        assertThat(world.rows("select tenant, used from pgquota.counter order by tenant"))
                .containsExactly("acme 1", "other 10");
    }

    @Test
    void anErrorEndsNoCharging() {
        AtomicBoolean breaks = new AtomicBoolean(true);
        DataSource source = after(() -> {
            if (isChargers() && breaks.getAndSet(false)) {
                throw new NoClassDefFoundError("a jar that was replaced");
            }
        }, source());
        try (Quotas broken = Quotas.on(source).build(); Away.Gate gate = broken.away(policy())) {
            away();
            gate.consume(CALL).orThrow();
            back();
            awaitCharged(gate);
            assertThat(breaks).isFalse();
        }
        assertThat(used()).containsExactly("1");
    }

    /** That what is charged cannot be said so in the file is no reason to let less through. */
    @Test
    void aFullDiskWhileChargingUsesUpNoAllowance() throws Exception {
        assumeTrue(Files.isExecutable(Path.of("/bin/sh")), "a shell bounds the size of files");
        Process other = new ProcessBuilder("/bin/sh", "-c", "ulimit -f 1 && exec \"$0\" \"$@\"",
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:-UsePerfData", "-cp", System.getProperty("java.class.path"),
                FullDisk.class.getName(), folder.resolve("away").toString(),
                world.database().url(), TestDatabase.server().user(),
                TestDatabase.server().password()).redirectErrorStream(true).start();
        String told = new String(other.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(other.waitFor()).as(told).isZero();
        assertThat(told).contains("what it says to wait is charged");
        assertThat(world.count("select used from pgquota.counter")).isGreaterThan(1_000);
    }

    /** Another process, whose file has room for a few lines. */
    static final class FullDisk {
        private FullDisk() {}

        public static void main(String[] arguments) {
            PGSimpleDataSource source = new PGSimpleDataSource();
            source.setUser(arguments[2]);
            source.setPassword(arguments[3]);
            try (Proxy proxy = Proxy.to(arguments[1])) {
                source.setURL(proxy.url(arguments[1]));
                try (Quotas quotas = Quotas.on(source).build(); Away.Gate gate = quotas.away(
                        Away.keptIn(Path.of(arguments[0])).open("requests", 0, 1_000))) {
                    proxy.loseRequests(Integer.MAX_VALUE);
                    assertThrows(QuotaException.Unavailable.class, () -> fill(gate));
                    proxy.loseRequests(0);
                    awaitCharged(gate);
                    proxy.loseRequests(Integer.MAX_VALUE); // another outage
                    gate.consume(Request.of("acme").take("requests", 1_000)).orThrow();
                    proxy.loseRequests(0);
                    awaitCharged(gate);
                }
            }
        }

        /** Short lines, so that there is less room left than the lines need that end them. */
        private static void fill(Operations gate) {
            for (int i = 0; i < 100; i++) {
                gate.consume(Request.of("acme").take("requests", 1).key(Integer.toString(i, 36)));
            }
        }
    }

    /** That a call was not sent says nothing of the database. */
    @Test
    void whoIsOverloadedClosesNoGateInAnOutage() throws Exception {
        CountDownLatch held = new CountDownLatch(1);
        CountDownLatch hold = new CountDownLatch(1);
        DataSource source = heldUp(held, hold);
        try (Quotas busy = Quotas.on(source).combining(Combining.standard()
                        .longestWait(Duration.ofMillis(500))).build();
                Away.Gate gate = busy.away(wide());
                AutoCloseable last = hold::countDown) {
            assertThat(last).isNotNull();
            away();
            gate.consume(OTHER).orThrow();
            Instant since = gate.report().sinceOrNull();
            assertThat(since).isNotNull();
            CompletableFuture<Void> holder = CompletableFuture.runAsync(() ->
                    assertThrows(QuotaException.Unavailable.class, () -> gate.reserve(OTHER,
                            Duration.ofMinutes(1))), task -> new Thread(task, "holder").start());
            held.await();
            for (int i = 0; i < 3; i++) {
                assertThat(gate.charge()).isFalse();
                assertThat(gate.report().sinceOrNull()).isEqualTo(since);
                assertThat(gate.consume(CALL).orThrow().isCharged()).isFalse();
            }
            hold.countDown();
            holder.get(30, TimeUnit.SECONDS);
            back();
            awaitCharged(gate);
        }
    }

    /** A thread named so tells that it asks for a connection, and gets it later. */
    private DataSource heldUp(CountDownLatch held, CountDownLatch until) {
        return after(() -> {
            if (Thread.currentThread().getName().startsWith("holder")) {
                held.countDown();
                hold(until);
            }
        }, source());
    }

    private static void hold(CountDownLatch until) {
        try {
            until.await();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** It waited for a statement of its tenant, which found the database away. */
    @Test
    void aCallThatWaitedTooLongPassesIfTheDatabaseIsAwayByThen() throws Exception {
        CountDownLatch held = new CountDownLatch(1);
        CountDownLatch hold = new CountDownLatch(1);
        DataSource source = heldUp(held, hold);
        try (Quotas busy = Quotas.on(source).combining(Combining.standard()
                        .longestWait(Duration.ofSeconds(2))).build();
                Away.Gate gate = busy.away(wide());
                AutoCloseable last = hold::countDown) {
            assertThat(last).isNotNull();
            away();
            CompletableFuture<Void> holder = CompletableFuture.runAsync(() ->
                    assertThrows(QuotaException.Unavailable.class, () -> gate.reserve(CALL,
                            Duration.ofMinutes(1))), task -> new Thread(task, "holder").start());
            held.await();
            Gate.Caller waits = Gate.call(gate, CALL);
            gate.consume(OTHER).orThrow();
            assertThat(gate.report().sinceOrNull()).isNotNull();
            assertThat(waits.get(30, TimeUnit.SECONDS).orThrow().isCharged()).isFalse();
            hold.countDown();
            holder.get(30, TimeUnit.SECONDS);
            back();
            awaitCharged(gate);
        }
    }

    /** Nor does who closes it wait for each of the calls that wait. */
    @Test
    void aLockedTenantKeepsNobodyElseWaiting() throws Exception {
        world.quotas().consume(CALL).orThrow();
        try (Quotas direct = Quotas.on(source()).direct().timeouts(Timeouts.standard()
                        .lock(Duration.ofSeconds(1))).build();
                Connection blocker = lock("acme")) {
            Away.Gate gate = direct.away(wide());
            away();
            for (int i = 0; i < 20; i++) {
                gate.consume(CALL).orThrow();
            }
            gate.consume(OTHER).orThrow();
            back();
            Gate.await().atMost(Duration.ofSeconds(10)).until(() -> world.count(
                    "select count(*) from pgquota.counter where tenant = 'other'") == 1);
            assertThat(gate.report().waiting()).isGreaterThanOrEqualTo(20);
            Gate.await().until(() -> world.count("select count(*) from pg_stat_activity"
                    + " where datname = current_database() and wait_event_type = 'Lock'") == 1);
            long begin = System.nanoTime();
            gate.close();
            assertThat(Duration.ofNanos(System.nanoTime() - begin)).isLessThan(
                    Duration.ofSeconds(10));
            blocker.rollback();
        }
        try (Away.Gate gate = quotas.away(wide())) {
            awaitCharged(gate);
        }
        assertThat(world.rows("select tenant, used from pgquota.counter order by tenant"))
                .containsExactly("acme 21", "other 1");
    }

    /** Many calls of many tenants are under way to a lock each: a closed gate begins no other. */
    @Test
    void aClosedGateChargesNoMore() throws Exception {
        List<String> tenants = java.util.stream.IntStream.range(0, 20).mapToObj(i -> "t" + i)
                .toList();
        for (String tenant : tenants) {
            world.tenant(tenant, "P");
            world.quotas().consume(Request.of(tenant).take("requests", 1)).orThrow();
        }
        try (Quotas direct = Quotas.on(source()).direct().timeouts(Timeouts.standard()
                        .lock(Duration.ofSeconds(1))).build();
                Connection blocker = world.database().connection();
                var sql = blocker.createStatement()) {
            Away.Gate gate = direct.away(wide());
            away();
            for (String tenant : tenants) {
                gate.consume(Request.of(tenant).take("requests", 1)).orThrow();
            }
            blocker.setAutoCommit(false);
            sql.execute("select from pgquota.counter for update");
            back();
            Gate.await().until(() -> gate.report().sinceOrNull() == null);
            long begin = System.nanoTime();
            gate.close();
            assertThat(Duration.ofNanos(System.nanoTime() - begin)).isLessThan(
                    Duration.ofSeconds(10));
            assertThat(gate.charge()).isFalse();
            blocker.rollback();
        }
        assertThat(world.count("select sum(used) from pgquota.counter")).isEqualTo(20);
    }

    /** What the database cannot say of one call, it may well say of the next tenant's. */
    @Test
    void aCallWhoseOutcomeStaysUnknownHoldsUpNoOtherTenant() {
        world.execute("create function public.breaks() returns trigger language plpgsql as "
                + "'begin raise ''broken'' using errcode = ''XX000''; end'");
        world.execute("create trigger breaks before insert or update on pgquota.counter "
                + "for each row when (new.tenant = 'acme') execute function public.breaks()");
        try (Away.Gate gate = quotas.away(policy())) {
            away();
            gate.consume(CALL).orThrow();
            gate.consume(OTHER).orThrow();
            back();
            Gate.await().until(() -> gate.report().charged() == 1);
            assertThat(gate.report().sinceOrNull()).isNull();
            assertThat(gate.report().waiting()).isEqualTo(1);
            world.execute("drop trigger breaks on pgquota.counter");
            awaitCharged(gate);
        }
        assertThat(world.rows("select tenant, used from pgquota.counter order by tenant"))
                .containsExactly("acme 1", "other 1");
    }

    @Test
    void aCallThatFailsUnexpectedlyHoldsUpNoOtherTenant() {
        AtomicBoolean breaks = new AtomicBoolean();
        DataSource source = after(() -> {
            if (isChargers() && breaks.getAndSet(false)) {
                throw new IllegalStateException("the pool is closed");
            }
        }, source());
        try (Quotas direct = Quotas.on(source).direct().build();
                Away.Gate gate = direct.away(policy())) {
            away();
            gate.consume(CALL).orThrow();
            gate.consume(OTHER).orThrow();
            breaks.set(true);
            back();
            awaitCharged(gate);
        }
        assertThat(world.rows("select tenant from pgquota.ledger order by at"))
                .containsExactly("other", "acme");
    }

    /** So it is with all of them: one statement finds that out. */
    @Test
    void whatNoCallMayDoIsTriedOnceEachTime() {
        try (Away.Gate gate = quotas.away(wide())) {
            away();
            for (int i = 0; i < 50; i++) {
                gate.consume(CALL).orThrow();
            }
            world.execute("alter schema pgquota rename to elsewhere");
            back();
            Gate.await().until(() -> gate.report().sinceOrNull() == null);
            long before = proxy.roundTrips();
            assertThat(gate.charge()).isFalse();
            assertThat(proxy.roundTrips() - before).isLessThan(50);
            world.execute("alter schema elsewhere rename to pgquota");
            awaitCharged(gate);
        }
        assertThat(used()).containsExactly("50");
    }

    /** Nobody knows any longer whether it was charged; {@code refused} says what it was. */
    @Test
    void whatWaitsLongerThanKeysAreKeptIsRefused() {
        try (Away.Gate gate = quotas.away(policy())) {
            away();
            gate.consume(CALL).orThrow();
            gate.consume(CALL.key("a key that does not tell its age")).orThrow();
            world.clock(Instant.now().plus(Duration.ofDays(36)).toString());
            back();
            awaitCharged(gate);
            assertThat(gate.report().charged()).isEqualTo(1);
            assertThat(gate.report().refused()).singleElement().asString()
                    .contains("is older than the setting key_retention");
        }
        assertThat(used()).containsExactly("1");
        try (Away.Gate gate = quotas.away(policy())) { // it is tried again, and refused again
            awaitCharged(gate);
            assertThat(gate.report().refused()).hasSize(1);
        }
        assertThat(used()).containsExactly("1");
    }

    /** The caller's transaction is the caller's matter: no call is given up for it. */
    @Test
    void whoChargesInTheMidstOfATransactionIsToldSo() throws Exception {
        try (Connection own = world.database().connection();
                var sql = own.createStatement()) {
            own.setAutoCommit(false);
            DataSource joins = proxied(DataSource.class, (method, arguments) ->
                    isChargers() || proxy.connections() == 0 ? source().getConnection()
                            : unclosable(own));
            try (Quotas direct = Quotas.on(joins).direct().build();
                    Away.Gate gate = direct.away(policy())) {
                away();
                gate.consume(CALL).orThrow();
                sql.execute("insert into pgquota.tenant (tenant, plan) values ('new', 'P')");
                assertThat(assertThrows(QuotaException.Invalid.class, gate::charge).field())
                        .isEqualTo("dataSource");
                assertThat(gate.report().waiting()).isEqualTo(1);
                back();
                awaitCharged(gate);
                assertThat(gate.report().refused()).isEmpty();
            }
            own.rollback();
        }
        assertThat(world.rows("select from pgquota.tenant where tenant = 'new'")).isEmpty();
        assertThat(used()).containsExactly("1");
    }

    private static Connection unclosable(Connection connection) {
        return proxied(Connection.class, (method, arguments) -> method.getName().equals("close")
                ? null : method.invoke(connection, arguments));
    }
}
