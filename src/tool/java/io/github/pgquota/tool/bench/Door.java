package io.github.pgquota.tool.bench;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.Quotas;
import io.github.pgquota.tool.PostgresServer;
import io.github.pgquota.tool.Proxy;
import io.lettuce.core.RedisURI;
import java.sql.SQLException;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.function.DoubleSupplier;
import java.util.function.Supplier;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * The way to the servers, perhaps through a network that takes its time, and everybody who goes
 * that way: all of PostgreSQL's through one pool.
 */
final class Door implements AutoCloseable {

    static final int POOL = 16;

    private final Stage stage;
    private final Supplier<RedisServer> redis;
    private final Duration eachWay;
    private final @Nullable Proxy proxy;
    private final HikariDataSource pool;
    private final Gauge gauge;
    private final Map<String, CallPath> paths = new HashMap<>();
    private @Nullable Proxy redisProxy;

    /** A door to a stage, and to a Redis if somebody asks for it. */
    Door(Stage stage, Supplier<RedisServer> redis, double rttMillis) throws SQLException {
        this.stage = stage;
        this.redis = redis;
        this.eachWay = Duration.ofNanos(Math.round(rttMillis * 1e6 / 2));
        this.proxy = eachWay.isZero() ? null : Proxy.to(stage.url());
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(proxy == null ? stage.url() : proxy.url(stage.url()));
        source.setUser(stage.server().user());
        source.setPassword(stage.server().password());
        this.pool = PostgresServer.pool(source, POOL);
        DoubleSupplier trips = proxy == null ? Gauge.NONE : proxy::roundTrips;
        this.gauge = new Gauge(stage.cpu(), stage::wal, trips);
        if (proxy != null) {
            proxy.delay(eachWay);
        }
    }

    Stage stage() {
        return stage;
    }

    DataSource pool() {
        return pool;
    }

    /** Callers of this JVM for a line. */
    Contender.Local contender(Line line) throws SQLException {
        Workload workload = Workload.of(line.workload());
        CallPath found = path(line.path());
        if (!workload.isPlain() && !(found instanceof LibraryPath)) {
            throw new NotRunException(line.path() + " has no such thing");
        }
        if (line.kind().equals(Line.VIRTUAL) && !Client.hasVirtualThreads()) {
            throw new NotRunException("this JDK has no virtual threads");
        }
        stage.prepare(workload);
        return Contender.local(line, workload, found, stage.scopes());
    }

    private CallPath path(String name) throws SQLException {
        String shared = name.equals("async") ? "combined" : name;
        CallPath path = paths.get(shared);
        if (path == null) {
            path = open(shared);
            paths.put(shared, path);
        }
        return path;
    }

    private CallPath open(String name) throws SQLException {
        return switch (name) {
            case "bare" -> new BarePath(stage, pool, gauge);
            case "direct" -> new LibraryPath(stage, Quotas.on(pool).direct().build(), gauge);
            case "combined" -> new LibraryPath(stage, Quotas.on(pool).build(), gauge);
            case "bucket4j-update", "bucket4j-advisory", "bucket4j-batching" ->
                    new Bucket4jPath(stage, pool, gauge, name.substring("bucket4j-".length()));
            case "redis" -> redis();
            default -> throw new NotRunException("no path " + name);
        };
    }

    private RedisPath redis() {
        RedisServer server = redis.get();
        RedisURI uri = RedisURI.create(server.uri().toURI());
        if (!eachWay.isZero()) {
            redisProxy = Proxy.to(uri.getHost(), uri.getPort());
            uri.setHost("127.0.0.1");
            uri.setPort(redisProxy.port());
            redisProxy.delay(eachWay);
        }
        Gauge own = new Gauge(server.cpu(), Gauge.NONE, Gauge.NONE);
        return new RedisPath(uri, stage.database() + ":", stage.scopes(), own);
    }

    @Override
    public void close() {
        paths.values().forEach(CallPath::close);
        pool.close();
        closeAll(proxy, redisProxy);
    }

    private static void closeAll(@Nullable Proxy... proxies) {
        for (Proxy proxy : proxies) {
            if (proxy != null) {
                proxy.close();
            }
        }
    }
}
