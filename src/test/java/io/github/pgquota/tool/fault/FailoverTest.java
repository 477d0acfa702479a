package io.github.pgquota.tool.fault;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.Decision;
import io.github.pgquota.Limit;
import io.github.pgquota.Plan;
import io.github.pgquota.Pools;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Quotas;
import io.github.pgquota.Request;
import io.github.pgquota.Schema;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A pool of the library's with both hosts in its URL, while the primary is lost. */
class FailoverTest {

    private static final Request CALL = Request.of("acme/a").take("requests", 1);
    private static final int CALLERS = 8;
    private static final Duration SOON = Duration.ofSeconds(60);

    private static Server server;
    private static Pair pair;

    @BeforeAll
    static void start() throws Exception {
        assumeTrue(Server.canBreak(), Server.NEEDS);
        server = new Server("failover");
        pair = new Pair(server);
        Schema.of(server.postgres().dataSource(server.database())).migrate();
        try (Pools.Pool pool = pool(1); Quotas quotas = Quotas.on(pool).build()) {
            quotas.plans().publish(plan());
            quotas.plans().assign("acme", "P");
        }
        pair.makeStandby();
    }

    private static Plan plan() {
        return Plan.named("P").limit(Limit.named("all").on("requests").unlimited().billed(true));
    }

    @AfterAll
    static void stop() throws java.io.IOException {
        if (server != null) {
            pair.close();
            server.close();
        }
    }

    /** As a user's, with both hosts and no more. */
    private static Pools.Pool pool(int size) {
        return Pools.create("jdbc:postgresql://" + pair.nodes().stream()
                .map(node -> "127.0.0.1:" + node.port()).collect(Collectors.joining(","))
                + "/" + server.database(), "postgres", "", size);
    }

    /** Callers that go on whatever they are told. */
    private static final class Crowd {
        private final Queue<String> granted = new ConcurrentLinkedQueue<>();
        private final List<Thread> threads = new ArrayList<>();
        private volatile boolean over;
        private volatile @org.jspecify.annotations.Nullable RuntimeException wrong;
        private long lastAnswer = System.nanoTime();
        private long longestGap;
        private long longestCall;

        Crowd(Quotas quotas) {
            for (int i = 0; i < CALLERS; i++) {
                Request call = Request.of("acme/u" + i).take("requests", 1);
                threads.add(new Thread(() -> {
                    while (!over) {
                        call(quotas, call);
                    }
                }, "u" + i));
            }
            threads.forEach(Thread::start);
        }

        private void call(Quotas quotas, Request call) {
            long begin = System.nanoTime();
            try {
                String operation = quotas.consume(call).orThrow().operation().uuid().toString();
                granted.add(operation);
                told(begin, true);
            } catch (QuotaException.OutcomeUnknown | QuotaException.Unavailable
                    | QuotaException.Overloaded e) {
                told(begin, false);
                LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(5)); // not a busy loop
            } catch (RuntimeException e) {
                wrong = e;
            }
        }

        private synchronized void told(long begin, boolean isGranted) {
            long now = System.nanoTime();
            longestCall = Math.max(longestCall, now - begin);
            if (isGranted) {
                longestGap = Math.max(longestGap, now - lastAnswer);
                lastAnswer = now;
            }
        }

        void awaitMore() {
            int now = granted.size();
            Awaitility.await().atMost(SOON).until(() -> granted.size() > now + 10 * CALLERS);
        }

        void end() throws InterruptedException {
            over = true;
            for (Thread thread : threads) {
                thread.join();
            }
        }
    }

    private static double seconds(long nanos) {
        return nanos / 1e9;
    }

    /** Says how long nobody was granted anything; more often to measure, as the docs say how. */
    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void grantsGoOnOnTheNewPrimary(boolean silently) throws Exception {
        List<Double> gaps = new ArrayList<>();
        double longest = 0;
        for (int i = 0; i < Integer.getInteger("pgquota.failovers", 1); i++) {
            try (Pools.Pool pool = pool(10); Quotas quotas = Quotas.on(pool).build()) {
                Crowd crowd = new Crowd(quotas);
                try {
                    crowd.awaitMore();
                    pair.failOver(silently);
                    crowd.awaitMore();
                } finally {
                    crowd.end();
                }
                assertThat(crowd.wrong).isNull();
                assertThat(missing(crowd.granted)).as("acknowledged, but not there").isZero();
                gaps.add(seconds(crowd.longestGap));
                longest = Math.max(longest, seconds(crowd.longestCall));
            } finally {
                pair.mend();
            }
        }
        gaps.sort(null);
        System.out.printf(Locale.ROOT, "FailoverTest: %s primary: granted again after %.2f s"
                + " (median of %d, longest %.2f); the longest call took %.2f s%n",
                silently ? "silent" : "lost", gaps.get(gaps.size() / 2), gaps.size(),
                gaps.get(gaps.size() - 1), longest);
        // the socket's timeout, and a log-in at a host that is silent, with and without encryption
        assertThat(longest).isLessThan(10 + 2);
        assertThat(gaps.get(gaps.size() - 1)).isLessThan(10 + 4 + 4);
    }

    private static long missing(Queue<String> granted) throws SQLException {
        return Long.parseLong(server.ask("select count(*) from unnest('{"
                + String.join(",", granted) + "}'::uuid[]) told where not exists ("
                + "select from pgquota.ledger where tenant = 'acme' and operation = told)"));
    }

    private static long used() throws SQLException {
        return Long.parseLong(server.ask("select coalesce(sum(used), 0) from pgquota.counter"));
    }

    @Test
    void aConnectionWhoseServerHasBecomeReadOnlyIsNotUsedAgain() throws Exception {
        try (Pools.Pool pool = pool(1); Quotas quotas = Quotas.on(pool).build()) {
            quotas.consume(CALL).orThrow();
            String backend = "select count(*) from pg_stat_activity where pid = " + server.ask(
                    "select pid from pg_stat_activity where state = 'idle'"
                    + " and query like '%pgquota.apply%' and datname = current_database()");
            try {
                readOnly("set default_transaction_read_only = on");
                Awaitility.await().until(() -> state(quotas).equals("25006"));
                Awaitility.await().until(() -> server.ask(backend).equals("0"));
                // nor another of that server
                assertThat(state(quotas)).isEqualTo("08001");
            } finally {
                readOnly("reset default_transaction_read_only");
            }
            Awaitility.await().atMost(SOON).until(() -> state(quotas).isEmpty());
        }
    }

    private static void readOnly(String setting) throws SQLException {
        server.execute("alter system " + setting);
        server.execute("select pg_reload_conf()");
    }

    /** Why nothing was charged; empty if it was. */
    private static String state(Quotas quotas) throws SQLException {
        long before = used();
        try {
            quotas.consume(CALL).orThrow();
            return "";
        } catch (QuotaException.Unavailable e) {
            assertThat(used()).isEqualTo(before);
            return String.valueOf(e.sqlState());
        }
    }

    /**
     * The standby does not answer, and somebody cancels the commit's wait for it: the statement
     * succeeds, with a warning. What only this server has is not told as granted, neither at once
     * nor when it is asked again.
     */
    @ParameterizedTest
    @CsvSource({"combined", "direct"})
    void aCommitWhoseWaitForTheStandbyWasCancelledIsUnknown(String way) throws Exception {
        try (Pools.Pool pool = pool(4);
                Quotas quotas = way.equals("direct") ? Quotas.on(pool).direct().build()
                        : Quotas.on(pool).build()) {
            Request keyed = CALL.key("cancelled-" + way);
            quotas.consume(CALL).orThrow();
            long before = used();
            pair.standby().freeze();
            CompletableFuture<Decision> again;
            try {
                CompletableFuture<Decision> call =
                        CompletableFuture.supplyAsync(() -> quotas.consume(keyed));
                cancel();
                assertThat(unknown(call).sqlState()).isEqualTo("01000");
                again = CompletableFuture.supplyAsync(() -> quotas.consume(keyed));
                Awaitility.await().until(() -> again.isDone() || waiting().equals("1"));
                assertThat(again).isNotDone();
            } finally {
                pair.standby().thaw();
            }
            assertThat(again.get().orThrow().replayed()).isTrue();
            assertThat(used()).isEqualTo(before + 1);
        }
    }

    @Test
    void aPlanOfWhichTheStandbyMayNotKnowIsUnknownToo() throws Exception {
        try (Pools.Pool pool = pool(1); Quotas quotas = Quotas.on(pool).build()) {
            pair.standby().freeze();
            try {
                CompletableFuture<Integer> call =
                        CompletableFuture.supplyAsync(() -> quotas.plans().publish(plan()));
                cancel();
                assertThat(unknown(call).sqlState()).isEqualTo("01000");
            } finally {
                pair.standby().thaw();
            }
        }
    }

    private static void cancel() {
        Awaitility.await().until(() -> server.ask("select count(pg_cancel_backend(pid))"
                + " from pg_stat_activity where wait_event = 'SyncRep'").equals("1"));
    }

    private static String waiting() throws SQLException {
        return server.ask("select count(*) from pg_stat_activity where wait_event = 'SyncRep'");
    }

    private static QuotaException.OutcomeUnknown unknown(CompletableFuture<?> call) {
        return (QuotaException.OutcomeUnknown) catchThrowableOfType(
                ExecutionException.class, () -> call.get(30, TimeUnit.SECONDS)).getCause();
    }
}
