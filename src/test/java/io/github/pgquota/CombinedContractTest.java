package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;

/**
 * Each call comes in while a statement is under way, and shares the next one with calls of another
 * tenant: two equal ones before it, one after it.
 */
class CombinedContractTest extends ContractTest {

    private static final Request DECOY = Request.of(World.BYSTANDER).take("company", 1);

    /** These are statements of their own. */
    private static final Set<String> ALONE = Set.of("consumeAll", "balances");

    private Gate gate;

    @Override
    public World world(Limit... limits) {
        return super.world(limits).plan("COMPANY", Limit.named("company"))
                .tenant(World.BYSTANDER, "COMPANY");
    }

    @Override
    Operations operations(World world) {
        gate = new Gate(world.pool());
        Quotas quotas = gate.quotas();
        return through((verb, arguments) -> {
            try {
                return answer(quotas, verb, arguments);
            } finally {
                gate.open();
            }
        });
    }

    private Object answer(Quotas quotas, Method verb, Object... arguments) throws Throwable {
        CompletableFuture<?> blocker = gate.block(quotas);
        CompletableFuture<?> before = CompletableFuture.allOf(
                quotas.async().consume(DECOY), quotas.async().consume(DECOY));
        FutureTask<Object> call = new FutureTask<>(() -> verb.invoke(quotas, arguments));
        Thread caller = new Thread(call, "caller");
        caller.start();
        boolean alone = ALONE.contains(verb.getName());
        Gate.await().until(() -> alone || call.isDone() || Gate.isQueued(caller));
        boolean queued = !alone && !call.isDone();
        CompletableFuture<?> after = quotas.async().record(DECOY);
        gate.open();
        for (CompletableFuture<?> decoy : new CompletableFuture<?>[] {blocker, before, after}) {
            decoy.get(30, TimeUnit.SECONDS);
        }
        if (queued) {
            String name = verb.getName().replaceAll("([A-Z])", "_$1")
                    .toLowerCase(Locale.ROOT);
            assertThat(gate.statements()).element(1)
                    .isEqualTo("consume*2 " + name + " record");
        } else if (!alone) {
            assertThat(gate.statements()).as("a bad call was not sent")
                    .containsExactly("consume", "consume*2 record");
        }
        try {
            return call.get(30, TimeUnit.SECONDS);
        } catch (java.util.concurrent.ExecutionException e) {
            if (e.getCause() instanceof InvocationTargetException told) {
                throw told;
            }
            throw e.getCause();
        }
    }

    @AfterAll
    void closeGate() {
        gate.close();
    }
}
