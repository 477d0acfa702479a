package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.reflect.Proxy;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;

/** The verbs as futures, on platform and virtual threads. */
class AsyncTest {

    private static final Limit MESSAGES =
            Limit.named("messages").on("requests").capacity(100).per(Window.month());
    private static final Request CALL = Request.of("acme/a").take("requests", 10);

    private static <T> T get(CompletableFuture<T> future) throws Exception {
        return future.get(30, TimeUnit.SECONDS);
    }

    @Test
    void everyVerbCompletes() throws Exception {
        try (World world = World.with(MESSAGES)) {
            AsyncOperations quotas = world.quotas().async();
            Duration minute = Duration.ofMinutes(1);
            OperationId operation = get(quotas.consume(CALL)).orThrow().operation();
            assertThat(get(quotas.consumeUpTo(CALL)).granted()).containsEntry("requests", 10L);
            assertThat(get(quotas.record(CALL)).granted()).containsEntry("requests", 10L);
            assertThat(get(quotas.check(CALL)).isGranted()).isTrue();
            assertThat(get(quotas.consumeAll(List.of(CALL, CALL)))).hasSize(2);
            OperationId hold = get(quotas.reserve(CALL, minute)).orThrow().operation();
            assertThat(get(quotas.extend(hold, Map.of("requests", 1L), minute, null)).isGranted())
                    .isTrue();
            assertThat(get(quotas.settle(hold, Map.of())).granted()).containsEntry("requests", 11L);
            OperationId released = get(quotas.reserve(CALL, minute)).orThrow().operation();
            get(quotas.release(released));
            assertThat(get(quotas.refund(operation, Map.of(), "k")).replayed()).isFalse();
            assertThat(get(quotas.balances(Scope.of("acme"))).get(0).used()).isEqualTo(51);
            assertThat(world.rows("select used, held from pgquota.counter"))
                    .containsExactly("51 0");
            world.proof();
        }
    }

    @Test
    void aFailureIsTheTypedExceptionAndADenialIsNoFailure() throws Exception {
        try (World world = World.with(MESSAGES)) {
            AsyncOperations quotas = world.quotas().async();
            assertThat(get(quotas.consume(Request.of("acme").take("requests", 101))).isGranted())
                    .isFalse();
            ExecutionException e = assertThrows(ExecutionException.class,
                    () -> get(quotas.consume(Request.of("acme").take("bytes", 1))));
            assertThat(e.getCause()).isInstanceOf(QuotaException.UnknownMeter.class);
            // what the caller got wrong is told the same way, not thrown at once
            CompletableFuture<Decision> bad = quotas.consume(Request.of("acme"));
            assertThat(assertThrows(ExecutionException.class, () -> get(bad)).getCause())
                    .isInstanceOf(QuotaException.Invalid.class);
            assertThat(world.rows("select * from pgquota.counter")).isEmpty();
        }
    }

    @Test
    void closeLetsWhatWasBegunFinishAndRefusesTheRest() throws Exception {
        try (World world = World.with(MESSAGES.capacity(10_000))) {
            Quotas quotas = Quotas.on(world.pool()).build();
            List<CompletableFuture<Decision>> begun = new ArrayList<>();
            for (int i = 0; i < 300; i++) {
                begun.add(quotas.async().consume(CALL));
            }
            quotas.close();
            quotas.close();
            assertThat(begun).allMatch(CompletableFuture::isDone)
                    .noneMatch(CompletableFuture::isCompletedExceptionally);
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("3000");
            CompletableFuture<Decision> late = quotas.async().consume(CALL);
            assertThat(assertThrows(ExecutionException.class, () -> get(late)).getCause())
                    .isInstanceOf(QuotaException.Unavailable.class);
            assertThat(quotas.consume(CALL).isGranted()).as("blocking").isTrue();
            assertThat(world.pool().isClosed()).as("a borrowed DataSource").isFalse();
        }
    }

    /** It would wait for the thread that it is on. */
    @Test
    void closeInACallbackEnds() throws Exception {
        try (World world = World.with(MESSAGES)) {
            CountDownLatch hold = new CountDownLatch(1);
            DataSource source = (DataSource) Proxy.newProxyInstance(
                    AsyncTest.class.getClassLoader(), new Class<?>[] {DataSource.class},
                    (self, method, arguments) -> {
                        hold.await();
                        return world.pool().getConnection();
                    });
            Quotas combined = Quotas.on(source).build();
            Quotas direct = Quotas.on(source).direct().build();
            CompletableFuture<Void> read = combined.async().balances(CALL.scope())
                    .thenRun(combined::close);
            CompletableFuture<Void> written = direct.async().consume(CALL)
                    .thenRun(direct::close);
            hold.countDown();
            read.get(10, TimeUnit.SECONDS);
            written.get(10, TimeUnit.SECONDS);
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("10");
        }
    }

    @Test
    void anExecutorOfTheCallersIsUsedAndLeftRunning() throws Exception {
        ExecutorService executor = Executors.newSingleThreadExecutor(
                work -> new Thread(work, "the caller's"));
        try (World world = World.with(MESSAGES)) {
            Quotas quotas = Quotas.on(world.pool()).executor(executor).build();
            CompletableFuture<String> name = quotas.async().consume(CALL)
                    .thenApply(d -> Thread.currentThread().getName());
            get(quotas.async().consume(CALL));
            assertThat(get(name)).isIn("the caller's", Thread.currentThread().getName());
            quotas.close();
            assertThat(executor.isShutdown()).isFalse();
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("20");
        } finally {
            executor.shutdownNow();
        }
    }

    /** This project is compiled for Java 17, which has no virtual threads. */
    @Test
    void virtualThreadsByTheThousandCountRight() throws Exception {
        assumeTrue(Runtime.version().feature() >= 21, "virtual threads need Java 21 or newer");
        ExecutorService virtual = (ExecutorService) Executors.class
                .getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        try (World world = World.with(MESSAGES.capacity(1_500))) {
            try (Quotas quotas = Quotas.on(world.pool()).executor(virtual).build()) {
                List<CompletableFuture<Decision>> calls = new ArrayList<>();
                for (int i = 0; i < 2_000; i++) {
                    calls.add(quotas.async().consume(Request.of("acme").take("requests", 1)));
                }
                long granted = 0;
                for (CompletableFuture<Decision> call : calls) {
                    granted += get(call).isGranted() ? 1 : 0;
                }
                assertThat(granted).isEqualTo(1_500);
            }
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("1500");
            world.proof();
        } finally {
            virtual.shutdown();
        }
    }
}
