package io.github.pgquota.tool.bench;

import io.lettuce.core.KeyValue;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.ScriptOutputType;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.async.RedisAsyncCommands;
import java.util.List;
import java.util.concurrent.CompletionStage;
import java.util.stream.IntStream;

/** A check and an increment in one script, through one connection, as Redis is at its best. */
final class RedisPath implements CallPath {

    private static final String SCRIPT = """
            local used = tonumber(redis.call('get', KEYS[1]) or '0')
            if used + ARGV[1] > tonumber(ARGV[2]) then return -1 end
            return redis.call('incrby', KEYS[1], ARGV[1])""";
    private static final String CAPACITY = "1000000000000";
    private static final String SCARCE = "100";
    private static final int PIECE = 1000;

    private final RedisClient client;
    private final StatefulRedisConnection<String, String> connection;
    private final RedisAsyncCommands<String, String> commands;
    private final String script;
    private final String prefix;
    private final int scopes;
    private final Gauge gauge;

    /** Keys begin with the prefix; {@link #clear} removes them. */
    RedisPath(RedisURI uri, String prefix, int scopes, Gauge gauge) {
        this.client = RedisClient.create(uri);
        this.connection = client.connect();
        this.commands = connection.async();
        this.script = connection.sync().scriptLoad(SCRIPT);
        this.prefix = prefix;
        this.scopes = scopes;
        this.gauge = gauge;
        connection.sync().set(key(Stage.FULL), SCARCE);
    }

    private String key(int scope) {
        return prefix + scope;
    }

    @Override
    public long call(Workload workload, int scope) {
        return start(workload, scope).toCompletableFuture().join();
    }

    @Override
    public CompletionStage<Long> start(Workload workload, int scope) {
        String capacity = scope == Stage.FULL ? SCARCE : CAPACITY;
        return commands.<Long>evalsha(script, ScriptOutputType.INTEGER,
                        new String[] {key(scope)}, "1", capacity)
                .thenApply(used -> used < 0 ? 0L : 1L);
    }

    @Override
    public long stored(Workload workload) {
        if (!workload.isSpread()) {
            return sum(workload.place(), workload.place() + 1);
        }
        return IntStream.iterate(0, from -> from < scopes, from -> from + PIECE)
                .mapToLong(from -> sum(from, Math.min(from + PIECE, scopes))).sum();
    }

    private long sum(int from, int to) {
        List<KeyValue<String, String>> values = connection.sync()
                .mget(IntStream.range(from, to).mapToObj(this::key).toArray(String[]::new));
        return values.stream().mapToLong(value -> Long.parseLong(value.getValueOrElse("0"))).sum();
    }

    @Override
    public Gauge gauge() {
        return gauge;
    }

    /** Removes all keys; who shares the server may still use them. */
    @Override
    public void close() {
        for (int from = Stage.FULL; from < scopes; from += PIECE) {
            connection.sync().unlink(IntStream.range(from, Math.min(from + PIECE, scopes))
                    .mapToObj(this::key).toArray(String[]::new));
        }
        connection.close();
        client.shutdown();
    }
}
