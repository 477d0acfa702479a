package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import javax.sql.DataSource;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What becomes of the others when a statement, a connection or a completion goes wrong. */
class BrokenBatchTest {

    private static final SQLException REFUSAL = new SQLException("a value is bad", "22023");

    private final World world = World.create();
    private final Gate gate = new Gate(world.pool());

    @BeforeEach
    void plans() {
        world.plan("P", Limit.named("messages").on("requests").capacity(8));
        for (String tenant : List.of("acme", "beta", "gamma", "delta")) {
            world.tenant(tenant, "P");
        }
    }

    @AfterEach
    void proof() {
        gate.close();
        world.proof();
        world.close();
    }

    private static Request take(String scope, long requests) {
        return Request.of(scope).take("requests", requests);
    }

    private void awaitStatements(int n) {
        Gate.await().until(() -> gate.statements().size() == n);
    }

    private List<String> used() {
        return world.rows("select tenant, used from pgquota.counter order by tenant");
    }

    /** The half that is still to be sent keeps a statement, and there is another. */
    @Test
    void whoIsAnsweredInTheFirstHalfMaySendAgainBesideTheSecond() throws Exception {
        AsyncOperations two = gate.quotas(Combining.standard()).async();
        gate.shut();
        CompletableFuture<Decision> first = two.consume(take("gamma", 1));
        awaitStatements(1);
        CompletableFuture<Decision> second = two.consume(take("delta", 1));
        awaitStatements(2);
        CompletableFuture<Decision> third = two.consume(take("acme", 1));
        CompletableFuture<Decision> fourth = two.consume(take("beta", 1));
        CompletableFuture<Decision> fifth = two.consume(take("gamma", 1));
        gate.letOne(); // the first: then two of the three tenants who wait go together
        awaitStatements(3);
        gate.letOne();
        awaitStatements(4);
        gate.failNext(REFUSAL);
        gate.letOne();
        awaitStatements(5); // acme by itself
        gate.letOne();
        assertThat(fifth.get(30, TimeUnit.SECONDS).isGranted()).isTrue();
        CompletableFuture<Decision> again = two.consume(take("acme", 2));
        gate.letOne(); // acme is answered
        awaitStatements(7); // beta by itself, and acme again
        gate.open();
        assertThat(Gate.outcomes(List.of(first, second, third, fourth, fifth, again)))
                .containsOnly("Granted");
        assertThat(used()).containsExactly("acme 3", "beta 1", "delta 1", "gamma 2");
    }

    @Test
    void whatFollowsARefusedCallOfItsTenantIsDecidedBeforeWhatCameLater() throws Exception {
        AsyncOperations two = gate.quotas(Combining.standard()).async();
        gate.shut();
        CompletableFuture<Decision> blocker = two.consume(take("acme", 1));
        awaitStatements(1);
        CompletableFuture<Decision> refused = two.consume(take("acme", 2));
        CompletableFuture<Decision> follows = two.consume(take("acme", 5));
        gate.letOne();
        awaitStatements(2); // both
        gate.failNext(REFUSAL);
        gate.letOne();
        awaitStatements(3); // the first of them
        gate.failNext(REFUSAL);
        gate.letOne();
        awaitStatements(4); // the other
        CompletableFuture<Granted> later = two.record(take("acme", 6));
        CompletableFuture<Granted> other = two.consumeUpTo(take("beta", 1));
        awaitStatements(5);
        assertThat(gate.statements()).last().isEqualTo("consume_up_to");
        gate.open();
        assertThat(Gate.outcomes(List.of(blocker, refused, follows, later, other)))
                .containsExactly("Granted", "Invalid", "Granted", "Granted", "Granted");
        assertThat(gate.statements()).last().isEqualTo("record");
        assertThat(used()).containsExactly("acme 12", "beta 1");
    }

    @Test
    void aCompletionThatTakesItsTimeDoesNotKeepOthersFromBeingToldThatTheyAreLate()
            throws Exception {
        AsyncOperations async = gate.quotas(Combining.standard().statements(1)
                .longestWait(Duration.ofMillis(200)), Runnable::run).async();
        gate.shut();
        CompletableFuture<Decision> blocker = async.consume(take("acme", 1));
        gate.awaitHeld();
        CountDownLatch entered = new CountDownLatch(1);
        CountDownLatch leave = new CountDownLatch(1);
        CompletableFuture<?> slow = async.consume(take("beta", 1)).handle((answer, e) -> {
            entered.countDown();
            return await(leave);
        });
        assertThat(entered.await(30, TimeUnit.SECONDS)).isTrue();
        CompletableFuture<Decision> late = async.consume(take("beta", 1));
        assertThat(Gate.outcomes(List.of(late))).containsExactly("Overloaded");
        leave.countDown();
        gate.open();
        slow.get(30, TimeUnit.SECONDS);
        assertThat(blocker.get(30, TimeUnit.SECONDS).isGranted()).isTrue();
        assertThat(used()).containsExactly("acme 1");
    }

    private static boolean await(CountDownLatch latch) {
        try {
            return latch.await(30, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    void whatBreaksBelowACallThatGoesAtOnceLeavesItUnknown() {
        Quotas quotas = gate.quotas();
        gate.failNext(new IllegalStateException("the driver is broken"));
        assertThat(assertThrows(QuotaException.OutcomeUnknown.class,
                () -> quotas.consume(take("acme", 1))))
                .hasRootCauseMessage("the driver is broken");
        assertThat(quotas.consume(take("acme", 1)).isGranted()).isTrue();
        assertThat(used()).containsExactly("acme 1");
    }

    /** It was charged, and so it is told, whatever becomes of the connection. */
    @Test
    void aConnectionThatCannotBeGivenBackDoesNotUndoWhatWasDone() throws Exception {
        try (Quotas quotas = Quotas.on(brokenAtTheEnd(world.pool())).build()) {
            assertThat(quotas.consume(take("acme", 1)).isGranted()).isTrue();
            assertThat(quotas.async().consume(take("acme", 1)).get(30, TimeUnit.SECONDS)
                    .isGranted()).isTrue();
        }
        assertThat(used()).containsExactly("acme 2");
    }

    private static DataSource brokenAtTheEnd(DataSource behind) {
        ClassLoader loader = BrokenBatchTest.class.getClassLoader();
        return (DataSource) Proxy.newProxyInstance(loader, new Class<?>[] {DataSource.class},
                (self, verb, arguments) -> {
                    Connection connection = (Connection) verb.invoke(behind, arguments);
                    return Proxy.newProxyInstance(loader, new Class<?>[] {Connection.class},
                            (proxy, method, values) -> {
                                try {
                                    Object result = method.invoke(connection, values);
                                    if (method.getName().equals("close")) {
                                        throw new SQLException("it is gone", "40001");
                                    }
                                    return result;
                                } catch (InvocationTargetException e) {
                                    throw e.getCause();
                                }
                            });
                });
    }

    @Test
    void lockedTenantsAreFoundAmongManyAndNobodyWaitsWithThem() throws Exception {
        for (int i = 0; i < 40; i++) {
            world.tenant("t" + i, "P");
            world.quotas().consume(take("t" + i, 1));
        }
        Quotas quotas = gate.quotas();
        try (Connection transaction = world.database().connection()) {
            transaction.setAutoCommit(false);
            Operations within = world.quotas().within(transaction);
            for (int i = 0; i < 40; i += 4) {
                within.consume(take("t" + i, 1));
            }
            CompletableFuture<Decision> blocker = gate.block(quotas, take("acme", 1));
            List<CompletableFuture<Decision>> calls = java.util.stream.IntStream.range(0, 40)
                    .mapToObj(i -> quotas.async().consume(take("t" + i, 1))).toList();
            gate.open();
            assertThat(blocker.get(30, TimeUnit.SECONDS).isGranted()).isTrue();
            for (int i = 0; i < 40; i++) {
                if (i % 4 != 0) {
                    assertThat(calls.get(i).get(30, TimeUnit.SECONDS).isGranted()).isTrue();
                }
            }
            assertThat(calls.stream().filter(CompletableFuture::isDone)).hasSize(30);
            transaction.commit();
            for (CompletableFuture<Decision> call : calls) {
                try {
                    assertThat(call.get(30, TimeUnit.SECONDS).isGranted()).isTrue();
                } catch (ExecutionException e) {
                    throw new AssertionError(e.getCause());
                }
            }
        }
        assertThat(world.rows("select distinct used from pgquota.counter where tenant like 't%' "
                + "order by 1")).containsExactly("2", "3");
    }
}
