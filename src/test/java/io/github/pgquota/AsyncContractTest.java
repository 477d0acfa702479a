package io.github.pgquota;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/** Each call is a future that is waited for; it fails with what the blocking verb throws. */
class AsyncContractTest extends ContractTest {

    @Override
    Operations operations(World world) {
        AsyncOperations async = world.quotas().async();
        return through((verb, arguments) -> {
            Object future = AsyncOperations.class
                    .getMethod(verb.getName(), verb.getParameterTypes()).invoke(async, arguments);
            try {
                return ((CompletableFuture<?>) future).get(30, TimeUnit.SECONDS);
            } catch (ExecutionException e) {
                throw e.getCause();
            }
        });
    }
}
