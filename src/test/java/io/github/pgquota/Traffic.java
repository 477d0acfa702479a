package io.github.pgquota;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.tool.PostgresServer;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * A process that calls all verbs, many at once, so that they are combined; holds, operations and
 * keys are those of other processes too. What it was told it writes to {@code public.said}, a row a
 * limit.
 */
final class Traffic {

    static final String SAID = """
            create table public.said (process int, call int, verb text, tenant text, key text,
              about uuid, outcome text, operation uuid, replayed boolean, limit_name text,
              meter text, scope text, start_at timestamptz, capacity bigint, used bigint,
              held bigint, added bigint, crossed int[])
            """;
    private static final int CALLS_AT_ONCE = 60;
    private static final Duration LONG = Duration.ofMinutes(5);
    private static final Duration SHORT = Duration.ofMillis(100);

    private final int process;
    private final Random random;
    private final HikariDataSource pool;
    private final Quotas quotas;
    private final List<Asked> asked = new ArrayList<>();
    private int bursts;
    private List<OperationId> holds = List.of();
    private List<OperationId> operations = List.of();

    private Traffic(DataSource database, int process, long seed) {
        this.process = process;
        this.random = new Random(seed + process);
        this.pool = PostgresServer.pool(database, 4);
        this.quotas = Quotas.on(pool).combining(Combining.standard().statements(3)).build();
    }

    /** A call and its answer. */
    private record Asked(
            String verb, String tenant, @Nullable String key, @Nullable OperationId about,
            CompletableFuture<? extends Decision> answer) {}

    /** Arguments: URL, user, password, number of the process, bursts, seed. */
    public static void main(String[] args) throws Exception {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(args[0]);
        source.setUser(args[1]);
        source.setPassword(args[2]);
        Traffic traffic = new Traffic(source, Integer.parseInt(args[3]), Long.parseLong(args[5]));
        System.out.println("ready");
        System.in.read();
        for (int i = Integer.parseInt(args[4]); i > 0; i--) {
            traffic.burst();
        }
        traffic.quotas.close();
        traffic.report();
        traffic.pool.close();
        System.out.println("done");
    }

    private void burst() throws SQLException {
        bursts++;
        String tenant = random.nextInt(3) == 0 ? "beta" : random.nextBoolean() ? "acme" : "free";
        // "free" may go over its limits, so its holds may be settled late
        holds = ids(tenant, "select id from pgquota.hold where tenant = ? and state = 'open' and "
                + (tenant.equals("free") ? "true" : "expires_at > now() + interval '1 minute'")
                + " order by id limit 8");
        operations = ids(tenant, "select distinct operation from pgquota.ledger where tenant = ? "
                + "and amount > 0 and at > now() - interval '1 second' limit 8");
        int from = asked.size();
        while (asked.size() < from + CALLS_AT_ONCE) {
            ask(tenant);
        }
        asked.subList(from, asked.size()).forEach(call -> call.answer.exceptionally(e -> null)
                .join());
    }

    private List<OperationId> ids(String tenant, String sql) throws SQLException {
        List<OperationId> ids = new ArrayList<>();
        try (Connection connection = pool.getConnection();
                PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setString(1, tenant);
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    ids.add(new OperationId(tenant, rows.getObject(1, UUID.class)));
                }
            }
        }
        return ids;
    }

    private void ask(String tenant) {
        AsyncOperations verbs = quotas.async();
        int n = random.nextInt(100);
        if (n >= 70 && n < 90 && !holds.isEmpty()) {
            OperationId hold = holds.get(random.nextInt(holds.size()));
            if (n < 80) {
                add("settle", tenant, null, hold, verbs.settle(hold, Map.of()));
            } else if (n < 85) {
                add("release", tenant, null, hold, verbs.release(hold));
            } else {
                Map<String, Long> more = random.nextBoolean() ? Map.of() : Map.of("requests", 1L);
                add("extend", tenant, null, hold, verbs.extend(hold, more, LONG, null));
            }
        } else if (n >= 90 && !operations.isEmpty()) {
            OperationId operation = operations.get(random.nextInt(operations.size()));
            add("refund", tenant, null, operation, verbs.refund(operation,
                    random.nextBoolean() ? Map.of() : Map.of("requests", 1L), null));
        } else {
            take(verbs, tenant);
        }
    }

    /** Keys are few at a time, so that processes meet; each stands for one request. */
    private void take(AsyncOperations verbs, String tenant) {
        int number = random.nextInt(8) == 0 ? bursts * 4 + random.nextInt(8) : -1;
        String key = number < 0 ? null : "k" + number;
        Request request = request(tenant, number < 0 ? random : new Random(number)).key(key);
        int n = number < 0 ? random.nextInt(20) : number % 20;
        boolean equal = number < 0 && random.nextInt(3) == 0;
        for (int times = equal ? 2 + random.nextInt(6) : 1; times > 0; times--) {
            if (n < 9) {
                add("consume", tenant, key, null, verbs.consume(request));
            } else if (n < 11) {
                add("consume_up_to", tenant, key, null, verbs.consumeUpTo(request));
            } else if (n < 12) {
                add("check", tenant, null, null, verbs.check(request));
            } else if (n < 17 || !tenant.equals("free")) {
                add("reserve", tenant, key, null, verbs.reserve(request, n == 16 ? SHORT : LONG));
            } else {
                add("record", tenant, key, null, verbs.record(request));
            }
        }
    }

    private static Request request(String tenant, Random random) {
        String scope = tenant + "/t" + random.nextInt(3) + "/u" + random.nextInt(3);
        Request request = Request.of(scope).take("requests", 1 + random.nextInt(3));
        return random.nextInt(3) == 0 ? request.take("tokens", 1 + random.nextInt(9)) : request;
    }

    private void add(String verb, String tenant, @Nullable String key, @Nullable OperationId about,
            CompletableFuture<? extends Decision> answer) {
        asked.add(new Asked(verb, tenant, key, about, answer));
    }

    private void report() throws SQLException {
        try (Connection connection = pool.getConnection();
                PreparedStatement insert = connection.prepareStatement(
                        "insert into public.said values (" + "?, ".repeat(17) + "?)")) {
            connection.setAutoCommit(false);
            for (int i = 0; i < asked.size(); i++) {
                report(insert, i, asked.get(i));
            }
            insert.executeBatch();
            connection.commit();
        }
    }

    private void report(PreparedStatement insert, int number, Asked call) throws SQLException {
        Decision decision = null;
        String outcome;
        try {
            decision = call.answer.join();
            outcome = decision.isGranted() ? "granted" : "denied";
        } catch (CompletionException e) {
            outcome = e.getCause().getClass().getSimpleName() + (
                    e.getCause() instanceof QuotaException.HoldEnded
                    || e.getCause() instanceof QuotaException.RefundTooLarge ? ""
                    : ": " + e.getCause().getMessage());
        }
        Granted granted = decision instanceof Granted g ? g : null;
        List<@Nullable Verdict> verdicts = new ArrayList<>();
        if (decision == null || decision.limits().isEmpty()) {
            verdicts.add(null);
        } else {
            verdicts.addAll(decision.limits());
        }
        for (Verdict verdict : verdicts) {
            Object[] values = {process, number, call.verb, call.tenant, call.key,
                call.about == null ? null : call.about.uuid(), outcome,
                granted == null || granted.operationOrNull() == null ? null
                    : granted.operation().uuid(),
                granted != null && granted.replayed()};
            for (int i = 0; i < values.length; i++) {
                insert.setObject(i + 1, values[i]);
            }
            report(insert, call.verb, granted, verdict);
            insert.addBatch();
        }
    }

    private static void report(PreparedStatement insert, String verb, @Nullable Granted granted,
            @Nullable Verdict verdict)
            throws SQLException {
        Balance b = verdict == null ? null : verdict.balance();
        long units = granted == null || b == null ? 0 : granted.granted().get(b.meter());
        insert.setString(10, b == null ? null : b.limit());
        insert.setString(11, b == null ? null : b.meter());
        insert.setString(12, b == null ? null : b.scope().path());
        insert.setTimestamp(13, b == null || b.startOrNull() == null ? null
                : Timestamp.from(b.startOrNull()));
        insert.setObject(14, b == null ? null : b.capacityOrNull());
        insert.setObject(15, b == null ? null : b.used());
        insert.setObject(16, b == null ? null : b.held());
        insert.setLong(17, switch (verb) {
            case "consume", "consume_up_to", "record", "settle" -> units;
            case "refund" -> -units;
            default -> 0;
        });
        insert.setArray(18, insert.getConnection().createArrayOf("int4",
                verdict == null ? new Integer[0] : verdict.crossed().toArray(Integer[]::new)));
    }
}
