package io.github.pgquota;

import java.io.IOException;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.TestInstance;

/**
 * The contract, whichever way calls go to the database. A class for each way says how; one database
 * serves all its tests and is emptied before each.
 */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
abstract class ContractTest implements ChargeContract, LimitContract, HoldContract, RefundContract,
        KeyContract, LedgerContract, ListContract, RefusalContract, ChangeContract {

    private World world;
    private Operations quotas;

    /** The verbs on the way under test; closed in the end, if they can be. */
    abstract Operations operations(World world) throws IOException;

    @BeforeAll
    void open() throws IOException {
        world = World.create();
        quotas = operations(world);
    }

    @AfterEach
    void proof() {
        world.proof();
    }

    @AfterAll
    void close() throws Exception {
        if (quotas instanceof AutoCloseable closeable) {
            closeable.close();
        }
        world.close();
    }

    @Override
    public Operations quotas() {
        return quotas;
    }

    @Override
    public World world(Limit... limits) {
        return world.clear().plan("P", limits).tenant(World.TENANT, "P");
    }

    /** One call of a verb. */
    @FunctionalInterface
    interface Call {
        /** Its answer; an InvocationTargetException is what the verb threw. */
        Object answer(Method verb, Object... arguments) throws Throwable;
    }

    /** Verbs each call of which goes through this. */
    static Operations through(Call call) {
        return (Operations) Proxy.newProxyInstance(
                ContractTest.class.getClassLoader(), new Class<?>[] {Operations.class},
                (proxy, verb, arguments) -> {
                    if (verb.isDefault()) { // calls verbs, which come here again
                        return InvocationHandler.invokeDefault(proxy, verb, arguments);
                    }
                    try {
                        return call.answer(verb, arguments);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                });
    }
}
