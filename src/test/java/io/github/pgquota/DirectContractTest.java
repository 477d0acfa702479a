package io.github.pgquota;

/** Each call is a statement of its own. */
class DirectContractTest extends ContractTest {

    @Override
    Operations operations(World world) {
        return Quotas.on(world.pool()).direct().build();
    }
}
