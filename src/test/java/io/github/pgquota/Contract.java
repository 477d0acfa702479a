package io.github.pgquota;

import java.time.Duration;
import java.util.List;

/**
 * What the tests of the contract share. They are the default methods of the interfaces that extend
 * this one, and {@link ContractTest} gathers them; a path passes all of them or is none.
 *
 * <p>They look at the rows of {@link World#TENANT} only, because a path may carry calls of
 * {@link World#BYSTANDER} beside theirs.
 */
interface Contract {

    Limit MESSAGES = Limit.named("messages").on("requests").capacity(100).per(Window.month());
    Limit TOKENS = Limit.named("tokens").capacity(1000);
    Request CALL = Request.of("acme/a").take("requests", 10);
    Duration MINUTE = Duration.ofMinutes(1);
    String MARCH = "2026-03-10T12:00:00Z";
    String APRIL = "2026-04-01T00:00:00Z";

    /** The verbs, on the path under test. */
    Operations quotas();

    /** An empty database, but for a tenant whose plan has these limits. */
    World world(Limit... limits);

    /** Runs a table in an empty database whose clock stands still in {@link #MARCH}. */
    default void table(String lines, Limit... limits) {
        lines(world(limits).clock(MARCH), lines);
    }

    /** Runs a table in a database. */
    default void lines(World world, String lines) {
        Table.run(world, quotas(), lines.replace("APRIL", APRIL));
    }

    /** These columns of the tenant's counters, by scope, meter and window. */
    default List<String> counters(World world, String columns) {
        return world.rows("select " + columns + " from pgquota.counter where tenant = 'acme' "
                + "order by scope, meter, per, start_at");
    }
}
