package io.github.pgquota.internal;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.pgquota.Combining;
import io.github.pgquota.Decision;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import io.github.pgquota.Timeouts;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;

/**
 * No call is left waiting: thousands of rounds of a few callers that come at the same moment, on a
 * database that answers at once, so that nearly every one comes just as another ends.
 */
class WakingTest {

    private static final int CALLERS = 4;
    private static final Change[] CHANGES = {change("acme", 1), change("acme", 2),
        change("beta", 1), change("beta", 1)};

    private static Change change(String tenant, int amount) {
        return Change.consume(Request.of(tenant).take("m", amount));
    }

    /** Grants everything, and counts it. */
    private static final class Generous {

        private final AtomicLong granted = new AtomicLong();

        DataSource dataSource() {
            Connection connection = proxy(Connection.class, (self, method, arguments) ->
                    switch (method.getName()) {
                        case "getAutoCommit" -> true;
                        case "getNetworkTimeout" -> 1_000;
                        case "prepareStatement" -> statement();
                        case "createArrayOf" -> array((Object[]) arguments[1]);
                        default -> null;
                    });
            return proxy(DataSource.class, (self, method, arguments) -> connection);
        }

        private static java.sql.Array array(Object[] elements) {
            return proxy(java.sql.Array.class, (self, method, arguments) -> elements);
        }

        /** The last but one that is bound is how often each change is to be charged. */
        private PreparedStatement statement() {
            List<Object> bound = new ArrayList<>();
            return proxy(PreparedStatement.class, (self, method, arguments) -> {
                if (method.getName().startsWith("execute")
                        || method.getName().equals("getMoreResults")) {
                    return true;
                }
                if (method.getName().equals("getResultSet")) {
                    Object times = bound.get(bound.size() - 2);
                    return answers(times instanceof java.sql.Array many
                            ? (Object[]) many.getArray() : new Object[] {times});
                }
                if (arguments != null) {
                    bound.add(arguments[1]);
                }
                return null;
            });
        }

        private ResultSet answers(Object[] times) {
            byte[] at = ByteBuffer.allocate(8).putLong(0).array();
            int[] row = {0};
            return proxy(ResultSet.class, (self, method, arguments) -> {
                int column = arguments == null ? 0 : (Integer) arguments[0];
                return switch (method.getName()) {
                    case "next" -> {
                        boolean more = row[0]++ < times.length;
                        granted.addAndGet(more ? (Integer) times[row[0] - 1] : 0);
                        yield more;
                    }
                    case "getInt" -> column == 1 ? row[0] : times[row[0] - 1];
                    case "getString" -> column == 2 ? "granted" : null;
                    case "getBytes" -> column == 5 ? at : null;
                    case "getBoolean" -> false;
                    case "getLong" -> 0L;
                    case "wasNull" -> true;
                    default -> null;
                };
            });
        }

        private static <T> T proxy(Class<T> type, InvocationHandler handler) {
            return type.cast(Proxy.newProxyInstance(WakingTest.class.getClassLoader(),
                    new Class<?>[] {type}, handler));
        }
    }

    /** Whether it was granted; else it was cancelled, or refused because the queue was full. */
    private static boolean granted(Combiner combiner, int caller, int round) throws Exception {
        try {
            Change change = CHANGES[(caller + round) % CHANGES.length];
            if ((caller + round / 3) % 2 == 0) {
                return combiner.decide(change).isGranted();
            }
            CompletableFuture<Decision> call = combiner.submit(change);
            if (round % 5 == 0 && call.cancel(true)) {
                return false;
            }
            return call.get(20, TimeUnit.SECONDS).isGranted();
        } catch (QuotaException.Overloaded e) {
            assertThat(e).hasMessageContaining("longestQueue");
            return false;
        } catch (ExecutionException e) {
            assertThat(e.getCause()).hasMessageContaining("longestQueue");
            return false;
        }
    }

    private static Combiner combiner(DataSource dataSource, Combining combining) {
        return new Combiner(new Database(dataSource, Right.APP, null), combining,
                Waits.of(Timeouts.standard()), Runnable::run);
    }

    private static void rounds(int rounds, Combining combining) throws Exception {
        Generous database = new Generous();
        rounds(rounds, database, combiner(database.dataSource(), combining));
    }

    private static void rounds(int rounds, Generous database, Combiner combiner)
            throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(CALLERS);
        CyclicBarrier together = new CyclicBarrier(CALLERS);
        AtomicLong granted = new AtomicLong();
        try {
            List<Future<?>> callers = new ArrayList<>();
            for (int i = 0; i < CALLERS; i++) {
                int caller = i;
                callers.add(threads.submit(() -> {
                    for (int round = 0; round < rounds; round++) {
                        together.await(20, TimeUnit.SECONDS);
                        granted.addAndGet(granted(combiner, caller, round) ? 1 : 0);
                    }
                    return null;
                }));
            }
            for (Future<?> caller : callers) {
                caller.get(60, TimeUnit.SECONDS);
            }
        } finally {
            threads.shutdownNow();
        }
        combiner.close();
        assertThat(granted).as("answered and charged").hasValue(database.granted.get());
    }

    @Test
    void aRoomyQueueLeavesNobodyWaiting() throws Exception {
        rounds(30_000, Combining.standard().statements(1));
    }

    /** Over half of the places, and as it looks for late calls, the queue is sorted by others. */
    @Test
    void aTightQueueLeavesNobodyWaiting() throws Exception {
        rounds(30_000, Combining.standard().statements(1).longestQueue(3).largestBatch(1));
        rounds(30_000, Combining.standard().longestQueue(2));
    }

    @Test
    void aConnectionThatCannotBeHadLeavesNobodyWaiting() throws Exception {
        DataSource none = Generous.proxy(DataSource.class, (self, method, arguments) -> {
            throw new SQLException("none", "08001");
        });
        Combiner combiner = combiner(none, Combining.standard().statements(1));
        for (int round = 0; round < 2_000; round++) {
            List<CompletableFuture<Decision>> calls = new ArrayList<>();
            for (Change change : CHANGES) {
                calls.add(combiner.submit(change));
            }
            for (CompletableFuture<Decision> call : calls) {
                assertThat(call.handle((d, e) -> e).get(20, TimeUnit.SECONDS))
                        .isInstanceOf(QuotaException.Unavailable.class);
            }
        }
        combiner.close();
    }

    /** As when the system gives no more threads, or a call comes just as the last one is closed. */
    @Test
    void whereNoThreadIsToBeHadCallersSend() throws Exception {
        Generous database = new Generous();
        Combiner combiner = combiner(database.dataSource(), Combining.standard().statements(1));
        Field senders = Combiner.class.getDeclaredField("senders");
        senders.setAccessible(true);
        ((ExecutorService) senders.get(combiner)).shutdown();
        rounds(10_000, database, combiner);
    }
}
