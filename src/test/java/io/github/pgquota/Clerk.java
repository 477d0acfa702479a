package io.github.pgquota;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * A process that uses quotas with whichever release of the library is on its class path, so with
 * nothing that one of them has not got. It does what it reads, a line each, and says in a line what
 * came of it. What its threads are told under load it writes to {@code public.told}.
 */
final class Clerk {

    static final String TOLD = """
            create table public.told (process text, verb text, tenant text, key text, about uuid,
              outcome text, operation uuid, replayed boolean, units bigint)
            """;
    private static final int THREADS = 8;
    private static final int CONNECTIONS = 5;
    private static final Duration LONG = Duration.ofMinutes(10);
    private static final long MOST_PAUSE = TimeUnit.MILLISECONDS.toNanos(10);

    private final String name;
    private final HikariDataSource pool;
    private final Quotas quotas;
    private final Queue<Told> told = new ConcurrentLinkedQueue<>();
    private final AtomicLong calls = new AtomicLong();
    private final AtomicLong longest = new AtomicLong();
    private final List<Thread> threads = new ArrayList<>();
    private volatile boolean ending;

    /** What a call was answered; null where there is nothing. */
    private record Told(String verb, String tenant, @Nullable String key,
            @Nullable OperationId about, String outcome, @Nullable Granted granted) {}

    private Clerk(String url, String user, String password, String name) {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(url);
        source.setUser(user);
        source.setPassword(password);
        HikariConfig config = new HikariConfig();
        config.setDataSource(source);
        config.setMaximumPoolSize(CONNECTIONS);
        this.name = name;
        this.pool = new HikariDataSource(config);
        this.quotas = Quotas.on(pool).build();
    }

    /** Arguments: URL, user, password, a name. */
    public static void main(String[] args) throws Exception {
        Clerk clerk = new Clerk(args[0], args[1], args[2], args[3]);
        BufferedReader in = new BufferedReader(
                new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            System.out.println(clerk.obey(line.split(" ")));
        }
        System.exit(0);
    }

    private String obey(String[] words) throws Exception {
        try {
            switch (words[0]) {
                case "migrate" -> Schema.of(pool).migrate();
                case "verify" -> Schema.of(pool).verify();
                case "plans" -> plans();
                case "load" -> load(Long.parseLong(words[1]));
                case "end" -> end();
                case "calls" -> {
                    return calls.toString();
                }
                case "longest" -> {
                    return String.valueOf(longest.getAndSet(0) / 1_000_000);
                }
                default -> {
                    return shown(call(words));
                }
            }
            return "done";
        } catch (QuotaException e) {
            return e.getClass().getSimpleName() + ": " + e.getMessage().replace('\n', ' ');
        }
    }

    private Decision call(String[] words) {
        Map<String, Long> one = Map.of("requests", 1L);
        return switch (words[0]) {
            case "consume" -> quotas.consume(
                    Request.of(words[1]).take("requests", 2).key(words[2]));
            case "reserve" -> quotas.reserve(
                    Request.of(words[1]).take("requests", 2).key(words[2]), LONG);
            case "settle" -> quotas.settle(id(words), one);
            case "release" -> quotas.release(id(words));
            case "extend" -> quotas.extend(id(words), one, LONG, words[3]);
            case "refund" -> quotas.refund(id(words), one, words[3]);
            default -> throw new IllegalArgumentException(words[0]);
        };
    }

    private static OperationId id(String[] words) {
        return new OperationId(words[1], UUID.fromString(words[2]));
    }

    private static String shown(Decision decision) {
        if (!(decision instanceof Granted granted)) {
            return "denied";
        }
        return "granted " + granted.operation().uuid() + " " + granted.replayed() + " "
                + granted.granted() + " " + granted.limits().stream().map(Verdict::balance)
                        .map(balance -> balance.limit() + "=" + balance.used()).sorted().toList();
    }

    private void plans() {
        quotas.plans().publish(Plan.named("P")
                .limit(Limit.named("all").on("requests").unlimited().billed(true))
                .limit(Limit.named("second").on("requests").level(1).capacity(100)
                        .per(Window.aligned(Duration.ofSeconds(1))).billed(true).alertAt(50, 100))
                .limit(Limit.named("user").on("requests").level(2).capacity(1L << 40)
                        .billed(true)));
        quotas.plans().publish(Plan.named("TIGHT")
                .limit(Limit.named("all").on("requests").capacity(500).billed(true)));
        quotas.plans().assign("acme", "P");
        quotas.plans().assign("beta", "TIGHT");
        quotas.plans().assign("steps", "P");
    }

    private void load(long seed) {
        for (int i = 0; i < THREADS; i++) {
            Random random = new Random(seed * THREADS + i);
            Thread thread = new Thread(() -> {
                while (!ending) {
                    act(random);
                    LockSupport.parkNanos((long) (random.nextDouble() * MOST_PAUSE));
                }
            }, "caller-" + i);
            threads.add(thread);
            thread.start();
        }
    }

    private void act(Random random) {
        String tenant = random.nextInt(4) == 0 ? "beta" : "acme";
        Request request = request(tenant, random);
        int n = random.nextInt(100);
        if (n < 30) {
            // what other processes use at this time too; the same request for the same key
            long number = System.currentTimeMillis() / 50 + random.nextInt(20);
            Request keyed = request(tenant, new Random(number)).key("k" + number);
            ask("consume", tenant, keyed.key(), null, () -> quotas.consume(keyed));
        } else if (n < 50) {
            Granted granted = ask("consume", tenant, null, null, () -> quotas.consume(request));
            if (granted != null && n < 40) {
                ask("refund", tenant, null, granted.operation(), () -> quotas.refund(
                        granted.operation(), Map.of("requests", 1L), null));
            }
        } else if (n < 55) {
            ask("consume_up_to", tenant, null, null, () -> quotas.consumeUpTo(request));
        } else if (n < 60 && tenant.equals("acme")) {
            ask("record", tenant, null, null, () -> quotas.record(request));
        } else if (n < 65) {
            quotas.balances(request.scope());
        } else {
            Granted hold = ask("reserve", tenant, null, null, () -> quotas.reserve(request, LONG));
            if (hold != null && n < 90) {
                ask("settle", tenant, null, hold.operation(), () -> quotas.settle(
                        hold.operation(), Map.of("requests", (long) random.nextInt(2))));
            } else if (hold != null) {
                ask("release", tenant, null, hold.operation(),
                        () -> quotas.release(hold.operation()));
            }
        }
    }

    private static Request request(String tenant, Random random) {
        return Request.of(tenant + "/t" + random.nextInt(3) + "/u" + random.nextInt(3))
                .take("requests", 1 + random.nextInt(2));
    }

    private @Nullable Granted ask(String verb, String tenant, @Nullable String key,
            @Nullable OperationId about, Supplier<Decision> call) {
        long begin = System.nanoTime();
        Granted granted = null;
        String outcome;
        try {
            granted = call.get() instanceof Granted g ? g : null;
            outcome = granted == null ? "denied" : "granted";
        } catch (RuntimeException e) {
            outcome = e.getClass().getSimpleName() + ": " + e.getMessage();
        }
        longest.accumulateAndGet(System.nanoTime() - begin, Math::max);
        calls.incrementAndGet();
        told.add(new Told(verb, tenant, key, about, outcome, granted));
        return granted;
    }

    private void end() throws InterruptedException, SQLException {
        ending = true;
        for (Thread thread : threads) {
            thread.join();
        }
        try (Connection connection = pool.getConnection();
                PreparedStatement insert = connection.prepareStatement(
                        "insert into public.told values (?, ?, ?, ?, ?, ?, ?, ?, ?)")) {
            connection.setAutoCommit(false);
            for (Told call : told) {
                Granted granted = call.granted();
                Object[] values = {name, call.verb(), call.tenant(), call.key(),
                    call.about() == null ? null : call.about().uuid(), call.outcome(),
                    granted == null ? null : granted.operation().uuid(),
                    granted != null && granted.replayed(),
                    granted == null ? null : granted.granted().getOrDefault("requests", 0L)};
                for (int i = 0; i < values.length; i++) {
                    insert.setObject(i + 1, values[i]);
                }
                insert.addBatch();
            }
            insert.executeBatch();
            connection.commit();
        }
    }
}
