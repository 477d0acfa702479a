package io.github.pgquota.tool.fault;

import io.github.pgquota.Away;
import io.github.pgquota.Decision;
import io.github.pgquota.Granted;
import io.github.pgquota.OperationId;
import io.github.pgquota.Operations;
import io.github.pgquota.Pools;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Quotas;
import io.github.pgquota.Request;
import io.github.pgquota.Retry;
import io.github.pgquota.Scope;
import java.io.IOException;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executor;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/**
 * A process that uses quotas as an application does, from many threads, most of them combined, and
 * writes down what it asks and is told. What was unknown it asks again with the same key. It goes
 * on until its input ends, or until it is killed.
 */
final class Customer {

    static final List<String> TENANTS = List.of("acme", "beta", "free", "last");
    /** What a process reads on its input and then keeps every hold that it gets. */
    static final int HOLD = 'h';
    static final int GO_ON = 'g';
    /** The tenant of those who go through a gate, and of nobody else. */
    static final String GATE = "gate";
    private static final int CALLERS = 24;
    /** Callers are of so many kinds, in turn. */
    private static final int KINDS = 6;
    private static final int CONNECTIONS = 10;
    private static final int SAME_MILLIS = 50;
    private static final long MOST_PAUSE = TimeUnit.MILLISECONDS.toNanos(40);
    private static final long PATIENCE = TimeUnit.SECONDS.toNanos(60);

    private final String name;
    private final DataSource database;
    private final Quotas combined;
    private final Quotas direct;
    private final Operations retrying;
    private final Away.Gate gate;
    private final Executor others = Executors.newCachedThreadPool(work -> {
        Thread thread = new Thread(work, "other");
        thread.setDaemon(true);
        return thread;
    });
    private final Journal journal;
    private final AtomicLong calls = new AtomicLong();
    private volatile boolean ending;
    private volatile boolean holding;

    private Customer(String name, DataSource database, Path folder) throws IOException {
        this.name = name;
        this.database = database;
        this.combined = Quotas.on(database).build();
        this.direct = Quotas.on(database).direct().build();
        this.retrying = combined.retrying(Retry.standard());
        this.gate = combined.away(away(folder.resolve(name + ".away")));
        this.journal = new Journal(folder.resolve(name + ".tsv"), name);
    }

    /** What may pass while the database is away; a killed process leaves its file to be charged. */
    static Away away(Path file) {
        return Away.keptIn(file).open("requests", 0, 1_000).mostCalls(500);
    }

    /** Arguments: URL, user, password, name, seed, the folder of journals. */
    public static void main(String[] args) throws Exception {
        try (Pools.Pool pool = Pools.create(args[0], args[1], args[2], CONNECTIONS)) {
            Customer customer = new Customer(args[3], pool, Path.of(args[5]));
            List<Thread> threads = new ArrayList<>();
            for (int i = 0; i < CALLERS; i++) {
                Random random = new Random(Long.parseLong(args[4]) * CALLERS + i);
                Operations kind = customer.kind(i);
                threads.add(new Thread(() -> customer.live(kind, random), "caller-" + i));
            }
            threads.forEach(Thread::start);
            for (int read = System.in.read(); read >= 0; read = System.in.read()) {
                customer.holding = read == HOLD;
            }
            customer.ending = true;
            for (Thread thread : threads) {
                thread.join();
            }
            customer.gate.close();
            customer.combined.close();
            customer.direct.close();
            customer.journal.close();
        }
    }

    /** Combined, one by one, tried again by the library, or through a gate. */
    private Operations kind(int caller) {
        return switch (caller % KINDS) {
            case 0, 1 -> direct;
            case 2 -> retrying;
            case 3 -> gate;
            default -> combined;
        };
    }

    private void live(Operations quotas, Random random) {
        try {
            while (!ending) {
                act(quotas, random);
                LockSupport.parkNanos((long) (random.nextDouble() * MOST_PAUSE));
            }
        } catch (RuntimeException e) {
            e.printStackTrace(); // the checker sees that a call has no answer
        }
    }

    /** One that nobody has; it tells the checker whether the library tries again by itself. */
    private String key(String what, Operations quotas) {
        return (quotas == retrying ? "again-" : "") + name + "-" + what + calls.incrementAndGet();
    }

    private void act(Operations quotas, Random random) {
        if (quotas == gate) {
            Request request = request(GATE, random).key(key("", quotas));
            Request one = new Request(request.scope(), Map.of("requests", 1L), request.key());
            if (random.nextInt(4) > 0) {
                ask("consume", one, () -> gate.consume(one));
            } else {
                ask("record", one, () -> gate.record(one));
            }
            return;
        }
        String tenant = TENANTS.get(random.nextInt(TENANTS.size()));
        Request request = request(tenant, random);
        Request keyed = request.key(key("", quotas));
        int n = random.nextInt(100);
        if (tenant.equals("last")) {
            takeAndGiveBack(quotas, n, keyed, random);
        } else if (n < 30) {
            boolean another = random.nextInt(3) == 0;
            Granted granted = ask("consume", keyed, () -> another && quotas == direct
                    ? inTransaction(keyed) : another && quotas == combined
                    ? later(combined.async().consume(keyed)) : quotas.consume(keyed));
            if (granted != null && n < 12) {
                refund(quotas, granted, random);
            }
        } else if (n < 42) {
            ask("consume", request, () -> quotas.consume(request));
        } else if (n < 50) {
            // all processes send the same with the same key at about the same time
            long now = System.currentTimeMillis() / SAME_MILLIS;
            Request same = request(tenant, new Random(now)).key("same-" + now);
            ask("consume", same, () -> quotas.consume(same));
        } else if (n < 55) {
            ask("consume_up_to", keyed, () -> quotas.consumeUpTo(keyed));
        } else if (n < 60 && tenant.equals("free")) {
            ask("record", keyed, () -> quotas.record(keyed));
        } else if (n < 62) {
            ask("check", request, () -> quotas.check(request));
        } else if (n < 90) {
            reserve(quotas, keyed, random);
        } else {
            // the next to expire, in all processes: so several end it at the same time
            OperationId hold = nextHold(tenant);
            if (hold != null) {
                end(quotas, hold, Map.of(), random);
            }
        }
    }

    /** A commit of which nothing is heard may have happened. */
    private Decision inTransaction(Request request) {
        try (Connection connection = database.getConnection()) {
            connection.setAutoCommit(false);
            Decision decision = combined.within(connection).consume(request);
            try {
                connection.commit();
            } catch (SQLException e) {
                throw new Lost(e, "unknown");
            }
            return decision;
        } catch (SQLException e) {
            throw new Lost(e, "not");
        }
    }

    private static final class Lost extends RuntimeException {

        private static final long serialVersionUID = 1;
        private final String outcome;

        Lost(SQLException cause, String outcome) {
            super(cause);
            this.outcome = outcome;
        }
    }

    private static Decision later(CompletableFuture<Decision> decision) {
        try {
            return decision.join();
        } catch (CompletionException e) {
            throw e.getCause() instanceof QuotaException told ? told : e;
        }
    }

    /** Of a limit that is always all but full: what one gives back, another takes at once. */
    private void takeAndGiveBack(Operations quotas, int n, Request request, Random random) {
        if (n < 50) {
            reserve(quotas, request, random);
            return;
        }
        Granted granted = ask("consume", request, () -> quotas.consume(request));
        if (granted != null && n < 99) {
            ask("consume", request, () -> direct.consume(request)); // delivered twice
            refund(quotas, granted, random);
        }
    }

    private static Request request(String tenant, Random random) {
        String scope = tenant + "/t" + random.nextInt(3) + "/u" + random.nextInt(3);
        Request request = Request.of(scope).take("requests", 1 + random.nextInt(2));
        return random.nextInt(4) == 0 ? request.take("tokens", 1 + random.nextInt(50)) : request;
    }

    /** Two at once: of all, one of them is refused. */
    private void refund(Operations quotas, Granted granted, Random random) {
        OperationId operation = granted.operation();
        Map<String, Long> some = random.nextBoolean() ? Map.of() : Map.of("requests", 1L);
        List<Runnable> both = new ArrayList<>();
        for (Operations each : List.of(quotas, direct)) {
            String key = key("r", each);
            both.add(() -> ask("refund", operation, key, null, some,
                    () -> each.refund(operation, some, key)));
        }
        together(both);
    }

    private void reserve(Operations quotas, Request request, Random random) {
        Duration life = Duration.ofMillis(30 + random.nextInt(random.nextBoolean() ? 300 : 3_000));
        Granted hold = ask("reserve", request, life, () -> quotas.reserve(request, life));
        while (holding && !ending) {
            LockSupport.parkNanos(MOST_PAUSE); // until this process is killed
        }
        if (hold != null) {
            Map<String, Long> less = random.nextInt(4) == 0 ? Map.of("requests",
                    (long) random.nextInt((int) (request.amounts().get("requests") + 1)))
                    : Map.of();
            LockSupport.parkNanos((long) (random.nextDouble() * MOST_PAUSE));
            end(quotas, hold.operation(), less, random);
        }
    }

    private void end(Operations quotas, OperationId hold, Map<String, Long> amounts,
            Random random) {
        Runnable settle = () -> ask("settle", hold, null, null, amounts,
                () -> quotas.settle(hold, amounts));
        Runnable release = () -> ask("release", hold, null, null, Map.of(),
                () -> direct.release(hold));
        Runnable extend = () -> {
            Map<String, Long> more = Map.of("requests", 1L);
            String key = key("e", quotas);
            Duration life = Duration.ofSeconds(2);
            ask("extend", hold, key, life, more, () -> quotas.extend(hold, more, life, key));
        };
        boolean settles = !hold.tenant().equals("last");
        switch (random.nextInt(12)) {
            case 0, 1, 2 -> (settles ? settle : release).run();
            case 3, 4, 5 -> release.run();
            case 6 -> together(List.of(settles ? settle : extend, release));
            case 7 -> together(List.of(release, settles ? settle : release));
            case 8 -> extend.run();
            default -> { } // it is left to expire
        }
    }

    private void together(List<Runnable> both) {
        CompletableFuture<Void> other = CompletableFuture.runAsync(both.get(0), others);
        both.get(1).run();
        other.join();
    }

    private @Nullable OperationId nextHold(String tenant) {
        try (Connection connection = database.getConnection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery("select id from pgquota.hold where"
                        + " tenant = '" + tenant + "' and state = 'open'"
                        + " order by expires_at limit 1")) {
            return row.next() ? new OperationId(tenant, row.getObject(1, UUID.class)) : null;
        } catch (SQLException e) {
            return null; // the database is away
        }
    }

    private @Nullable Granted ask(String verb, Request request, Supplier<Decision> call) {
        return ask(verb, request, null, call);
    }

    private @Nullable Granted ask(String verb, Request request, @Nullable Duration life,
            Supplier<Decision> call) {
        return ask(verb, request.scope().path(), request.key(), null, life, request.amounts(),
                call);
    }

    private void ask(String verb, OperationId about, @Nullable String key,
            @Nullable Duration life, Map<String, Long> amounts, Supplier<Decision> call) {
        ask(verb, about.tenant(), key, about, life, amounts, call);
    }

    /** What it was granted in the end; null if it was not, or is not known. */
    private @Nullable Granted ask(String verb, String scope, @Nullable String key,
            @Nullable OperationId about, @Nullable Duration life, Map<String, Long> amounts,
            Supplier<Decision> call) {
        boolean again = key != null || verb.equals("settle") || verb.equals("release");
        long deadline = System.nanoTime() + PATIENCE;
        while (true) {
            long number = calls.incrementAndGet();
            journal.asked(number, verb, scope, key, about, life, amounts);
            try {
                Decision decision = call.get();
                Granted granted = decision instanceof Granted g ? g : null;
                if (granted != null && !granted.isCharged() && !verb.equals("check")) {
                    journal.told(number, "away");
                    return null;
                }
                journal.told(number, decision);
                return granted;
            } catch (QuotaException.OutcomeUnknown e) {
                journal.told(number, "unknown");
            } catch (Lost e) {
                journal.told(number, e.outcome);
            } catch (QuotaException.Unavailable | QuotaException.Overloaded
                    | QuotaException.RetryTransaction e) {
                journal.told(number, "not");
            } catch (QuotaException.HoldEnded | QuotaException.RefundTooLarge
                    | QuotaException.NotFound e) {
                journal.told(number, e.getClass().getSimpleName());
                return null;
            } catch (RuntimeException e) {
                journal.told(number, "ERROR " + e);
                return null;
            }
            if (!again || ending || System.nanoTime() > deadline) {
                return null;
            }
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(50));
        }
    }

    /** Asks once more what a journal leaves open; by then nothing is broken. */
    static Decision repeat(Operations quotas, String verb, String scope, String key,
            @Nullable UUID ref, Duration life, Map<String, Long> amounts) {
        if (ref != null) {
            OperationId about = new OperationId(scope, ref);
            return switch (verb) {
                case "refund" -> quotas.refund(about, amounts, key);
                case "extend" -> quotas.extend(about, amounts, life, key);
                default -> throw new IllegalArgumentException(verb);
            };
        }
        Request request = new Request(Scope.of(scope), amounts, key);
        return switch (verb) {
            case "consume" -> quotas.consume(request);
            case "consume_up_to" -> quotas.consumeUpTo(request);
            case "record" -> quotas.record(request);
            case "reserve" -> quotas.reserve(request, life);
            default -> throw new IllegalArgumentException(verb);
        };
    }
}
