package io.github.pgquota.internal;

import io.github.pgquota.Away;
import io.github.pgquota.Decision;
import io.github.pgquota.Denied;
import io.github.pgquota.Granted;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import java.io.IOException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Lets calls through while the database is away, and charges them when it is back. */
final class AwayGate extends Verbs implements Away.Gate {

    private static final Logger LOG = LoggerFactory.getLogger(AwayGate.class);
    private static final long PAUSE_MILLIS = 500;

    private final PgQuotas quotas;
    private final Verbs inner;
    private final Away policy;
    private final AwayFile file;
    private final ScheduledExecutorService charger = Executors.newSingleThreadScheduledExecutor(
            work -> {
                Thread thread = new Thread(work, "pgquota-away");
                thread.setDaemon(true);
                return thread;
            });

    /** Guards all below, and the file. */
    private final Object lock = new Object();
    private final Map<String, AwayFile.Entry> waiting = new LinkedHashMap<>();
    /** Units that have passed, by meter, level and scope. */
    private final Map<String, Long> passed = new HashMap<>();
    private final List<String> refused = new ArrayList<>();
    private @Nullable Instant since;
    private boolean isCharging;
    private boolean isClosed;
    private long charged;
    private long overage;

    /** One at a time charges. */
    private final Object turn = new Object();

    AwayGate(PgQuotas quotas, Away policy) {
        this.quotas = quotas;
        this.policy = policy;
        this.inner = policy.retryOrNull() == null ? quotas
                : new Retrying(quotas, policy.retryOrNull());
        this.file = AwayFile.open(policy.file());
        try {
            file.read().values().forEach(entry -> {
                waiting.put(entry.id(), entry);
                take(entry.request());
            });
        } catch (QuotaException e) {
            file.close();
            throw e;
        }
        synchronized (lock) {
            start();
        }
    }

    @Override
    Waits waits() {
        return quotas.waits();
    }

    @Override
    <T> T read(Sql<T> reader) {
        return inner.read(reader);
    }

    @Override
    List<List<Row>> apply(List<Change> changes) {
        return inner.apply(changes);
    }

    @Override
    Decision decide(Change change) {
        boolean mayPass = change.verb().equals("consume") || change.verb().equals("record");
        if (mayPass) {
            Granted granted = isAway() ? pass(change) : null;
            if (granted != null) {
                return granted; // without waiting for a database that is known to be away
            }
        }
        try {
            return inner.decide(change);
        } catch (QuotaException.Unavailable e) {
            return passOr(e, change, mayPass && SqlStates.isAway(e));
        } catch (QuotaException.OutcomeUnknown e) {
            return passOr(e, change, mayPass && change.key() != null
                    && !Thread.currentThread().isInterrupted());
        }
    }

    private Decision passOr(QuotaException e, Change change, boolean mayPass) {
        Granted granted = mayPass ? pass(change) : null;
        if (granted == null) {
            throw e;
        }
        return granted;
    }

    private boolean isAway() {
        synchronized (lock) {
            return since != null;
        }
    }

    /** Null if the gate is closed to it. */
    private @Nullable Granted pass(Change change) {
        String key = change.key() == null ? newKey() : change.key();
        Request request = new Request(change.scope(), change.amounts(), key);
        synchronized (lock) {
            AwayFile.Entry first = waiting.get(change.scope().tenant() + "/" + key);
            if (first != null) {
                if (!first.verb().equals(change.verb()) || !first.request().equals(request)) {
                    throw new QuotaException.KeyConflict(key,
                            !first.verb().equals(change.verb()) ? "verb"
                            : !first.request().scope().equals(request.scope()) ? "scope"
                            : "amounts");
                }
                return granted(request, true);
            }
            if (isClosed || waiting.size() + refused.size() >= policy.mostCalls()
                    || !hasRoom(request)) {
                return null;
            }
            try {
                AwayFile.Entry entry = file.add(change.verb(), request);
                waiting.put(entry.id(), entry);
            } catch (IOException e) {
                LOG.error("a call cannot be let through, {} cannot be written", policy.file(), e);
                return null;
            }
            take(request);
            if (since == null) {
                since = Instant.now();
                LOG.warn("the database is away: calls are let through, as {} says", policy);
            }
            start();
            return granted(request, false);
        }
    }

    private static Granted granted(Request request, boolean replayed) {
        return new Granted(request.scope(), request.amounts(), request.amounts(), List.of(),
                Instant.now(), null, replayed, false, null);
    }

    /** A UUIDv7: the database can tell its age, so it need not keep it for ever. */
    private static String newKey() {
        UUID random = UUID.randomUUID();
        return new UUID(System.currentTimeMillis() << 16 | 0x7000
                | random.getMostSignificantBits() & 0xfff,
                random.getLeastSignificantBits()).toString();
    }

    private boolean hasRoom(Request request) {
        for (var amount : request.amounts().entrySet()) {
            List<Away.Allowance> allowances = allowances(request.scope(), amount.getKey());
            if (allowances.isEmpty() || allowances.stream().anyMatch(a -> amount.getValue()
                    > a.units() - passed.getOrDefault(place(a, request.scope()), 0L))) {
                return false;
            }
        }
        return true;
    }

    private void take(Request request) {
        request.amounts().forEach((meter, units) ->
                allowances(request.scope(), meter).forEach(a ->
                        passed.merge(place(a, request.scope()), units, Math::addExact)));
    }

    private List<Away.Allowance> allowances(Scope scope, String meter) {
        return policy.allowances().stream()
                .filter(a -> a.meter().equals(meter) && a.level() <= scope.level()).toList();
    }

    /** The scope is cut at the allowance's level, as that of a limit is. */
    private static String place(Away.Allowance allowance, Scope scope) {
        String[] segments = scope.path().split("/");
        return allowance.level() + "/" + allowance.meter() + "/"
                + String.join("/", List.of(segments).subList(0, allowance.level() + 1));
    }

    /** Under the lock: sees to it that what waits is charged. */
    private void start() {
        if (!isCharging && !waiting.isEmpty() && !isClosed) {
            isCharging = true;
            charger.schedule(this::chargeLater, PAUSE_MILLIS, TimeUnit.MILLISECONDS);
        }
    }

    private void chargeLater() {
        try {
            charge();
        } catch (RuntimeException e) {
            LOG.error("what was let through could not be charged, and still waits", e);
        }
        synchronized (lock) {
            isCharging = false;
            start();
        }
    }

    @Override
    public boolean charge() {
        synchronized (turn) {
            List<AwayFile.Entry> entries;
            synchronized (lock) {
                entries = List.copyOf(waiting.values());
            }
            for (AwayFile.Entry entry : entries) {
                if (!charge(entry)) {
                    return false;
                }
            }
            synchronized (lock) {
                return waiting.isEmpty();
            }
        }
    }

    /** Whether the database is there. */
    private boolean charge(AwayFile.Entry entry) {
        try {
            Granted granted = charged(entry);
            end(entry, granted, null);
            return true;
        } catch (QuotaException.Unavailable | QuotaException.Overloaded
                | QuotaException.OutcomeUnknown | QuotaException.Withdrawn e) {
            return false;
        } catch (QuotaException e) {
            end(entry, null, entry.id() + ": " + e.getMessage());
            return true;
        }
    }

    /**
     * As the caller asked, so that it has the answer if it asks again; what does not fit by now has
     * happened all the same. Null if it was charged meanwhile, by its key.
     */
    private @Nullable Granted charged(AwayFile.Entry entry) {
        Supplier<Granted> record = () -> quotas.record(entry.request());
        if (entry.verb().equals("record")) {
            return record.get();
        }
        Decision decision;
        try {
            decision = quotas.consume(entry.request());
        } catch (QuotaException.KeyConflict e) {
            if (e.field().equals("verb")) {
                return null; // recorded by an earlier attempt of ours, whose answer was lost
            }
            throw e;
        }
        return decision instanceof Denied ? record.get() : (Granted) decision;
    }

    private void end(AwayFile.Entry entry, @Nullable Granted granted, @Nullable String problem) {
        synchronized (lock) {
            waiting.remove(entry.id());
            since = null;
            if (problem == null) {
                charged++;
                overage += granted == null ? 0 : granted.overage();
            } else {
                LOG.error("a call that was let through cannot be charged: {}", problem);
                refused.add(problem);
            }
            try {
                if (problem == null) {
                    file.remove(entry);
                }
                if (waiting.isEmpty()) {
                    passed.clear();
                    if (refused.isEmpty()) {
                        file.clear();
                    }
                    LOG.info("the database is back: {} calls were charged", charged);
                }
            } catch (IOException e) {
                LOG.warn("{} cannot be written: what it says to wait is charged", policy.file(), e);
            }
        }
    }

    @Override
    public Away.Report report() {
        synchronized (lock) {
            Map<String, Long> units = new HashMap<>();
            waiting.values().forEach(entry -> entry.request().amounts().forEach(
                    (meter, amount) -> units.merge(meter, amount, Math::addExact)));
            return new Away.Report(since, waiting.size(), units, charged, overage, refused);
        }
    }

    @Override
    public void close() {
        synchronized (lock) {
            isClosed = true;
        }
        charger.shutdownNow();
        boolean interrupted = false;
        while (!charger.isTerminated()) {
            try {
                charger.awaitTermination(1, TimeUnit.DAYS);
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        synchronized (lock) {
            file.close();
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
