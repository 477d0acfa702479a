package io.github.pgquota.tool.fault;

import io.github.pgquota.Decision;
import io.github.pgquota.Granted;
import io.github.pgquota.OperationId;
import io.github.pgquota.Operations;
import io.github.pgquota.Pools;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Quotas;
import io.github.pgquota.Request;
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
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/**
 * A process that uses quotas as an application does, from many threads, combined, and writes down
 * what it asks and is told. What was unknown it asks again with the same key. It goes on until its
 * input ends, or until it is killed.
 */
final class Customer {

    static final List<String> TENANTS = List.of("acme", "beta", "free");
    private static final int CALLERS = 24;
    private static final int CONNECTIONS = 6;
    private static final int HOLDS = 8;
    private static final long MOST_PAUSE = TimeUnit.MILLISECONDS.toNanos(60);
    private static final long PATIENCE = TimeUnit.SECONDS.toNanos(60);

    private final String name;
    private final DataSource database;
    private final Quotas quotas;
    private final Journal journal;
    private final AtomicLong calls = new AtomicLong();
    private volatile boolean ending;

    private Customer(String name, DataSource database, Path folder) throws IOException {
        this.name = name;
        this.database = database;
        this.quotas = Quotas.on(database).build();
        this.journal = new Journal(folder.resolve(name + ".tsv"), name);
    }

    /** Arguments: URL, user, password, name, seed, the folder of journals. */
    public static void main(String[] args) throws Exception {
        try (Pools.Pool pool = Pools.create(args[0], args[1], args[2], CONNECTIONS)) {
            Customer customer = new Customer(args[3], pool, Path.of(args[5]));
            List<Thread> threads = new ArrayList<>();
            for (int i = 0; i < CALLERS; i++) {
                Random random = new Random(Long.parseLong(args[4]) * CALLERS + i);
                threads.add(new Thread(() -> customer.live(random), "caller-" + i));
            }
            threads.forEach(Thread::start);
            while (System.in.read() >= 0) {
                continue;
            }
            customer.ending = true;
            for (Thread thread : threads) {
                thread.join();
            }
            customer.quotas.close();
            customer.journal.close();
        }
    }

    private void live(Random random) {
        try {
            while (!ending) {
                act(random);
                LockSupport.parkNanos((long) (random.nextDouble() * MOST_PAUSE));
            }
        } catch (RuntimeException e) {
            e.printStackTrace(); // the checker sees that a call has no answer
        }
    }

    private void act(Random random) {
        String tenant = TENANTS.get(random.nextInt(TENANTS.size()));
        Request request = request(tenant, random);
        long call = calls.incrementAndGet();
        Request keyed = request.key(name + "-" + call);
        int n = random.nextInt(100);
        if (n < 40) {
            Granted granted = ask("consume", keyed, () -> quotas.consume(keyed));
            if (granted != null && n < 8) {
                refund(granted, random);
            }
        } else if (n < 55) {
            ask("consume", request, () -> quotas.consume(request));
        } else if (n < 60) {
            ask("consume_up_to", keyed, () -> quotas.consumeUpTo(keyed));
        } else if (n < 65 && tenant.equals("free")) {
            ask("record", keyed, () -> quotas.record(keyed));
        } else if (n < 67) {
            ask("check", request, () -> quotas.check(request));
        } else if (n < 90) {
            Duration life = Duration.ofMillis(300 + random.nextInt(3_000));
            Granted hold = ask("reserve", keyed, life, () -> quotas.reserve(keyed, life));
            if (hold != null) {
                end(hold.operation(), random);
            }
        } else {
            // somebody else's, who may end it at the same time
            OperationId hold = anyHold(tenant, random);
            if (hold != null) {
                end(hold, random);
            }
        }
    }

    private static Request request(String tenant, Random random) {
        String scope = tenant + "/t" + random.nextInt(3) + "/u" + random.nextInt(3);
        Request request = Request.of(scope).take("requests", 1 + random.nextInt(2));
        return random.nextInt(4) == 0 ? request.take("tokens", 1 + random.nextInt(50)) : request;
    }

    private void refund(Granted granted, Random random) {
        OperationId operation = granted.operation();
        Map<String, Long> some = random.nextBoolean() ? Map.of() : Map.of("requests", 1L);
        String key = name + "-r" + calls.incrementAndGet();
        ask("refund", operation, key, null, some, () -> quotas.refund(operation, some, key));
    }

    private void end(OperationId hold, Random random) {
        LockSupport.parkNanos((long) (random.nextDouble() * MOST_PAUSE));
        int n = random.nextInt(10);
        if (n < 5) {
            ask("settle", hold, null, null, Map.of(), () -> quotas.settle(hold, Map.of()));
        } else if (n < 7) {
            ask("release", hold, null, null, Map.of(), () -> quotas.release(hold));
        } else if (n < 9) {
            Map<String, Long> more = Map.of("requests", 1L);
            String key = name + "-e" + calls.incrementAndGet();
            Duration life = Duration.ofSeconds(5);
            ask("extend", hold, key, life, more, () -> quotas.extend(hold, more, life, key));
        } // else it is left to expire
    }

    private @Nullable OperationId anyHold(String tenant, Random random) {
        List<OperationId> holds = new ArrayList<>();
        try (Connection connection = database.getConnection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery("select id from pgquota.hold where"
                        + " tenant = '" + tenant + "' and state = 'open' limit " + HOLDS)) {
            while (row.next()) {
                holds.add(new OperationId(tenant, row.getObject(1, UUID.class)));
            }
        } catch (SQLException e) {
            return null; // the database is away
        }
        return holds.isEmpty() ? null : holds.get(random.nextInt(holds.size()));
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
                journal.told(number, decision);
                return decision instanceof Granted granted ? granted : null;
            } catch (QuotaException.OutcomeUnknown e) {
                journal.told(number, "unknown");
            } catch (QuotaException.Unavailable | QuotaException.Overloaded e) {
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
