package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.tool.PostgresServer;
import io.github.pgquota.tool.Proxy;
import java.sql.Connection;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.postgresql.ds.PGSimpleDataSource;

/** One decision is one round trip, and takes one connection for as long as that. */
class RoundTripTest {

    private static final Limit MESSAGES =
            Limit.named("messages").on("requests").capacity(1_000_000).alertAt(1, 2);
    private static final Limit TEAM = Limit.named("team").on("requests").level(1).unlimited();

    /** A verb, ready to be called once. */
    private record Step(String name, Runnable call) {}

    private static List<Step> steps(Operations quotas, OperationId hold, OperationId operation) {
        Request call = Request.of("acme/red").take("requests", 1);
        Request keyed = call.key("k");
        return List.of(
                new Step("first of a scope", () -> quotas.consume(
                        Request.of("acme/fresh").take("requests", 1).key("fresh"))),
                new Step("consume", () -> quotas.consume(call)),
                new Step("consume keyed", () -> quotas.consume(keyed)),
                new Step("replay", () -> quotas.consume(keyed)),
                new Step("denied", () -> quotas.consume(
                        Request.of("acme/red").take("requests", 2_000_000))),
                new Step("up to", () -> quotas.consumeUpTo(call)),
                new Step("record", () -> quotas.record(call)),
                new Step("reserve", () -> quotas.reserve(call, Duration.ofMinutes(1))),
                new Step("extend", () -> quotas.extend(
                        hold, Map.of("requests", 1L), Duration.ofMinutes(9), null)),
                new Step("settle", () -> quotas.settle(hold, Map.of("requests", 1L))),
                new Step("release again", () -> quotas.release(hold)),
                new Step("refund", () -> quotas.refund(operation, Map.of(), null)),
                new Step("check", () -> quotas.check(call)),
                new Step("list", () -> quotas.consumeAll(List.of(call, keyed, call))),
                new Step("balances", () -> quotas.balances(Scope.of("acme/red"))));
    }

    private static void through(World world, Consumer<PGSimpleDataSource> settings,
            int delayMillis) {
        try (Proxy proxy = Proxy.to(world.database().url())) {
            PGSimpleDataSource source = new PGSimpleDataSource();
            source.setURL(proxy.url(world.database().url()));
            source.setUser(TestDatabase.server().user());
            source.setPassword(TestDatabase.server().password());
            settings.accept(source);
            Request call = Request.of("acme/red").take("requests", 1);
            OperationId hold =
                    world.quotas().reserve(call, Duration.ofMinutes(1)).orThrow().operation();
            OperationId operation = world.quotas().consume(call).orThrow().operation();
            try (HikariDataSource pool = PostgresServer.pool(source, 1);
                    Quotas quotas = Quotas.on(pool).build()) {
                quotas.consume(call); // logs in
                proxy.delay(Duration.ofMillis(delayMillis));
                for (Step step : steps(quotas, hold, operation)) {
                    long before = proxy.roundTrips();
                    step.call().run();
                    assertThat(proxy.roundTrips() - before).as(step.name()).isEqualTo(1);
                }
                assertThat(proxy.connections()).isEqualTo(1);
                assertThat(pool.getHikariPoolMXBean().getActiveConnections()).isZero();
            }
            world.proof();
        }
    }

    @Test
    void everyVerbIsOneRoundTripOnOneConnection() {
        try (World world = World.with(MESSAGES, TEAM)) {
            through(world, source -> { }, 0);
        }
    }

    @Test
    void soItIsOnASlowNetwork() {
        try (World world = World.with(MESSAGES, TEAM)) {
            through(world, source -> { }, 20);
        }
    }

    @Test
    void soItIsWithoutPreparedStatementsAndWithThemAtOnce() {
        for (int threshold : new int[] {0, 1}) {
            try (World world = World.with(MESSAGES, TEAM)) {
                through(world, source -> source.setPrepareThreshold(threshold), 0);
            }
        }
    }

    @Test
    void insideATransactionTooEachVerbIsOne() throws Exception {
        try (World world = World.with(MESSAGES, TEAM);
                Proxy proxy = Proxy.to(world.database().url())) {
            PGSimpleDataSource source = new PGSimpleDataSource();
            source.setURL(proxy.url(world.database().url()));
            source.setUser(TestDatabase.server().user());
            source.setPassword(TestDatabase.server().password());
            try (Connection connection = source.getConnection()) {
                connection.setAutoCommit(false);
                Operations quotas = world.quotas().within(connection);
                Request call = Request.of("acme/red").take("requests", 1);
                quotas.consume(call);
                long before = proxy.roundTrips();
                quotas.consume(call);
                quotas.consume(call.key("k"));
                assertThat(proxy.roundTrips() - before).isEqualTo(2);
                connection.commit();
            }
            assertThat(world.rows("select distinct used from pgquota.counter"))
                    .containsExactly("3");
        }
    }
}
