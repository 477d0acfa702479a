package io.github.pgquota.tool.bench;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.Quotas;
import io.github.pgquota.tool.PostgresServer;
import io.github.pgquota.tool.Proxy;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.function.Function;
import org.postgresql.ds.PGSimpleDataSource;

/** Both paths on one scope through a network that takes its time. */
final class RoundTrips implements AutoCloseable {

    private static final int COUNTED = 100;

    private final Proxy proxy;
    private final HikariDataSource pool;
    private final Quotas quotas;
    private final Contender bare;
    private final Contender direct;

    RoundTrips(Stage stage, double millis) {
        proxy = Proxy.to(stage.url());
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(proxy.url(stage.url()));
        source.setUser(stage.server().user());
        source.setPassword(stage.server().password());
        pool = PostgresServer.pool(source, 1);
        quotas = Quotas.on(pool).build();
        Function<String, Line> line = path -> new Line("hot", path, 1, Line.PLATFORM, millis);
        bare = Contenders.bareHot(line.apply("bare"), stage, pool);
        direct = Contenders.hot(line.apply("direct"), stage, quotas);
        proxy.delay(Duration.ofNanos(Math.round(millis * 1e6 / 2)));
    }

    List<Contender> contenders() {
        return List.of(bare, direct);
    }

    /** Round trips that a call of the library takes. */
    double perCall() throws SQLException {
        long before = proxy.roundTrips();
        for (int i = 0; i < COUNTED; i++) {
            direct.call();
        }
        return (proxy.roundTrips() - before) / (double) COUNTED;
    }

    @Override
    public void close() {
        quotas.close();
        pool.close();
        proxy.close();
    }
}
