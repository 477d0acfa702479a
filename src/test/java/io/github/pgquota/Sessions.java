package io.github.pgquota;

import static org.awaitility.Awaitility.await;

import io.github.pgquota.internal.EngineList;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Function;

/**
 * Two sessions. The first holds its transaction open; the second calls on a thread of its own, and
 * its transaction ends with its call.
 */
final class Sessions implements AutoCloseable {

    private final ExecutorService thread = Executors.newSingleThreadExecutor();
    private final Quotas quotas;
    private final Connection one;
    private final Connection two;
    private final Connection watcher;
    private final int pid;

    Sessions(World world) throws SQLException {
        quotas = world.quotas();
        one = world.database().connection();
        two = world.database().connection();
        watcher = world.database().connection();
        one.setAutoCommit(false);
        pid = pid(two);
    }

    /** The first session, in its open transaction. */
    Operations one() {
        return quotas.within(one);
    }

    /** The first session's connection. */
    Connection connection() {
        return one;
    }

    void commit() throws SQLException {
        one.commit();
    }

    void rollback() throws SQLException {
        one.rollback();
    }

    /** Returns once somebody waits for the first session. */
    void awaitBlocking() throws SQLException {
        int blocking = pid(one);
        await().atMost(Duration.ofSeconds(30)).pollInterval(Duration.ofMillis(5)).until(() -> {
            try (PreparedStatement statement = watcher.prepareStatement("select from"
                    + " pg_stat_activity where ? = any (pg_blocking_pids(pid))")) {
                statement.setInt(1, blocking);
                return statement.executeQuery().next();
            }
        });
    }

    private static int pid(Connection session) throws SQLException {
        try (var statement = session.createStatement();
                ResultSet row = statement.executeQuery("select pg_backend_pid()")) {
            row.next();
            return row.getInt(1);
        }
    }

    /** Starts a call in the second session and returns once it waits for the first one. */
    <T> Waiting<T> two(Function<Operations, T> call) {
        return begin(() -> call.apply(quotas.within(two)));
    }

    /** The same with a list of any verbs, each as the engine answers it. */
    Waiting<List<Object>> two(List<Consumer<Operations>> calls) {
        return begin(() -> EngineList.decide(two, calls, false));
    }

    private <T> Waiting<T> begin(Callable<T> call) {
        Future<T> future = thread.submit(call);
        await().atMost(Duration.ofSeconds(30)).pollInterval(Duration.ofMillis(5)).until(() -> {
            if (future.isDone()) {
                throw new AssertionError("the second session does not wait: " + outcome(future));
            }
            return waits();
        });
        return new Waiting<>(future);
    }

    private boolean waits() throws SQLException {
        try (PreparedStatement statement = watcher.prepareStatement(
                "select wait_event_type = 'Lock' and cardinality(pg_blocking_pids(pid)) > 0 "
                        + "from pg_stat_activity where pid = ?")) {
            statement.setInt(1, pid);
            try (ResultSet row = statement.executeQuery()) {
                return row.next() && row.getBoolean(1);
            }
        }
    }

    private static Object outcome(Future<?> future) {
        try {
            return future.get();
        } catch (ExecutionException | InterruptedException e) {
            return e;
        }
    }

    /** A call that waits for the first session. */
    record Waiting<T>(Future<T> future) {

        /** Its answer, once it no longer waits. */
        T answer() throws Exception {
            try {
                return future.get(30, TimeUnit.SECONDS);
            } catch (ExecutionException e) {
                throw e.getCause() instanceof Exception cause ? cause : e;
            }
        }
    }

    @Override
    public void close() throws SQLException {
        one.close(); // rolls back, so that the second ends
        thread.shutdown();
        two.close();
        watcher.close();
    }
}
