package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.FutureTask;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import javax.sql.DataSource;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;

/**
 * The way to a database, on which statements can be held before they are sent. It tells what each
 * held: {@code consume*3 settle} are three equal calls, then another.
 */
final class Gate implements AutoCloseable {

    private static final int OPEN = 1_000_000;

    private final DataSource dataSource;
    private final Semaphore way = new Semaphore(OPEN);
    private final List<String> statements = Collections.synchronizedList(new ArrayList<>());
    private final List<Thread> threads = Collections.synchronizedList(new ArrayList<>());
    private final Queue<Quotas> made = new ConcurrentLinkedQueue<>();
    private final AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();

    Gate(DataSource behind) {
        dataSource = proxy(DataSource.class, behind, (verb, arguments, result) ->
                result instanceof Connection connection ? connection(connection) : result);
    }

    DataSource dataSource() {
        return dataSource;
    }

    /**
     * Quotas that have at most one statement under way; closed with this, as are the others. Who
     * looks for late calls sorts those that wait, so that the turns of tenants are others: that
     * must not come in the midst of tests.
     */
    Quotas quotas() {
        return quotas(Combining.standard().statements(1).longestWait(Duration.ofHours(1)));
    }

    Quotas quotas(Combining combining) {
        return add(Quotas.on(dataSource).combining(combining).build());
    }

    Quotas quotas(Combining combining, Executor executor) {
        return add(Quotas.on(dataSource).combining(combining).executor(executor).build());
    }

    private Quotas add(Quotas quotas) {
        made.add(quotas);
        return quotas;
    }

    /** Lets all go first, so that a test that has failed ends. */
    @Override
    public void close() {
        open();
        made.forEach(Quotas::close);
    }

    /** From now on statements are held. */
    void shut() {
        way.drainPermits();
    }

    /** Lets one statement go. */
    void letOne() {
        way.release();
    }

    /** Lets all go. */
    void open() {
        way.release(OPEN);
    }

    /** The next statement that goes through throws this instead of being sent. */
    void failNext(Throwable with) {
        failure.set(with);
    }

    /** Waits until a statement is held. */
    void awaitHeld() {
        await().until(way::hasQueuedThreads);
    }

    /** What went through, or is held, each by its verbs. */
    List<String> statements() {
        return List.copyOf(statements);
    }

    /** The threads that sent them. */
    List<Thread> threads() {
        return List.copyOf(threads);
    }

    void forget() {
        statements.clear();
        threads.clear();
    }

    /** Shuts the gate before a statement of the bystander's; forgets what was before. */
    CompletableFuture<Decision> block(Quotas quotas) {
        return block(quotas, Request.of(World.BYSTANDER).take("company", 1));
    }

    /** The same before another statement. */
    CompletableFuture<Decision> block(Quotas quotas, Request request) {
        forget();
        shut();
        CompletableFuture<Decision> blocker = quotas.async().consume(request);
        awaitHeld();
        return blocker;
    }

    /** Waits until a caller of a blocking verb waits in the queue, or has been answered. */
    static void awaitQueued(Thread caller) {
        await().until(() -> isQueued(caller) || !caller.isAlive());
    }

    static boolean isQueued(Thread caller) {
        Object reason = LockSupport.getBlocker(caller);
        return reason != null && reason.getClass().getSimpleName().equals("Waiting");
    }

    /** A caller that waits for its answer. */
    static final class Caller extends FutureTask<Decision> {
        private @Nullable Thread thread;

        private Caller(Operations quotas, Request request) {
            super(() -> quotas.consume(request));
        }

        Thread thread() {
            return java.util.Objects.requireNonNull(thread);
        }

        /** What the call threw. */
        <E extends Throwable> E failure(Class<E> kind) {
            return kind.cast(assertThrows(ExecutionException.class,
                    () -> get(30, TimeUnit.SECONDS)).getCause());
        }
    }

    /** A call on a thread of its own, which waits in the queue when this returns. */
    static Caller call(Operations quotas, Request request) {
        Caller caller = new Caller(quotas, request);
        caller.thread = new Thread(caller, "caller");
        caller.thread.start();
        awaitQueued(caller.thread);
        return caller;
    }

    /** What came of each: the simple names of decisions and exceptions. */
    static List<String> outcomes(List<? extends CompletableFuture<?>> calls) throws Exception {
        List<String> outcomes = new ArrayList<>();
        for (CompletableFuture<?> call : calls) {
            outcomes.add(call.handle((answer, e) -> (e == null ? answer : e).getClass()
                    .getSimpleName()).get(30, TimeUnit.SECONDS));
        }
        return outcomes;
    }

    static org.awaitility.core.ConditionFactory await() {
        return Awaitility.await().pollDelay(Duration.ZERO).pollInterval(Duration.ofMillis(1))
                .atMost(Duration.ofSeconds(30));
    }

    private Connection connection(Connection behind) {
        Map<Object, Object[]> arrays = new IdentityHashMap<>();
        return proxy(Connection.class, behind, (verb, arguments, result) -> {
            if (verb.equals("createArrayOf")) {
                arrays.put(result, (Object[]) arguments[1]);
            }
            return result instanceof PreparedStatement statement ? statement(statement, arrays)
                    : result;
        });
    }

    private PreparedStatement statement(
            PreparedStatement behind, Map<Object, Object[]> arrays) {
        List<Object> values = new ArrayList<>();
        InvocationHandler handler = (self, method, arguments) -> {
            String verb = method.getName();
            if (verb.equals("setArray") || verb.equals("setString") || verb.equals("setInt")) {
                values.add(arguments[1] instanceof java.sql.Array array ? arrays.get(array)
                        : arguments[1]);
            }
            if (verb.equals("execute")) {
                statements.add(described(values));
                threads.add(Thread.currentThread());
                way.acquireUninterruptibly();
                Throwable thrown = failure.getAndSet(null);
                if (thrown != null) {
                    throw thrown;
                }
            }
            return invoke(() -> method.invoke(behind, arguments));
        };
        return (PreparedStatement) Proxy.newProxyInstance(Gate.class.getClassLoader(),
                new Class<?>[] {PreparedStatement.class}, handler);
    }

    /** The verbs come first, and last how often each. */
    private static String described(List<Object> values) {
        Object first = values.get(1); // between the times to wait
        Object last = values.get(values.size() - 2);
        Object[] verbs = first instanceof Object[] many ? many : new Object[] {first};
        Object[] times = last instanceof Object[] many ? many
                : Collections.nCopies(verbs.length, last == null ? 1 : last).toArray();
        assertThat(times).hasSameSizeAs(verbs);
        List<String> words = new ArrayList<>();
        for (int i = 0; i < verbs.length; i++) {
            words.add(verbs[i] + (times[i].equals(1) ? "" : "*" + times[i]));
        }
        return String.join(" ", words);
    }

    /** What is done with what came of a method. */
    private interface After {
        Object on(String verb, Object[] arguments, Object result);
    }

    /** What a method does. */
    private interface Work {
        Object run() throws Throwable;
    }

    private static Object invoke(Work work) throws Throwable {
        try {
            return work.run();
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }

    private static <T> T proxy(Class<T> type, T behind, After after) {
        return type.cast(Proxy.newProxyInstance(Gate.class.getClassLoader(),
                new Class<?>[] {type}, (self, method, arguments) -> after.on(method.getName(),
                        arguments, invoke(() -> method.invoke(behind, arguments)))));
    }
}
