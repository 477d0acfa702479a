package io.github.pgquota.tool.bench;

import io.github.pgquota.AsyncOperations;
import io.github.pgquota.Decision;
import io.github.pgquota.Granted;
import io.github.pgquota.Quotas;
import io.github.pgquota.Request;
import java.sql.SQLException;
import java.time.Duration;
import java.util.UUID;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ThreadLocalRandom;

/** The library. */
record LibraryPath(Stage stage, Quotas quotas, Gauge gauge) implements CallPath {

    private static final Duration HOLD = Duration.ofMinutes(10);

    @Override
    public long call(Workload workload, int scope) {
        Request request = request(workload, scope);
        if (workload == Workload.RESERVE) {
            Granted hold = quotas.reserve(request, HOLD).orThrow();
            return units(quotas.settle(hold.operation(), request.amounts()));
        }
        return units(quotas.consume(request));
    }

    @Override
    public CompletionStage<Long> start(Workload workload, int scope) {
        AsyncOperations async = quotas.async();
        Request request = request(workload, scope);
        if (workload == Workload.RESERVE) {
            return async.reserve(request, HOLD)
                    .thenCompose(hold -> async.settle(
                            hold.orThrow().operation(), request.amounts()))
                    .thenApply(LibraryPath::units);
        }
        return async.consume(request).thenApply(LibraryPath::units);
    }

    private static Request request(Workload workload, int scope) {
        Request request = Request.of(Stage.name(workload, scope));
        return switch (workload) {
            case HOT, SPREAD, ZIPF -> request.take("requests", 1);
            case HIERARCHY -> request.take("calls", 1).take("tokens", Workload.TOKENS);
            case KEYED, KEYED_HOT -> request.take("keyed", 1).key(key());
            case RESERVE -> request.take("reserved", 1);
            case DENIED -> request.take("scarce", 1);
        };
    }

    /**
     * A random UUID, without the lock of the generator that makes real ones. It has to say that it
     * is random: another kind tells its age, which may be too old for a key.
     */
    private static String key() {
        ThreadLocalRandom random = ThreadLocalRandom.current();
        return new UUID(random.nextLong() & ~0xF000L | 0x4000L,
                random.nextLong() >>> 2 | Long.MIN_VALUE).toString();
    }

    private static long units(Decision decision) {
        long units = 0;
        if (decision instanceof Granted granted) {
            for (long each : granted.granted().values()) {
                units += each;
            }
        }
        return units;
    }

    /** A hold that was left open counts against what was granted. */
    @Override
    public long stored(Workload workload) throws SQLException {
        String used = "select sum(used) - sum(held) from pgquota.counter where meter = ";
        String hot = "scope = '" + Stage.name(Workload.HOT, Stage.ONE) + "'";
        return stage.number(switch (workload) {
            case HOT -> used + "'requests' and " + hot;
            case SPREAD, ZIPF -> used + "'requests' and not " + hot;
            // the same on every level, or it is nothing that anybody was granted
            case HIERARCHY -> """
                    select case when min(sum) = max(sum) then min(sum) else -1 end
                      from (select sum(used - held)
                              from pgquota.counter where meter in ('calls', 'tokens')
                             group by array_length(string_to_array(scope, '/'), 1)) level""";
            case KEYED -> used + "'keyed' and not " + hot;
            case KEYED_HOT -> used + "'keyed' and " + hot;
            case RESERVE -> used + "'reserved'";
            case DENIED -> used + "'scarce'";
        });
    }

    @Override
    public void close() {
        quotas.close();
    }
}
