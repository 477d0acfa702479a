package io.github.pgquota.internal;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.pgquota.Combining;
import io.github.pgquota.Decision;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Quotas;
import io.github.pgquota.Request;
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
    private static final Request[] REQUESTS = {
        Request.of("acme").take("m", 1), Request.of("acme").take("m", 2),
        Request.of("beta").take("m", 1), Request.of("beta").take("m", 1)};

    /** Grants everything, and counts it. */
    private static final class Generous {

        private final AtomicLong granted = new AtomicLong();

        DataSource dataSource() {
            Connection connection = proxy(Connection.class, (self, method, arguments) ->
                    switch (method.getName()) {
                        case "getAutoCommit" -> true;
                        case "prepareStatement" -> statement();
                        case "createArrayOf" -> array((Object[]) arguments[1]);
                        default -> null;
                    });
            return proxy(DataSource.class, (self, method, arguments) -> connection);
        }

        private static java.sql.Array array(Object[] elements) {
            return proxy(java.sql.Array.class, (self, method, arguments) -> elements);
        }

        /** The last that is bound is how often each change is to be charged. */
        private PreparedStatement statement() {
            List<Object> bound = new ArrayList<>();
            return proxy(PreparedStatement.class, (self, method, arguments) -> {
                if (method.getName().equals("executeQuery")) {
                    Object last = bound.get(bound.size() - 1);
                    return answers(last instanceof java.sql.Array many
                            ? (Object[]) many.getArray() : new Object[] {last});
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

    /** Whether it was granted; else it was refused because the queue was full. */
    private static boolean granted(Quotas quotas, int caller, int round) throws Exception {
        try {
            Request request = REQUESTS[(caller + round) % REQUESTS.length];
            if ((caller + round / 3) % 2 == 0) {
                return quotas.consume(request).isGranted();
            }
            CompletableFuture<Decision> call = quotas.async().consume(request);
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

    private static void rounds(int rounds, Combining combining) throws Exception {
        Generous database = new Generous();
        ExecutorService threads = Executors.newFixedThreadPool(CALLERS);
        CyclicBarrier together = new CyclicBarrier(CALLERS);
        AtomicLong granted = new AtomicLong();
        try (Quotas quotas = Quotas.on(database.dataSource()).combining(combining)
                .executor(Runnable::run).build()) {
            List<Future<?>> callers = new ArrayList<>();
            for (int i = 0; i < CALLERS; i++) {
                int caller = i;
                callers.add(threads.submit(() -> {
                    for (int round = 0; round < rounds; round++) {
                        together.await(20, TimeUnit.SECONDS);
                        granted.addAndGet(granted(quotas, caller, round) ? 1 : 0);
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
        try (Quotas quotas = Quotas.on(none).combining(Combining.standard().statements(1))
                .build()) {
            for (int round = 0; round < 2_000; round++) {
                List<CompletableFuture<Decision>> calls = new ArrayList<>();
                for (Request request : REQUESTS) {
                    calls.add(quotas.async().consume(request));
                }
                for (CompletableFuture<Decision> call : calls) {
                    Throwable told = call.handle((d, e) -> e).get(20, TimeUnit.SECONDS);
                    assertThat(told).isInstanceOf(QuotaException.Unavailable.class);
                }
            }
        }
    }
}
