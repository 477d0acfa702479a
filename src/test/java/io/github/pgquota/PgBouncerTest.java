package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.pgquota.tool.PgBouncer;
import java.io.IOException;
import java.net.URI;
import java.sql.Connection;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;

/** All through PgBouncer in transaction mode, where it is installed. */
class PgBouncerTest extends ContractTest {

    private @Nullable PgBouncer bouncer;
    private Pools.@Nullable Pool pool;

    @Override
    Operations operations(World world) throws IOException {
        assumeTrue(PgBouncer.installed().isPresent(), PgBouncer.NOT_INSTALLED);
        String url = TestDatabase.server().url("postgres").substring("jdbc:".length());
        bouncer = PgBouncer.to(URI.create(url).getPort(), TestDatabase.server().user(),
                TestDatabase.server().password());
        pool = pool(world, 4);
        return Quotas.on(pool).direct().build();
    }

    private Pools.Pool pool(World world, int size) {
        return Pools.create(bouncer.url(world.database().name()), "anybody", "", size);
    }

    @AfterAll
    void stop() throws IOException {
        if (pool != null) {
            pool.close();
            bouncer.close();
        }
    }

    @Test
    void callersShareServerConnections() throws Exception {
        try (World world = World.with(MESSAGES);
                Pools.Pool pool = pool(world, 50);
                Quotas quotas = Quotas.on(pool).build()) {
            List<Thread> callers = IntStream.range(0, 50).mapToObj(i -> new Thread(() -> {
                for (int n = 0; n < 4; n++) {
                    Request call = Request.of("acme/u" + i).take("requests", 1).key(i + "-" + n);
                    quotas.consume(call);
                    quotas.consume(call);
                    quotas.balances(call.scope());
                }
            }, "caller")).toList();
            callers.forEach(Thread::start);
            for (Thread caller : callers) {
                caller.join();
            }
            assertThat(world.rows("select used, entries from pgquota.counter"))
                    .containsExactly("100 100");
            world.proof();
        }
    }

    @Test
    void aTransactionOfTheCallersCommitsOrRollsBack() throws Exception {
        try (World world = World.with(MESSAGES);
                Pools.Pool pool = pool(world, 2);
                Quotas quotas = Quotas.on(pool).build();
                Connection one = pool.getConnection();
                Connection other = pool.getConnection()) {
            one.setAutoCommit(false);
            other.setAutoCommit(false);
            quotas.within(one).consume(Request.of("acme/a").take("requests", 3)).orThrow();
            one.commit();
            quotas.within(one).consume(Request.of("acme/a").take("requests", 5)).orThrow();
            one.rollback();
            quotas.within(other).consume(Request.of("acme/b").take("requests", 7)).orThrow();
            other.commit();
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("10");
        }
    }

    @Test
    void plansReportsAndUpkeepWorkToo() {
        try (World world = World.with(MESSAGES);
                Pools.Pool pool = pool(world, 2);
                Quotas quotas = Quotas.on(pool).build()) {
            quotas.plans().publish(new Plan("P", List.of(MESSAGES.capacity(7))));
            assertThat(quotas.consume(Request.of("acme/a").take("requests", 8)).isGranted())
                    .isFalse();
            quotas.consume(Request.of("acme/a").take("requests", 7)).orThrow();
            assertThat(quotas.reports().reconcile("acme")).isEmpty();
            assertThat(quotas.reports().balances("acme")).hasSize(1);
            assertThat(quotas.upkeep().runOnce(MINUTE).finished()).isTrue();
            Schema.of(pool).verify();
        }
    }
}
