package io.github.pgquota.internal;

import io.github.pgquota.Away;
import io.github.pgquota.Decision;
import io.github.pgquota.Granted;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import java.io.IOException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
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
    private final ScheduledThreadPoolExecutor charger = new ScheduledThreadPoolExecutor(1,
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
            charger.prestartCoreThread(); // when it is needed, there may be no room for one
        } catch (RuntimeException | Error e) {
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
        Verbs way = isAway() ? quotas : inner; // who knows that it is away does not try again
        if (mayPass) {
            // without waiting for a database that is known to be away
            Granted granted = isAway() ? pass(change, false) : again(change);
            if (granted != null) {
                return granted;
            }
        }
        try {
            return way.decide(change);
        } catch (QuotaException.Unavailable e) {
            return passOr(e, change, mayPass && SqlStates.isAway(e), true);
        } catch (QuotaException.Overloaded e) { // behind what found the database away
            return passOr(e, change, mayPass && isAway(), false);
        } catch (QuotaException.OutcomeUnknown e) { // of one call; others may have an answer
            return passOr(e, change, mayPass && change.key() != null
                    && !Thread.currentThread().isInterrupted(), false);
        }
    }

    private Decision passOr(QuotaException e, Change change, boolean mayPass, boolean opens) {
        Granted granted = mayPass ? pass(change, opens) : null;
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

    /** What was let through under its key and still waits; null if nothing was. */
    private @Nullable Granted again(Change change) {
        synchronized (lock) {
            AwayFile.Entry first = change.key() == null ? null
                    : waiting.get(change.scope().tenant() + "/" + change.key());
            if (first == null) {
                return null;
            }
            Request request = first.request();
            String differs = !first.verb().equals(change.verb()) ? "verb"
                    : !request.scope().equals(change.scope()) ? "scope"
                    : !request.amounts().keySet().equals(change.amounts().keySet()) ? "meters"
                    : !request.amounts().equals(change.amounts()) ? "amounts" : null;
            if (differs != null) {
                throw new QuotaException.KeyConflict(String.valueOf(change.key()), differs);
            }
            return granted(request, true);
        }
    }

    /**
     * Null if the gate is closed to it.
     *
     * @param opens whether the others need not ask any longer
     */
    private @Nullable Granted pass(Change change, boolean opens) {
        synchronized (lock) {
            Granted first = again(change);
            if (first != null) {
                return first;
            }
            Request request = new Request(change.scope(), change.amounts(),
                    change.key() == null ? newKey() : change.key());
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
            if (opens) {
                setAway();
            }
            start();
            return granted(request, false);
        }
    }

    private void setAway() {
        synchronized (lock) {
            if (since == null) {
                since = Instant.now();
                LOG.warn("the database is away: calls are let through, as {} says", policy);
            }
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
                        passed.merge(place(a, request.scope()), units, AwayGate::sum)));
    }

    /** Of amounts up to 2^62. */
    private static long sum(long a, long b) {
        return a + b < 0 ? Long.MAX_VALUE : a + b;
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
            charger.schedule(this::chargeLater, PAUSE_MILLIS, TimeUnit.MILLISECONDS);
            isCharging = true;
        }
    }

    private void chargeLater() {
        try {
            charge();
        } catch (RuntimeException | Error e) {
            LOG.error("what was let through could not be charged, and still waits", e);
        } finally {
            synchronized (lock) {
                isCharging = false;
                start();
            }
        }
    }

    @Override
    public boolean charge() {
        synchronized (turn) {
            List<AwayFile.Entry> entries;
            synchronized (lock) {
                entries = List.copyOf(waiting.values());
            }
            Set<String> aside = new HashSet<>();
            for (AwayFile.Entry entry : entries) {
                if (isClosed() || !aside.contains(tenant(entry)) && !charge(entry, aside)) {
                    return false;
                }
            }
            synchronized (lock) {
                return waiting.isEmpty();
            }
        }
    }

    private boolean isClosed() {
        synchronized (lock) {
            return isClosed;
        }
    }

    private static String tenant(AwayFile.Entry entry) {
        return entry.request().scope().tenant();
    }

    /**
     * Whether others are worth a try: not if the database is away, or what is wrong is wrong with
     * all. If it may be this tenant's, that is put aside, and others do not wait for it.
     */
    private boolean charge(AwayFile.Entry entry, Set<String> aside) {
        try {
            end(entry, charged(entry), null);
            return true;
        } catch (QuotaException.Unavailable e) {
            if (SqlStates.isAway(e)) {
                setAway();
                return false;
            }
            if (e.sqlState().isEmpty()) {
                return false; // the pool is used up
            }
            isThere(entry, e);
        } catch (QuotaException.Withdrawn e) {
            return false; // it was not sent, which says nothing of the database
        } catch (QuotaException.Overloaded e) {
            LOG.debug("{} was not sent", entry.id(), e); // as this tenant has others under way
        } catch (QuotaException.Forbidden | QuotaException.SchemaMismatch e) {
            isThere(entry, e);
            return false;
        } catch (QuotaException.OutcomeUnknown e) {
            LOG.warn("it is not known yet what became of {}", entry.id(), e);
        } catch (QuotaException e) {
            if (e instanceof QuotaException.Invalid i && i.field().equals("dataSource")) {
                throw e; // the matter of who asks to charge now
            }
            end(entry, null, entry.id() + ": " + e.getMessage());
            return true;
        } catch (RuntimeException e) {
            LOG.error("what was let through under {} is not charged yet", entry.id(), e);
        }
        aside.add(tenant(entry));
        return true;
    }

    /** The database is there; that this one has to wait is no reason to let others through. */
    private void isThere(AwayFile.Entry entry, QuotaException e) {
        LOG.warn("what was let through under {} is not charged yet", entry.id(), e);
        synchronized (lock) {
            since = null;
        }
    }

    /**
     * As the caller asked, so that it has the answer if it asks again; what does not fit by now has
     * happened all the same, and is recorded under its key: what an earlier attempt of ours
     * recorded is told again.
     */
    private Granted charged(AwayFile.Entry entry) {
        Request request = entry.request();
        if (entry.verb().equals("record")) {
            return quotas.record(request);
        }
        try {
            Decision decision = quotas.consume(request);
            if (decision instanceof Granted granted) {
                return granted;
            }
        } catch (QuotaException.KeyConflict e) {
            if (!e.field().equals("verb")) {
                throw e;
            }
        }
        try {
            return quotas.record(request);
        } catch (QuotaException.KeyConflict e) {
            if (!e.field().equals("verb")) {
                throw e;
            }
            // between the two the caller's own attempt was committed: what it was granted
            return quotas.consume(request).orThrow();
        }
    }

    private void end(AwayFile.Entry entry, @Nullable Granted granted, @Nullable String problem) {
        synchronized (lock) {
            waiting.remove(entry.id());
            since = null;
            if (problem == null) {
                charged++;
                overage = sum(overage, granted == null ? 0 : granted.overage());
            } else {
                LOG.error("a call that was let through cannot be charged: {}", problem);
                refused.add(problem);
            }
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
        }
    }

    @Override
    public Away.Report report() {
        synchronized (lock) {
            Map<String, Long> units = new HashMap<>();
            waiting.values().forEach(entry -> entry.request().amounts().forEach(
                    (meter, amount) -> units.merge(meter, amount, AwayGate::sum)));
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
