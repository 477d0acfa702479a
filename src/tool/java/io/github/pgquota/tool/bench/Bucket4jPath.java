package io.github.pgquota.tool.bench;

import io.github.bucket4j.BucketConfiguration;
import io.github.bucket4j.distributed.BucketProxy;
import io.github.bucket4j.distributed.proxy.ProxyManager;
import io.github.bucket4j.distributed.proxy.RemoteBucketBuilder;
import io.github.bucket4j.distributed.proxy.optimization.DefaultOptimizationListener;
import io.github.bucket4j.distributed.proxy.optimization.Optimizations;
import io.github.bucket4j.distributed.serialization.InternalSerializationHelper;
import io.github.bucket4j.postgresql.Bucket4jPostgreSQL;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import javax.sql.DataSource;

/**
 * Bucket4j's PostgreSQL module at its best: through a pool in autocommit mode, with keys that were
 * all used before, and one proxy a key, kept and shared. Buckets are never refilled.
 */
final class Bucket4jPath implements CallPath {

    private static final long CAPACITY = 1_000_000_000_000L;
    private static final long SCARCE = 100;

    private final Stage stage;
    private final Gauge gauge;
    private final String table;
    private final boolean batching;
    private final ProxyManager<Long> buckets;
    private final ConcurrentMap<Integer, BucketProxy> proxies = new ConcurrentHashMap<>();

    /** How it takes its lock ({@code update}, {@code advisory}), or {@code batching}. */
    Bucket4jPath(Stage stage, DataSource pool, Gauge gauge, String variant) throws SQLException {
        this.stage = stage;
        this.gauge = gauge;
        this.table = "bucket_" + variant;
        this.batching = variant.equals("batching");
        this.buckets = variant.equals("advisory")
                ? Bucket4jPostgreSQL.advisoryLockBasedBuilder(pool).table(table).build()
                : Bucket4jPostgreSQL.selectForUpdateBasedBuilder(pool).table(table).build();
        if (stage.number("select count(*) from pg_class where relname = '" + table + "'") == 0) {
            fill();
        }
    }

    private void fill() throws SQLException {
        stage.execute("create table " + table + " (id bigint primary key, state bytea,"
                + " expires_at bigint, explicit_lock bigint) with (fillfactor = 50)");
        plainProxy(Stage.ONE).tryConsume(1);
        plainProxy(Stage.FULL).tryConsume(SCARCE);
        // The others are what the first one is: a proxy would make some hundreds a second.
        stage.load("insert into " + table + " (id, state) select i, state from " + table
                + ", generate_series(0, " + (stage.scopes() - 1) + ") i where id = " + Stage.ONE);
    }

    private BucketProxy plainProxy(int scope) {
        return build(buckets.builder(), scope);
    }

    private static BucketProxy build(RemoteBucketBuilder<Long> builder, int scope) {
        return builder.build((long) scope, () -> configuration(scope));
    }

    private static BucketConfiguration configuration(int scope) {
        long capacity = capacity(scope);
        return BucketConfiguration.builder()
                .addLimit(limit -> limit.capacity(capacity)
                        .refillIntervally(capacity, Duration.ofDays(3650)))
                .build();
    }

    private static long capacity(int scope) {
        return scope == Stage.FULL ? SCARCE : CAPACITY;
    }

    private BucketProxy proxy(int scope) {
        if (!batching) {
            return plainProxy(scope);
        }
        return build(buckets.builder().withOptimization(
                Optimizations.batching().withListener(new DefaultOptimizationListener())), scope);
    }

    @Override
    public long call(Workload workload, int scope) {
        return proxies.computeIfAbsent(scope, this::proxy).tryConsume(1) ? 1 : 0;
    }

    @Override
    public long stored(Workload workload) throws SQLException {
        String where = workload.isSpread() ? " where id >= 0" : " where id = " + workload.place();
        long taken = 0;
        try (Connection connection = stage.connection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery("select id, state from " + table + where)) {
            while (row.next()) {
                taken += capacity(row.getInt(1)) - InternalSerializationHelper
                        .deserializeState(row.getBytes(2)).getAvailableTokens();
            }
        }
        return taken;
    }

    @Override
    public Gauge gauge() {
        return gauge;
    }
}
