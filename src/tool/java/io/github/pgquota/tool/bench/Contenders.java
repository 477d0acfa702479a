package io.github.pgquota.tool.bench;

import io.github.pgquota.Granted;
import io.github.pgquota.OperationId;
import io.github.pgquota.Quotas;
import io.github.pgquota.Request;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Supplier;
import javax.sql.DataSource;

/** What can be measured on a {@link Stage}. */
final class Contenders {

    private static final Duration HOLD = Duration.ofMinutes(10);

    private static final String ONLY_HOT = "= '" + Stage.HOT + "'";
    private static final String NOT_HOT = "<> '" + Stage.HOT + "'";

    private Contenders() {}

    @FunctionalInterface
    private interface Call {
        long run() throws SQLException;
    }

    @FunctionalInterface
    private interface Stored {
        long read() throws SQLException;
    }

    private record Simple(Line line, long unitsPerCall, Call run, Stored read)
            implements Contender {

        @Override
        public long call() throws SQLException {
            return run.run();
        }

        @Override
        public long stored() throws SQLException {
            return read.read();
        }
    }

    /** The plain UPDATE on one row. */
    static Contender bareHot(Line line, Stage stage, DataSource pool) {
        return new Simple(line, 1, () -> update(pool, -1),
                () -> stage.number("select used from bare where id = -1"));
    }

    /** The plain UPDATE on one row of many. */
    static Contender bareSpread(Line line, Stage stage) {
        return new Simple(line, 1,
                () -> update(stage.pool(), ThreadLocalRandom.current().nextInt(stage.scopes())),
                () -> stage.number("select sum(used) from bare where id >= 0"));
    }

    private static long update(DataSource pool, long id) throws SQLException {
        try (Connection connection = pool.getConnection();
                PreparedStatement update = connection.prepareStatement(
                        "update bare set used = used + 1 where id = ? and used + 1 <= capacity"
                                + " returning used")) {
            update.setLong(1, id);
            try (ResultSet row = update.executeQuery()) {
                return row.next() ? 1 : 0;
            }
        }
    }

    /** One limit, no key, not billed. */
    static Contender hot(Line line, Stage stage, Quotas quotas) {
        return new Simple(line, 1, () -> consume(quotas, request(Stage.HOT, "requests")),
                () -> stored(stage, "requests", ONLY_HOT));
    }

    /** One limit, no key, not billed, on one scope of many. */
    static Contender spread(Line line, Stage stage) {
        return new Simple(line, 1,
                () -> consume(stage.quotas(), request(random(stage), "requests")),
                () -> stored(stage, "requests", NOT_HOT));
    }

    /** One limit, with a key, billed. */
    static Contender keyed(Line line, Stage stage) {
        Supplier<Request> request = () ->
                request(random(stage), "keyed").key(UUID.randomUUID().toString());
        return new Simple(line, 1, () -> consume(stage.quotas(), request.get()),
                () -> stored(stage, "keyed", NOT_HOT));
    }

    /** A hold, and its settlement: one call is both. */
    static Contender reserve(Line line, Stage stage) {
        return new Simple(line, 1,
                () -> reserve(stage.quotas(), request(random(stage), "reserved")),
                () -> stored(stage, "reserved", NOT_HOT));
    }

    /** One refusal after another. */
    static Contender denied(Line line, Stage stage) {
        return new Simple(line, 0,
                () -> consume(stage.quotas(), request(Stage.FULL, "scarce")),
                () -> stored(stage, "scarce", "= '" + Stage.FULL + "'"));
    }

    private static Request request(String scope, String meter) {
        return Request.of(scope).take(meter, 1);
    }

    private static String random(Stage stage) {
        return stage.scope(ThreadLocalRandom.current().nextInt(stage.scopes()));
    }

    private static long consume(Quotas quotas, Request request) {
        return quotas.consume(request) instanceof Granted granted ? units(granted) : 0;
    }

    private static long reserve(Quotas quotas, Request request) {
        OperationId hold = quotas.reserve(request, HOLD).orThrow().operation();
        return units(quotas.settle(hold, request.amounts()));
    }

    private static long units(Granted granted) {
        return granted.granted().values().stream().mapToLong(Long::longValue).sum();
    }

    /** A hold that was left open counts against what was granted. */
    private static long stored(Stage stage, String meter, String scopes) throws SQLException {
        return stage.number("select sum(used) - sum(held) from pgquota.counter where meter = '"
                + meter + "' and scope " + scopes);
    }
}
