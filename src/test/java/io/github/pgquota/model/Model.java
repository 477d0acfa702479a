package io.github.pgquota.model;

import io.github.pgquota.Balance;
import io.github.pgquota.Decision;
import io.github.pgquota.Denied;
import io.github.pgquota.Granted;
import io.github.pgquota.Hold;
import io.github.pgquota.Limit;
import io.github.pgquota.OperationId;
import io.github.pgquota.Operations;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import io.github.pgquota.Verdict;
import io.github.pgquota.Window;
import java.math.BigInteger;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.UUID;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.function.ToLongFunction;
import org.jspecify.annotations.Nullable;

/**
 * The contract, in memory: one thread, lists and loops, no SQL. It shares the API's words with the
 * engine and nothing else. Times are set from outside.
 */
final class Model implements Operations, Administration {

    private static final Duration KEY_RETENTION = Duration.ofDays(35);
    private static final Duration LONGEST_HOLD = Duration.ofDays(1);
    private static final LocalDateTime NO_ANCHOR = LocalDateTime.of(2001, 1, 1, 0, 0);
    private static final long MOST = 1L << 62;

    final List<Counter> counters = new ArrayList<>();
    final Map<OperationId, Held> holds = new LinkedHashMap<>();
    final List<Entry> ledger = new ArrayList<>();
    final List<Alarm> alerts = new ArrayList<>();
    final Map<List<String>, Remembered> keys = new LinkedHashMap<>();
    Instant now = Instant.EPOCH;
    private final Map<String, List<Version>> plans = new HashMap<>();
    private final Map<String, Tenant> tenants = new HashMap<>();
    private final String defaultPlan;
    private final List<Adjustment> adjustments = new ArrayList<>();
    private long ids;
    /** The list that is being decided. */
    private @Nullable Call list;
    private @Nullable Answer latest;

    Model(String defaultPlan) {
        this.defaultPlan = defaultPlan;
    }

    record Version(Instant from, List<Limit> limits) {}

    record Tenant(String plan, ZoneId zone, LocalDateTime anchor) {}

    record Adjustment(
            UUID id, Scope scope, String limit, boolean boost, Long capacity, Instant from,
            Instant until) {}

    record Entry(
            Counter counter, long number, String verb, long amount, long usedAfter,
            OperationId operation,
            Call call, OperationId ref) {}

    record Alarm(
            Counter counter, String limit, int percent, long capacity, long used,
            OperationId operation,
            Call call) {}

    /** A request as a key remembers it. */
    record Asked(
            String verb, Scope scope, String key, OperationId ref, Duration ttl,
            Map<String, Long> amounts) {}

    record Remembered(Asked asked, Call call, Answer answer) {}

    /** An answer that waits for its call's time. */
    interface Answer {
        Decision at(Instant at);
    }

    /** One row of usage. */
    static final class Counter {
        final String scope;
        final String meter;
        final Window per;
        final int n;
        final Windows window;
        int id;
        boolean billed;
        long used;
        long entries;
        Instant last;

        Counter(String scope, String meter, Window per, int n, Windows window) {
            this.scope = scope;
            this.meter = meter;
            this.per = per;
            this.n = n;
            this.window = window;
            this.last = window.start() == null ? Instant.MIN : window.start();
        }

        boolean is(String otherScope, Limit limit) {
            return scope.equals(otherScope) && meter.equals(limit.meter())
                    && per.equals(limit.window());
        }
    }

    /** A hold, open or not. */
    static final class Held {
        OperationId id;
        Scope scope;
        Map<String, Long> amounts;
        List<Counter> counters;
        Call taken;
        Instant expires;
        Hold.State state = Hold.State.OPEN;
        Call ended;
        Answer outcome;

        Hold.State state(Instant now) {
            boolean over = state == Hold.State.OPEN && !expires.isAfter(now);
            return over ? Hold.State.EXPIRED : state;
        }

        long takes(Counter counter, Instant now) {
            boolean counts = state(now) == Hold.State.OPEN && counters.contains(counter);
            return counts ? amounts.get(counter.meter) : 0;
        }
    }

    /**
     * A call has one time: now, but within the windows that it charges, and not before what its
     * counters have seen, if a clock stepped back.
     */
    final class Call {
        final List<Counter> opened = new ArrayList<>();
        final Map<Counter, long[]> sums = new HashMap<>();
        Instant low = Instant.MIN;
        Instant high = Instant.MAX;
        Instant began = now;

        void touches(Counter counter) {
            low = low.isAfter(counter.last) ? low : counter.last;
        }

        void charges(Counter counter) {
            touches(counter);
            if (counter.window.end() != null) {
                high = high.isBefore(counter.window.end()) ? high : counter.window.end();
            }
        }

        Instant at() {
            Instant last = high.minusNanos(high.equals(Instant.MAX) ? 0 : 1000);
            Instant at = began.isAfter(last) ? last : began;
            return at.isBefore(low) ? low : at;
        }

        void close() {
            opened.sort(Comparator.comparing((Counter c) -> c.scope).thenComparing(c -> c.meter)
                    .thenComparing(c -> c.per.text()));
            for (Counter counter : opened) {
                counters.add(counter);
                counter.id = counters.size();
            }
            sums.forEach((counter, sum) -> {
                if (sum[0] != 0 || sum[1] != 0) {
                    counter.last = at();
                }
            });
        }
    }

    /** A limit over a counter, as it stands now; none where the plan has none any longer. */
    private final class Leg {
        final Limit limit;
        final Counter counter;
        final Long capacity;
        boolean fits = true;

        Leg(Limit limit, Counter counter) {
            this.limit = limit;
            this.counter = counter;
            this.capacity = limit == null ? null : capacity(limit, counter.scope);
        }

        Limit.Mode mode() {
            return limit == null ? Limit.Mode.OBSERVE : limit.mode();
        }

        Long ceiling() {
            return capacity == null || limit.overageOrNull() == null
                    ? null
                    : capacity + Math.min(limit.overageOrNull(), MOST - 1);
        }

        /** Null if nothing is refused. */
        Long free() {
            return ceiling() == null ? null : ceiling() - counter.used - held(counter);
        }

        void ask(long more) {
            fits = more <= 0 || free() == null || more <= free();
        }

        boolean refuses() {
            return !fits && mode() == Limit.Mode.ENFORCE;
        }

        Balance balance() {
            return new Balance(limit == null ? counter.meter : limit.name(), counter.meter,
                    new Scope(counter.scope), mode(), capacity, counter.used, held(counter),
                    counter.window.start(), counter.window.end());
        }

        Verdict verdict(long overage, List<Integer> crossed) {
            Balance b = balance();
            String message = limit == null ? null : limit.messageOrNull();
            if (message != null) {
                message = message.replace("{limit}", b.limit()).replace("{meter}", b.meter())
                        .replace("{scope}", b.scope().path()).replace("{used}", "" + b.used())
                        .replace("{held}", "" + b.held())
                        .replace("{capacity}", capacity == null ? "unlimited" : "" + capacity)
                        .replace("{remaining}", capacity == null
                                ? "unlimited"
                                : "" + Math.max(0, capacity - b.used() - b.held()))
                        .replace("{resets_at}", String.valueOf(
                                b.endOrNull() == null ? "never" : b.endOrNull()));
            }
            return new Verdict(b, fits, overage, crossed, message);
        }
    }

    // Administration

    @Override
    public void clock(Instant to) {
        now = to;
    }

    @Override
    public void publish(String plan, List<Limit> limits) {
        List<Version> versions = plans.computeIfAbsent(plan, p -> new ArrayList<>());
        versions.add(new Version(now, limits));
        versions.sort(Comparator.comparing(Version::from));
    }

    @Override
    public void tenant(String tenant, String plan, ZoneId zone, LocalDateTime anchor) {
        tenants.put(tenant, new Tenant(plan, zone, anchor));
    }

    @Override
    public UUID adjust(
            Scope scope, String limit, boolean boost, Long capacity, Instant from, Instant until) {
        UUID id = new UUID(0x7000, ++ids);
        adjustments.add(new Adjustment(id, scope, limit, boost, capacity, from, until));
        return id;
    }

    @Override
    public void withdraw(String tenant, UUID id) {
        if (adjustments.stream().noneMatch(a -> a.id.equals(id))) {
            throw new QuotaException.NotFound("override or boost", id, "");
        }
        adjustments.removeIf(a -> a.id.equals(id) && !a.from.isBefore(now));
        adjustments.replaceAll(a -> !a.id.equals(id) || a.until.isBefore(now)
                ? a
                : new Adjustment(id, a.scope, a.limit, a.boost, a.capacity, a.from, now));
    }

    @Override
    public List<Balance> reset(Scope scope, boolean dryRun) {
        Call call = new Call();
        List<Balance> were = new ArrayList<>();
        for (Counter c : List.copyOf(counters)) {
            boolean newest = counters.stream().noneMatch(o -> o.n > c.n && o.scope.equals(c.scope)
                    && o.meter.equals(c.meter) && o.per.equals(c.per));
            boolean running = c.window.end() == null || c.window.end().isAfter(now);
            if (newest && running && c.used > 0
                    && (c.scope + "/").startsWith(scope.path() + "/")) {
                were.add(new Leg(null, c).balance());
                call.touches(c);
                if (!dryRun) {
                    if (c.billed) {
                        ledger.add(new Entry(
                                c, ++c.entries, "reset", -c.used, 0, null, call, null));
                    }
                    call.sums.put(c, new long[] {-c.used, 0});
                    c.used = 0;
                }
            }
        }
        call.close();
        return were;
    }

    // The verbs

    @Override
    public Decision consume(Request request) {
        return alone(call -> take(call, "consume", request, null));
    }

    @Override
    public Granted consumeUpTo(Request request) {
        return (Granted) alone(call -> take(call, "consume_up_to", request, null));
    }

    @Override
    public Granted record(Request request) {
        return (Granted) alone(call -> take(call, "record", request, null));
    }

    @Override
    public Decision reserve(Request request, Duration timeToLive) {
        return alone(call -> take(call, "reserve", request, timeToLive));
    }

    @Override
    public Decision check(Request request) {
        return alone(call -> take(call, "check", request, null));
    }

    @Override
    public List<Decision> consumeAll(List<Request> requests) {
        List<Object> outcomes = decide(requests.stream()
                .map(r -> (Consumer<Operations>) verbs -> verbs.consume(r)).toList());
        for (Object outcome : outcomes) {
            if (outcome instanceof QuotaException e) {
                throw new QuotaException.Partial(outcomes, e);
            }
        }
        return outcomes.stream().map(Decision.class::cast).toList();
    }

    /** Calls that are decided at one time, in their order; their decisions, or what they threw. */
    List<Object> decide(List<Consumer<Operations>> calls) {
        Call call = new Call();
        List<Object> answers = new ArrayList<>();
        list = call;
        for (Consumer<Operations> one : calls) {
            try {
                one.accept(this);
                answers.add(latest);
            } catch (QuotaException e) {
                answers.add(e);
            }
        }
        list = null;
        call.close();
        return answers.stream()
                .map(a -> a instanceof Answer answer ? filled(answer.at(call.at())) : a).toList();
    }

    private interface Work {
        Answer in(Call call);
    }

    /** Null while a list is decided: all of it is answered at its end. */
    private Decision alone(Work work) {
        if (list != null) {
            latest = work.in(list);
            return null;
        }
        Call call = new Call();
        Answer answer = work.in(call);
        call.close();
        return filled(answer.at(call.at()));
    }

    /** What was asked is told with each answer, the first one and those that repeat it. */
    private static Decision filled(Decision raw) {
        List<Verdict> verdicts = raw.limits().stream().map(v -> new Verdict(v.balance(), v.fits(),
                v.overage(),
                v.crossed(), v.messageOrNull() == null ? null : v.messageOrNull()
                        .replace("{asked}", "" + raw.asked().getOrDefault(v.balance().meter(),
                        0L)))).toList();
        return raw instanceof Granted g
                ? new Granted(g.scope(), g.asked(), g.granted(), verdicts, g.at(),
                g.operationOrNull(),
                        g.replayed(), g.late(), g.holdOrNull())
                : new Denied(raw.scope(), raw.asked(), verdicts, raw.at(), ((Denied) raw)
                .retryAfterOrNull());
    }

    private Answer keyed(Call call, Asked asked, Supplier<Answer> work) {
        List<String> key = asked.key == null ? null : List.of(asked.scope.tenant(), asked.key);
        boolean check = asked.verb.equals("check");
        if (key != null && keys.containsKey(key)) {
            Remembered first = keys.get(key);
            if (first.call.at().isBefore(now.minus(KEY_RETENTION))) {
                throw new QuotaException.KeyExpired(asked.key);
            }
            String field = differs(first.asked, asked, check ? "consume" : asked.verb);
            if (field != null) {
                throw new QuotaException.KeyConflict(asked.key, field);
            }
            return at -> again((Granted) first.answer.at(first.call.at()), asked.amounts);
        }
        Answer answer = work.get();
        if (key != null && !check && answer.at(now) instanceof Granted) {
            keys.put(key, new Remembered(asked, call, answer));
        }
        return answer;
    }

    private static String differs(Asked a, Asked b, String verb) {
        return !a.verb.equals(verb) ? "verb"
                : !a.scope.equals(b.scope) ? "scope"
                : !Objects.equals(a.ref, b.ref) ? "ref"
                : !Objects.equals(a.ttl, b.ttl) ? "ttl"
                : !a.amounts.keySet().equals(b.amounts.keySet()) ? "meters"
                : !a.amounts.equals(b.amounts) ? "amounts" : null;
    }

    private static Granted again(Granted first, Map<String, Long> asked) {
        return new Granted(first.scope(), asked, first.granted(), first.limits(), first.at(),
                first.operationOrNull(), true, first.late(), first.holdOrNull());
    }

    private Answer take(Call call, String verb, Request request, Duration ttl) {
        Asked asked =
                new Asked(verb, request.scope(), request.key(), null, ttl, request.amounts());
        return keyed(call, asked, () -> {
            List<Leg> legs = legs(call, request.scope(), request.amounts().keySet());
            Map<String, Long> amounts = new TreeMap<>(request.amounts());
            for (Leg leg : legs) {
                leg.ask(request.amounts().get(leg.counter.meter));
                if (verb.equals("consume_up_to") && leg.mode() == Limit.Mode.ENFORCE
                        && leg.free() != null) {
                    amounts.merge(leg.counter.meter, Math.max(0, leg.free()), Math::min);
                }
            }
            boolean denies = Set.of("consume", "reserve", "check").contains(verb);
            if (denies && legs.stream().anyMatch(Leg::refuses)) {
                return denied(asked, legs, retryAfter(asked, legs));
            }
            requireRoom(asked, legs, c -> amounts.get(c.meter));
            if (verb.equals("check")) {
                List<Verdict> as = legs.stream().map(l -> l.verdict(0, List.of())).toList();
                return at -> new Granted(
                        asked.scope, asked.amounts, amounts, as, at, null, false, false, null);
            }
            legs.forEach(leg -> call.charges(leg.counter));
            OperationId id = newId(asked.scope.tenant());
            Held hold = verb.equals("reserve") ? open(call, asked, legs, id) : null;
            List<Verdict> verdicts = charge(call, id, asked, legs,
                    c -> hold == null ? amounts.get(c.meter) : 0,
                    c -> hold == null ? 0 : amounts.get(c.meter));
            Hold opened = hold == null ? null : new Hold(id, Hold.State.OPEN, hold.expires);
            return at -> new Granted(
                    asked.scope, asked.amounts, amounts, verdicts, at, id, false, false, opened);
        });
    }

    private Held open(Call call, Asked asked, List<Leg> legs, OperationId id) {
        Held hold = new Held();
        hold.id = id;
        hold.scope = asked.scope;
        hold.amounts = new TreeMap<>(asked.amounts);
        hold.counters = legs.stream().map(l -> l.counter).distinct().toList();
        hold.taken = call;
        hold.expires = now.plus(asked.ttl.compareTo(LONGEST_HOLD) < 0 ? asked.ttl
                : LONGEST_HOLD);
        holds.put(id, hold);
        return hold;
    }

    @Override
    public Granted settle(OperationId id, Map<String, Long> amounts) {
        return (Granted) alone(call -> end(call, "settle", id, amounts));
    }

    @Override
    public Granted release(OperationId id) {
        return (Granted) alone(call -> end(call, "release", id, Map.of()));
    }

    private Held find(OperationId id) {
        if (!holds.containsKey(id)) {
            throw new QuotaException.NotFound("hold", id, "");
        }
        return holds.get(id);
    }

    private static void requireHeld(Held hold, Map<String, Long> amounts) {
        for (String meter : new TreeMap<>(amounts).keySet()) {
            if (!hold.amounts.containsKey(meter)) {
                throw new QuotaException.Invalid("meter", meter, "");
            }
        }
    }

    private Answer end(Call call, String verb, OperationId id, Map<String, Long> amounts) {
        Held hold = find(id);
        if (hold.outcome != null) {
            return at -> again((Granted) hold.outcome.at(hold.ended.at()), amounts);
        }
        requireHeld(hold, amounts);
        boolean settles = verb.equals("settle");
        boolean late = hold.state(now) == Hold.State.EXPIRED;
        ToLongFunction<Counter> uses = c -> settles
                ? amounts.getOrDefault(c.meter, hold.amounts.get(c.meter))
                : 0;
        ToLongFunction<Counter> frees = c -> -hold.takes(c, now);
        Asked asked = new Asked(verb, new Scope(id.tenant()), null, id, null, amounts);
        List<Leg> legs = legs(hold.scope, hold.counters);
        legs.forEach(l -> l.ask(uses.applyAsLong(l.counter) + frees.applyAsLong(l.counter)));
        requireRoom(asked, legs, c -> uses.applyAsLong(c) + frees.applyAsLong(c));
        Map<Counter, Long> freed = new HashMap<>();
        hold.counters.forEach(c -> freed.put(c, frees.applyAsLong(c)));
        hold.state = settles ? Hold.State.SETTLED : late ? Hold.State.EXPIRED : Hold.State.RELEASED;
        OperationId operation = newId(id.tenant());
        List<Verdict> verdicts = charge(call, operation, asked, legs, uses, freed::get);
        Map<String, Long> used = byMeter(legs, uses);
        Hold left = new Hold(id, hold.state, hold.expires);
        hold.ended = call;
        hold.outcome = at -> new Granted(
                asked.scope, amounts, used, verdicts, at, operation, false, late, left);
        return hold.outcome;
    }

    @Override
    public Decision extend(OperationId id, Map<String, Long> amounts, Duration ttl, String key) {
        Asked asked = new Asked("extend", new Scope(id.tenant()), key, id, ttl, amounts);
        return alone(call -> keyed(call, asked, () -> {
            Held hold = find(id);
            if (hold.state(now) != Hold.State.OPEN) {
                throw new QuotaException.HoldEnded(id, hold.state(now));
            }
            requireHeld(hold, amounts);
            ToLongFunction<Counter> adds = c -> amounts.getOrDefault(c.meter, 0L);
            List<Leg> legs = legs(hold.scope, hold.counters);
            legs.forEach(l -> l.ask(adds.applyAsLong(l.counter)));
            if (legs.stream().anyMatch(Leg::refuses)) {
                // no reset helps: the hold stays in the window that it was taken in
                return denied(asked, legs, null);
            }
            requireRoom(asked, legs, adds);
            amounts.forEach((meter, more) -> hold.amounts.merge(meter, more, Long::sum));
            Instant latest = hold.taken.at().plus(LONGEST_HOLD);
            Instant wanted = now.plus(ttl).isAfter(latest) ? latest : now.plus(ttl);
            hold.expires = wanted.isAfter(hold.expires) ? wanted : hold.expires;
            OperationId operation = newId(id.tenant());
            List<Verdict> verdicts = charge(call, operation, asked, legs, c -> 0, adds);
            Hold left = new Hold(id, Hold.State.OPEN, hold.expires);
            return at -> new Granted(asked.scope, amounts, byMeter(legs, adds), verdicts, at,
                    operation,
                    false, false, left);
        }));
    }

    @Override
    public Granted refund(OperationId id, Map<String, Long> amounts, String key) {
        Asked asked = new Asked("refund", new Scope(id.tenant()), key, id, null, amounts);
        return (Granted) alone(call -> keyed(call, asked, () -> {
            Map<Counter, Long> left = new LinkedHashMap<>();
            ledger.stream().filter(e -> id.equals(e.operation) && e.amount > 0)
                    .forEach(e -> left.merge(e.counter, e.amount, Long::sum));
            ledger.stream().filter(e -> id.equals(e.ref) && e.verb.equals("refund"))
                    .forEach(e -> left.merge(e.counter, e.amount, Long::sum));
            if (left.isEmpty()) {
                throw new QuotaException.NotFound("operation", id, "");
            }
            left.replaceAll((c, most) -> Math.min(most, c.used)); // a reset may have come between
            ToLongFunction<Counter> gives =
                    c -> amounts.isEmpty() ? left.get(c) : amounts.getOrDefault(c.meter, 0L);
            List<Leg> legs = new ArrayList<>();
            left.keySet().stream().map(c -> legs(new Scope(c.scope), List.of(c)))
                    .forEach(legs::addAll);
            sort(legs, id.tenant());
            Set<String> meters = new LinkedHashSet<>(legs.stream().map(l -> l.counter.meter)
                    .toList());
            meters.addAll(new TreeMap<>(amounts).keySet());
            for (String meter : meters) {
                long most = left.entrySet().stream().filter(e -> e.getKey().meter.equals(meter))
                        .mapToLong(Map.Entry::getValue).min().orElse(0);
                long asks = amounts.getOrDefault(meter, 0L);
                if (asks > most) {
                    throw new QuotaException.RefundTooLarge(id, meter, asks, most);
                }
            }
            OperationId operation = newId(id.tenant());
            List<Verdict> verdicts =
                    charge(call, operation, asked, legs, c -> -gives.applyAsLong(c), c -> 0);
            return at -> new Granted(asked.scope, amounts, byMeter(legs, gives), verdicts, at,
                    operation,
                    false, false, null);
        }));
    }

    @Override
    public List<Balance> balances(Scope scope) {
        Map<List<Object>, Counter> fresh = new HashMap<>();
        return inForce(scope.tenant()).stream().filter(l -> l.level() <= scope.level())
                .map(l -> new Leg(l, counter(l, cut(scope, l.level()), fresh)).balance()).toList();
    }

    // What they share

    private Answer denied(Asked asked, List<Leg> legs, Instant retryAfter) {
        List<Verdict> as = legs.stream().map(l -> l.verdict(0, List.of())).toList();
        return at -> new Denied(asked.scope, asked.amounts, as, at, retryAfter);
    }

    private Instant retryAfter(Asked asked, List<Leg> legs) {
        Instant latest = null;
        for (Leg leg : legs.stream().filter(Leg::refuses).toList()) {
            Instant end = leg.counter.window.end();
            if (end == null || asked.amounts.get(leg.counter.meter) > leg.ceiling()) {
                return null;
            }
            latest = latest == null || end.isAfter(latest) ? end : latest;
        }
        return latest;
    }

    private void requireRoom(Asked asked, List<Leg> legs, ToLongFunction<Counter> more) {
        for (Leg leg : legs) {
            long room = Long.MAX_VALUE - leg.counter.used - held(leg.counter);
            if (more.applyAsLong(leg.counter) > room) {
                throw new QuotaException.Invalid("amount", asked.amounts, "");
            }
        }
    }

    /** Charges each counter once, opens those that are not, and tells how all limits stand then. */
    private List<Verdict> charge(Call call, OperationId operation, Asked asked, List<Leg> legs,
            ToLongFunction<Counter> uses, ToLongFunction<Counter> holdsMore) {
        Set<Counter> distinct = new LinkedHashSet<>(legs.stream().map(l -> l.counter).toList());
        for (Counter counter : distinct) {
            if (counter.id == 0 && !call.opened.contains(counter)) {
                counter.billed = legs.stream().anyMatch(l -> l.counter == counter
                        && l.limit.billed());
                call.opened.add(counter);
            }
            call.touches(counter);
            long[] sum = call.sums.computeIfAbsent(counter, c -> new long[2]);
            sum[0] += uses.applyAsLong(counter);
            sum[1] += holdsMore.applyAsLong(counter);
            counter.used += uses.applyAsLong(counter);
            if (counter.billed && uses.applyAsLong(counter) != 0) {
                ledger.add(new Entry(counter, ++counter.entries, asked.verb,
                        uses.applyAsLong(counter),
                        counter.used, operation, call, asked.ref));
            }
        }
        List<Verdict> verdicts = new ArrayList<>();
        for (Leg leg : legs) {
            long more = uses.applyAsLong(leg.counter) + holdsMore.applyAsLong(leg.counter);
            long over = leg.capacity == null ? 0 : leg.counter.used - leg.capacity
                    + held(leg.counter);
            boolean reaches = uses.applyAsLong(leg.counter) > 0 && leg.capacity != null
                    && leg.capacity > 0;
            List<Integer> crossed = reaches ? crossed(call, operation, leg) : List.of();
            verdicts.add(leg.verdict(Math.max(0, Math.min(over, more)), crossed));
        }
        return verdicts;
    }

    private List<Integer> crossed(Call call, OperationId operation, Leg leg) {
        List<Integer> crossed = new ArrayList<>();
        for (int percent : leg.limit.thresholds()) {
            boolean known = alerts.stream().anyMatch(a -> a.counter == leg.counter
                    && a.limit.equals(leg.limit.name()) && a.percent == percent
                    && a.capacity == leg.capacity);
            if (!known && times(leg.counter.used, 100).compareTo(times(leg.capacity,
                    percent)) >= 0) {
                crossed.add(percent);
                alerts.add(new Alarm(leg.counter, leg.limit.name(), percent, leg.capacity,
                        leg.counter.used, operation, call));
            }
        }
        return crossed;
    }

    private static BigInteger times(long a, long b) {
        return BigInteger.valueOf(a).multiply(BigInteger.valueOf(b));
    }

    private static Map<String, Long> byMeter(List<Leg> legs, ToLongFunction<Counter> amount) {
        Map<String, Long> amounts = new TreeMap<>();
        legs.forEach(l -> amounts.put(l.counter.meter, amount.applyAsLong(l.counter)));
        return amounts;
    }

    /** The limits over these meters that count, in the plan's order; each meter must have one. */
    private List<Leg> legs(Call call, Scope scope, Set<String> meters) {
        List<Limit> all = inForce(scope.tenant());
        for (String meter : new TreeSet<>(meters)) {
            if (all.isEmpty()) {
                throw new QuotaException.UnknownTenant(scope.tenant(), "");
            }
            if (all.stream().noneMatch(l -> l.meter().equals(meter)
                    && l.level() <= scope.level())) {
                throw new QuotaException.UnknownMeter(scope, meter, "");
            }
        }
        Map<List<Object>, Counter> fresh = new HashMap<>();
        call.opened.forEach(c -> fresh.put(List.of(c.scope, c.meter, c.per), c));
        return new ArrayList<>(all.stream()
                .filter(l -> meters.contains(l.meter()) && l.level() <= scope.level())
                .filter(l -> l.mode() != Limit.Mode.OFF)
                .map(l -> new Leg(l, counter(l, cut(scope, l.level()), fresh))).toList());
    }

    /** Counters that were charged before, with the limits that stand over them now. */
    private List<Leg> legs(Scope scope, List<Counter> charged) {
        List<Leg> legs = new ArrayList<>();
        for (Counter counter : charged) {
            List<Limit> over = inForce(scope.tenant()).stream()
                    .filter(l -> l.level() <= scope.level() && l.mode() != Limit.Mode.OFF)
                    .filter(l -> counter.is(cut(scope, l.level()), l)).toList();
            over.forEach(l -> legs.add(new Leg(l, counter)));
            if (over.isEmpty()) {
                legs.add(new Leg(null, counter));
            }
        }
        sort(legs, scope.tenant());
        return legs;
    }

    private void sort(List<Leg> legs, String tenant) {
        List<Limit> order = inForce(tenant);
        legs.sort(Comparator.comparing((Leg l) -> l.limit == null ? order.size()
                : order.indexOf(l.limit))
                .thenComparing(l -> l.counter.scope).thenComparing(l -> l.counter.meter)
                .thenComparing(l -> l.counter.per.text()).thenComparing(l -> l.counter.n));
    }

    /** The newest counter while it runs, whatever zone, anchor or clock say; else the next one. */
    private Counter counter(Limit limit, String scope, Map<List<Object>, Counter> fresh) {
        Counter newest = counters.stream().filter(c -> c.is(scope, limit))
                .max(Comparator.comparing(c -> c.n)).orElse(null);
        if (newest != null && (newest.window.end() == null || newest.window.end().isAfter(now))) {
            return newest;
        }
        return fresh.computeIfAbsent(List.of(scope, limit.meter(), limit.window()), k -> {
            Tenant tenant = tenants.getOrDefault(
                    new Scope(scope).tenant(), new Tenant(null, null, null));
            Windows w = Windows.at(limit.window(), now, tenant.zone == null ? ZoneOffset.UTC
                    : tenant.zone,
                    tenant.anchor == null ? NO_ANCHOR : tenant.anchor);
            boolean overlaps = newest != null && newest.window.end().isAfter(w.start());
            return new Counter(scope, limit.meter(), limit.window(),
                    newest == null ? 1 : newest.n + 1,
                    overlaps ? new Windows(newest.window.end(), w.end()) : w);
        });
    }

    private List<Limit> inForce(String tenant) {
        Tenant settings = tenants.get(tenant);
        String plan = settings == null || settings.plan == null ? defaultPlan : settings.plan;
        List<Limit> limits = List.of();
        for (Version version : plans.getOrDefault(plan, List.of())) {
            limits = version.from.isAfter(now) ? limits : version.limits;
        }
        return limits;
    }

    private Long capacity(Limit limit, String scope) {
        List<Adjustment> over = adjustments.stream()
                .filter(a -> a.limit.equals(limit.name()) && !a.from.isAfter(now)
                && a.until.isAfter(now)
                        && (scope + "/").startsWith(a.scope + "/"))
                .toList();
        Long capacity = limit.capacityOrNull();
        Adjustment nearest = over.stream().filter(a -> !a.boost)
                .max(Comparator.comparing((Adjustment a) -> a.scope.level())
                        .thenComparing(a -> a.from).thenComparing(a -> a.id)).orElse(null);
        capacity = nearest == null ? capacity : nearest.capacity;
        if (capacity != null) {
            for (Adjustment boost : over.stream().filter(a -> a.boost).toList()) {
                capacity = capacity > MOST - boost.capacity ? MOST : capacity + boost.capacity;
            }
        }
        return capacity;
    }

    long held(Counter counter) {
        return holds.values().stream().mapToLong(h -> h.takes(counter, now)).sum();
    }

    private OperationId newId(String tenant) {
        return new OperationId(tenant, new UUID(0x7000, ++ids));
    }

    private static String cut(Scope scope, int level) {
        String[] segments = scope.path().split("/");
        return String.join("/", List.of(segments).subList(0, level + 1));
    }
}
