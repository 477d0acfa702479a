package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What callers are told whose calls wait for others: bounds, interruption, cancelling, closing. */
class CombinedCallersTest {

    private static final Combining ONE = Combining.standard().statements(1);
    private static final Request CALL = Request.of("acme").take("requests", 1);
    private static final String COMBINER = "pgquota-combiner";

    private final World world = World.create();
    private final Gate gate = new Gate(world.pool());
    private final Quotas quotas = gate.quotas();

    @BeforeEach
    void plans() {
        world.plan("P", Limit.named("messages").on("requests").per(Window.month()),
                Limit.named("tokens")).tenant(World.TENANT, "P").tenant("beta", "P")
                .plan("COMPANY", Limit.named("company")).tenant(World.BYSTANDER, "COMPANY");
    }

    @AfterEach
    void proof() {
        gate.close();
        world.proof();
        world.close();
    }

    private static <T> T get(Future<T> future) throws Exception {
        return future.get(30, TimeUnit.SECONDS);
    }

    private static <E extends Throwable> E failure(Class<E> kind, Future<?> future) {
        return kind.cast(assertThrows(ExecutionException.class, () -> get(future)).getCause());
    }

    /** What all tenants but the bystander have used. */
    private long used() {
        return world.count("select coalesce(sum(used), 0) from pgquota.counter where tenant <> ?",
                World.BYSTANDER);
    }

    /** What the bystander has used. */
    private long company() {
        return world.count("select coalesce(sum(used), 0) from pgquota.counter where tenant = ?",
                World.BYSTANDER);
    }

    /** Different requests in turn, so that none are equal and adjacent. */
    private static Request nth(String tenant, int n) {
        return Request.of(tenant).take(n % 2 == 0 ? "requests" : "tokens", 1);
    }

    @Test
    void aFullQueueRefusesAndChargesNothing() throws Exception {
        Quotas few = gate.quotas(ONE.longestQueue(4));
        CompletableFuture<Decision> blocker = gate.block(few);
        List<CompletableFuture<Decision>> taken = List.of(few.async().consume(CALL),
                few.async().consume(CALL), few.async().consume(nth("beta", 0)));
        for (QuotaException.Overloaded e : List.of(
                failure(QuotaException.Overloaded.class, few.async().consume(CALL)),
                assertThrows(QuotaException.Overloaded.class, () -> few.consume(CALL)))) {
            assertThat(e.bound() + " " + e.value()).isEqualTo("longestQueue 4");
        }
        CompletableFuture<Decision> last = few.async().consume(nth("gamma", 0));
        assertThat(failure(QuotaException.Overloaded.class, few.async().consume(
                nth("delta", 0)))).hasMessageContaining("longestQueue = 4");
        gate.open();
        assertThat(Gate.outcomes(taken)).containsOnly("Granted");
        assertThat(get(blocker).isGranted()).isTrue();
        assertThat(failure(QuotaException.UnknownTenant.class, last)).isNotNull();
        assertThat(few.consume(CALL).isGranted()).as("once there is room").isTrue();
        assertThat(used()).isEqualTo(4);
    }

    /** Nothing of it was sent, so who asks for that has it tried again. */
    @Test
    void whatAFullQueueRefusesIsTriedAgain() throws Exception {
        Quotas few = gate.quotas(ONE.longestQueue(4));
        gate.block(few);
        List<CompletableFuture<Decision>> taken = List.of(few.async().consume(CALL),
                few.async().consume(CALL));
        List<QuotaException> failures = new ArrayList<>();
        assertThat(few.retrying(Retry.standard().listener(attempt -> {
            failures.add(attempt.failure());
            gate.open();
        })).consume(CALL).isGranted()).isTrue();
        assertThat(failures).isNotEmpty().hasOnlyElementsOfType(QuotaException.Overloaded.class);
        assertThat(Gate.outcomes(taken)).containsOnly("Granted");
        assertThat(used()).isEqualTo(3);
    }

    @Test
    void aTenantAloneMayHaveHalfThePlacesAndOthersShareTheRest() throws Exception {
        Quotas few = gate.quotas(ONE.longestQueue(100));
        gate.block(few);
        List<CompletableFuture<Decision>> flood = new ArrayList<>();
        List<CompletableFuture<Decision>> other = new ArrayList<>();
        for (int i = 0; i < 80; i++) {
            flood.add(few.async().consume(nth("acme", i)));
        }
        for (int i = 0; i < 80; i++) {
            other.add(few.async().consume(nth("beta", i)));
        }
        gate.open();
        assertThat(Gate.outcomes(flood)).filteredOn("Granted"::equals).hasSize(50);
        assertThat(Gate.outcomes(other)).filteredOn("Granted"::equals).hasSize(25);
        assertThat(Gate.outcomes(other).subList(25, 80)).containsOnly("Overloaded");
        assertThat(used()).isEqualTo(75);
    }

    @Test
    void aFloodOfOneTenantDoesNotKeepAnothersCallsWaiting() throws Exception {
        int calls = 10_000;
        Quotas flooded = gate.quotas(ONE.largestBatch(100));
        CompletableFuture<Decision> blocker = gate.block(flooded);
        List<CompletableFuture<Decision>> flood = new ArrayList<>();
        for (int i = 0; i < calls; i++) {
            flood.add(flooded.async().consume(nth("acme", i)));
        }
        Gate.Caller blocking = Gate.call(flooded, nth("beta", 0));
        CompletableFuture<Decision> async = flooded.async().consume(nth("beta", 1));
        gate.letOne();
        gate.letOne();
        assertThat(get(blocking).isGranted() && get(async).isGranted()).isTrue();
        assertThat(get(blocker).isGranted()).isTrue();
        assertThat(flood).filteredOn(CompletableFuture::isDone).hasSizeLessThan(100);
        assertThat(gate.statements()).hasSizeLessThanOrEqualTo(3)
                .element(1).isEqualTo("consume" + " consume".repeat(99));
        gate.open();
        assertThat(Gate.outcomes(flood)).containsOnly("Granted");
        assertThat(gate.statements()).hasSize(1 + (calls + 2 + 99) / 100);
        assertThat(used()).isEqualTo(calls + 2);
    }

    @Test
    void whoHasWaitedTooLongIsToldSoAndNeverCharged() throws Exception {
        Duration wait = Duration.ofMillis(300);
        Quotas hasty = gate.quotas(ONE.longestWait(wait));
        CompletableFuture<Decision> blocker = gate.block(hasty);
        List<CompletableFuture<Decision>> calls = List.of(hasty.async().consume(CALL),
                hasty.async().consume(nth("beta", 1)), hasty.async().consume(CALL));
        Gate.Caller blocking = Gate.call(hasty, CALL);
        List<QuotaException.Overloaded> told = new ArrayList<>();
        told.add(blocking.failure(QuotaException.Overloaded.class));
        for (CompletableFuture<Decision> call : calls) {
            told.add(failure(QuotaException.Overloaded.class, call));
        }
        assertThat(told).extracting(e -> e.bound() + " " + e.value())
                .containsOnly("longestWait PT0.3S");
        // the next one that waits is looked after too
        assertThat(failure(QuotaException.Overloaded.class, hasty.async().consume(CALL)))
                .isNotNull();
        gate.open();
        assertThat(get(blocker).isGranted()).as("it was under way").isTrue();
        assertThat(hasty.consume(CALL).isGranted()).isTrue();
        assertThat(used()).isEqualTo(1);
    }

    /** Told on the thread that looks for them, whatever is done then: it must hold no lock. */
    @Test
    void whoIsToldThatItWaitedTooLongMayCallAgain() throws Exception {
        Quotas own = gate.quotas(ONE.longestWait(Duration.ofSeconds(1)), Runnable::run);
        gate.block(own);
        CompletableFuture<Decision> again = own.async().consume(CALL).handle((none, e) -> {
            Gate.Caller blocking = Gate.call(own, CALL);
            gate.open();
            try {
                return get(blocking);
            } catch (Exception unexpected) {
                throw new IllegalStateException(unexpected);
            }
        });
        assertThat(get(again).isGranted()).isTrue();
        assertThat(used()).isEqualTo(1);
    }

    @Test
    void whoIsInterruptedBeforeItsCallIsSentIsNotCharged() throws Exception {
        CompletableFuture<Decision> blocker = gate.block(quotas);
        ConcurrentLinkedQueue<Boolean> flags = new ConcurrentLinkedQueue<>();
        Operations telling = ContractTest.through((verb, arguments) -> {
            try {
                return verb.invoke(quotas, arguments);
            } finally {
                flags.add(Thread.currentThread().isInterrupted());
            }
        });
        Gate.Caller caller = Gate.call(telling, CALL);
        caller.thread().interrupt();
        caller.failure(QuotaException.Withdrawn.class);
        assertThat(flags).as("still interrupted").containsExactly(true);
        Thread.currentThread().interrupt();
        assertThrows(QuotaException.Withdrawn.class, () -> quotas.consume(CALL));
        assertThat(Thread.interrupted()).isTrue();
        gate.open();
        assertThat(get(blocker).isGranted()).isTrue();
        assertThat(quotas.consume(CALL).isGranted()).isTrue();
        assertThat(used()).isEqualTo(1);
        assertThat(gate.statements()).containsExactly("consume", "consume");
    }

    @Test
    void whoIsInterruptedWhileItsCallIsUnderWayDoesNotKnow() throws Exception {
        gate.block(quotas);
        Gate.Caller caller = Gate.call(quotas, CALL.key("k"));
        CompletableFuture<Decision> other = quotas.async().consume(CALL);
        gate.letOne();
        Gate.await().until(() -> gate.statements().size() == 2);
        caller.thread().interrupt();
        assertThat(caller.failure(QuotaException.OutcomeUnknown.class))
                .hasCauseInstanceOf(InterruptedException.class);
        gate.open();
        assertThat(get(other).isGranted()).isTrue();
        assertThat(quotas.consume(CALL.key("k")).orThrow().replayed()).isTrue();
        assertThat(used()).isEqualTo(2);
    }

    @Test
    void aFutureThatCouldBeCancelledIsNeverChargedAndOneThatCouldNotIsAnswered() throws Exception {
        gate.block(quotas);
        CompletableFuture<Decision> sent = quotas.async().consume(CALL);
        gate.letOne();
        Gate.await().until(() -> gate.statements().size() == 2);
        CompletableFuture<Decision> waits = quotas.async().consume(CALL);
        CompletableFuture<Decision> follows = waits.thenApply(d -> d);
        assertThat(waits.cancel(true)).isTrue();
        assertThat(waits.isCancelled()).isTrue();
        assertThat(waits.cancel(false)).as("again: it is cancelled").isTrue();
        assertThat(sent.cancel(true)).isFalse();
        assertThat(sent.isDone()).isFalse();
        assertThat(follows).isCompletedExceptionally();
        gate.open();
        assertThat(get(sent).isGranted()).isTrue();
        assertThat(sent.cancel(true)).isFalse();
        assertThat(quotas.consume(CALL).isGranted()).isTrue();
        assertThat(used()).isEqualTo(2);
    }

    @Test
    void closeWaitsForTheAnswersOfAll() throws Exception {
        gate.block(quotas);
        List<CompletableFuture<Decision>> async = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            async.add(quotas.async().consume(nth("acme", i)));
        }
        Gate.Caller blocking = Gate.call(quotas, CALL);
        Thread closer = new Thread(quotas::close, "closer");
        closer.start();
        Gate.await().until(() -> closer.getState() == Thread.State.TIMED_WAITING);
        assertThat(failure(QuotaException.Unavailable.class, quotas.async().consume(CALL)))
                .hasMessageContaining("closed");
        gate.open();
        closer.join(30_000);
        assertThat(closer.isAlive()).isFalse();
        assertThat(async).allMatch(CompletableFuture::isDone);
        assertThat(Gate.outcomes(async)).containsOnly("Granted");
        assertThat(get(blocking).isGranted()).isTrue();
        failure(QuotaException.Unavailable.class, quotas.async().consume(CALL));
        assertThat(quotas.consume(CALL).isGranted()).as("one by one").isTrue();
        assertThat(used()).isEqualTo(12);
    }

    /** Each is answered, or refused and not charged, whenever the close comes. */
    @Test
    void callsThatRaceWithACloseAreAnsweredAllTheSame() throws Exception {
        AtomicInteger granted = new AtomicInteger();
        for (int round = 0; round < 100; round++) {
            Quotas closing = gate.quotas();
            Callers.run(5, caller -> {
                if (caller == 0) {
                    closing.close();
                    return null;
                }
                for (int i = 0; i < 3; i++) {
                    if (caller % 2 == 0) {
                        assertThat(closing.consume(nth("acme", i)).isGranted()).isTrue();
                        granted.incrementAndGet();
                        continue;
                    }
                    try {
                        granted.addAndGet(
                                get(closing.async().consume(nth("beta", i))).isGranted() ? 1 : 0);
                    } catch (ExecutionException e) {
                        assertThat(e.getCause()).isInstanceOf(QuotaException.Unavailable.class);
                    }
                }
                return null;
            });
        }
        assertThat(used()).isEqualTo(granted.get());
    }

    @Test
    void futuresAreCompletedOnThreadsThatSendNothingUnlessAsked() throws Exception {
        Quotas own = gate.quotas(ONE, Runnable::run);
        for (Quotas each : List.of(quotas, own)) {
            gate.block(each);
            CompletableFuture<String> thread = each.async().consume(CALL)
                    .thenApply(d -> Thread.currentThread().getName());
            CompletableFuture<String> failed = each.async().consume(nth("nobody", 0))
                    .handle((none, e) -> Thread.currentThread().getName());
            gate.open();
            String expected = each == own ? COMBINER : "pgquota-async";
            assertThat(get(thread)).startsWith(expected);
            assertThat(get(failed)).startsWith(expected);
        }
    }

    /** A future must not wait for what depends on another one. */
    @Test
    void whatDependsOnOneFutureMayWaitForAnotherOfTheSameStatement() throws Exception {
        gate.block(quotas);
        CompletableFuture<Decision> later = new CompletableFuture<>();
        CompletableFuture<Decision> first = quotas.async().consume(nth("acme", 0))
                .thenApply(d -> later.join());
        quotas.async().consume(nth("acme", 1)).thenAccept(later::complete);
        gate.open();
        try {
            assertThat(get(first).isGranted()).isTrue();
        } finally {
            later.cancel(true); // or the thread that waits for it could not be closed
        }
    }

    @Test
    void anExecutorThatRefusesOrBreaksDoesNotKeepFuturesFromCompleting() throws Exception {
        List<Executor> bad = List.of(
                work -> {
                    throw new RejectedExecutionException("full");
                },
                work -> {
                    throw new IllegalStateException("broken");
                },
                work -> {
                    throw new OutOfMemoryError("unable to create native thread");
                });
        for (Executor executor : bad) {
            Quotas own = gate.quotas(ONE, executor);
            gate.block(own);
            List<CompletableFuture<Decision>> calls = List.of(own.async().consume(CALL),
                    own.async().consume(nth("beta", 0)), own.async().consume(CALL));
            Gate.Caller blocking = Gate.call(own, CALL);
            gate.open();
            assertThat(Gate.outcomes(calls)).containsOnly("Granted");
            assertThat(get(blocking).isGranted()).isTrue();
            assertThat(own.consume(CALL).isGranted()).as("the place was given back").isTrue();
        }
        assertThat(used()).isEqualTo(15);
    }

    @Test
    void whatBreaksBelowBreaksThatStatementOnly() throws Exception {
        for (Throwable broken : List.of(new IllegalStateException("a driver's bug"),
                new StackOverflowError(), new AssertionError())) {
            CompletableFuture<Decision> blocker = gate.block(quotas);
            CompletableFuture<Decision> async = quotas.async().consume(CALL);
            Gate.Caller blocking = Gate.call(quotas, CALL);
            gate.letOne();
            Gate.await().until(() -> gate.statements().size() == 2);
            gate.failNext(broken);
            gate.open();
            assertThat(get(blocker).isGranted()).isTrue();
            assertThat(failure(QuotaException.OutcomeUnknown.class, async)).hasRootCause(broken);
            assertThat(blocking.failure(QuotaException.OutcomeUnknown.class))
                    .hasRootCause(broken);
            gate.block(quotas);
            CompletableFuture<Decision> next = quotas.async().consume(CALL);
            gate.open();
            assertThat(get(next).isGranted()).as("there is still a way").isTrue();
        }
        assertThat(used()).isEqualTo(3);
    }

    @Test
    void anExhaustedPoolIsUnavailableForAllOfAStatement() throws Exception {
        HikariConfig config = new HikariConfig();
        config.setDataSource(gate.dataSource());
        config.setMaximumPoolSize(1);
        config.setConnectionTimeout(250);
        try (HikariDataSource pool = new HikariDataSource(config);
                Quotas small = Quotas.on(pool).combining(ONE).build()) {
            List<CompletableFuture<Decision>> calls;
            Gate.Caller blocking;
            try (Connection taken = pool.getConnection()) {
                assertThat(taken.isClosed()).isFalse();
                calls = List.of(small.async().consume(nth("acme", 0)),
                        small.async().consume(nth("acme", 1)), small.async().consume(CALL));
                blocking = Gate.call(small, CALL);
                assertThat(Gate.outcomes(calls)).containsOnly("Unavailable");
                assertThat(blocking.failure(QuotaException.Unavailable.class))
                        .hasMessageContaining("pool");
            }
            assertThat(small.consume(CALL).isGranted()).isTrue();
        }
        assertThat(used()).isEqualTo(1);
    }

    /** An exception that is shared would tell where somebody else's call was. */
    @Test
    void eachCallersExceptionTellsItsOwnPlace() throws Exception {
        gate.block(quotas);
        Gate.Caller one = Gate.call(ContractTest.through((verb, arguments) -> firstPlace(
                () -> verb.invoke(quotas, arguments))), nth("nobody", 0));
        Gate.Caller two = Gate.call(ContractTest.through((verb, arguments) -> secondPlace(
                () -> verb.invoke(quotas, arguments))), nth("nobody", 0));
        gate.letOne();
        Gate.await().until(() -> gate.statements().size() == 2);
        gate.open();
        assertPlaces(one.failure(QuotaException.UnknownTenant.class),
                two.failure(QuotaException.UnknownTenant.class));
        assertThat(gate.statements()).containsExactly("consume", "consume*2");

        gate.block(quotas);
        Gate.Caller three = Gate.call(ContractTest.through((verb, arguments) -> firstPlace(
                () -> verb.invoke(quotas, arguments))), CALL);
        Gate.Caller four = Gate.call(ContractTest.through((verb, arguments) -> secondPlace(
                () -> verb.invoke(quotas, arguments))), CALL);
        gate.letOne();
        Gate.await().until(() -> gate.statements().size() == 2);
        gate.failNext(new java.sql.SQLException("the wire was cut", "08006"));
        gate.open();
        assertPlaces(three.failure(QuotaException.OutcomeUnknown.class),
                four.failure(QuotaException.OutcomeUnknown.class));
    }

    private static void assertPlaces(Throwable first, Throwable second) {
        assertThat(first.getStackTrace()).extracting(StackTraceElement::getMethodName)
                .contains("firstPlace").doesNotContain("secondPlace");
        assertThat(second.getStackTrace()).extracting(StackTraceElement::getMethodName)
                .contains("secondPlace").doesNotContain("firstPlace");
    }

    /** What a caller does. */
    private interface Work {
        Object run() throws Exception;
    }

    private static Object firstPlace(Work work) throws Exception {
        return work.run();
    }

    private static Object secondPlace(Work work) throws Exception {
        return work.run();
    }

    /** This project is compiled for Java 17, which has no virtual threads. */
    @Test
    void virtualThreadsWaitAndAreInterruptedAsOthersAre() throws Exception {
        assumeTrue(Runtime.version().feature() >= 21, "virtual threads need Java 21 or newer");
        ExecutorService virtual = (ExecutorService) Executors.class
                .getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        try {
            gate.block(quotas);
            List<Future<Decision>> calls = new ArrayList<>();
            List<Thread> threads = Collections.synchronizedList(new ArrayList<>());
            CountDownLatch begun = new CountDownLatch(1_000);
            for (int i = 0; i < 1_000; i++) {
                Request request = nth(i % 3 == 0 ? "beta" : "acme", i);
                calls.add(virtual.submit(() -> {
                    threads.add(Thread.currentThread());
                    begun.countDown();
                    return quotas.consume(request);
                }));
            }
            assertThat(begun.await(30, TimeUnit.SECONDS)).isTrue();
            List<Thread> interrupted = List.copyOf(threads.subList(0, 100));
            Gate.await().until(() -> interrupted.stream().allMatch(Gate::isQueued));
            interrupted.forEach(Thread::interrupt);
            Gate.await().until(() -> calls.stream().filter(Future::isDone).count() == 100);
            gate.open();
            int granted = 0;
            for (Future<Decision> call : calls) {
                try {
                    granted += get(call).isGranted() ? 1 : 0;
                } catch (ExecutionException e) {
                    assertThat(e.getCause()).isInstanceOf(QuotaException.Withdrawn.class);
                }
            }
            assertThat(granted).isEqualTo(900);
        } finally {
            virtual.shutdownNow();
        }
        assertThat(used()).isEqualTo(900);
        assertThat(company()).isEqualTo(1);
    }
}
