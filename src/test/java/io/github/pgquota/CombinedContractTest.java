package io.github.pgquota;

/** Calls at the same time share a statement, as they do by default. */
class CombinedContractTest extends ContractTest {

    @Override
    Operations operations(World world) {
        return Quotas.on(world.pool()).build();
    }
}
