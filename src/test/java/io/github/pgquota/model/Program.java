package io.github.pgquota.model;

import io.github.pgquota.Granted;
import io.github.pgquota.Hold;
import io.github.pgquota.Operations;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Quotas;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/** One run of steps on the model and on the database, side by side. */
final class Program {

    private static final AtomicInteger NUMBER = new AtomicInteger();
    private static final Pattern ID =
            Pattern.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");

    private final DataSource database;
    private final Model model = new Model(SqlAdministration.DEFAULT_PLAN);
    private final SqlLists lists;
    private final Step.Side expected;
    private final Step.Side actual;
    /** What the model calls the database's ids. */
    private final Map<String, String> ids = new HashMap<>();

    private Program(Session session) {
        String suffix = "" + NUMBER.incrementAndGet();
        this.database = session.one();
        this.lists = new SqlLists(session.one(), session.other());
        this.expected = new Step.Side(model, (calls, way) -> model.decide(calls), model, suffix);
        this.actual = new Step.Side(session.quotas(), lists,
                new SqlAdministration(session.one(), session.quotas()), suffix);
        model.clock(SqlAdministration.DEFAULT_FROM);
        model.publish(SqlAdministration.DEFAULT_PLAN, SqlAdministration.DEFAULT_LIMITS);
    }

    /**
     * Where programs run.
     *
     * @param one pool of the one connection that they use
     * @param other pool of another one, for who is at it at the same time
     * @param quotas on the one
     */
    record Session(DataSource one, DataSource other, Quotas quotas) {}

    /** Runs the steps; null, or the first difference. */
    static @Nullable String difference(Session session, Instant start, List<Step> steps)
            throws Exception {
        Program program = new Program(session);
        program.time(start);
        for (int i = 0; i < steps.size(); i++) {
            String difference = program.step(steps.get(i));
            if (difference != null) {
                return "step " + (i + 1) + difference;
            }
        }
        return program.tables();
    }

    private void time(Instant now) throws Exception {
        for (Step.Side side : List.of(expected, actual)) {
            side.now = now;
            side.administration.clock(now);
        }
    }

    private @Nullable String step(Step step) throws Exception {
        if (step instanceof Step.Clock clock) {
            time(target(clock));
            return null;
        } else if (!(step instanceof Step.Take || step instanceof Step.Look)) {
            time(model.now.plus(1, ChronoUnit.MICROS)); // no two changes at one time
        }
        if (step instanceof Step.Race race) {
            return race(race);
        }
        Object wanted = run(step, expected);
        Object got = run(step, actual);
        for (int i = 0; i < actual.adjustments.size(); i++) {
            ids.put(actual.adjustments.get(i).toString(), expected.adjustments.get(i).toString());
        }
        if (wanted instanceof Granted w && got instanceof Granted g) {
            learn(w, g);
        } else if (wanted instanceof List<?> w && got instanceof List<?> g
                && w.size() == g.size()) {
            learnAll(w, g);
        } else if (wanted instanceof QuotaException.Partial w
                && got instanceof QuotaException.Partial g
                && w.outcomes().size() == g.outcomes().size()) {
            learnAll(w.outcomes(), g.outcomes());
        }
        return difference(wanted, got);
    }

    private @Nullable String difference(Object wanted, Object got) {
        if (wanted instanceof List<?> w && got instanceof List<?> g && w.size() == g.size()) {
            return IntStream.range(0, w.size()).mapToObj(i -> difference(w.get(i), g.get(i)))
                    .filter(Objects::nonNull).findFirst().orElse(null);
        }
        String should = Outcome.text(wanted);
        String is = named(Outcome.text(got));
        return should.equals(is) ? null : "\n  model:  " + should + "\n  engine: " + is;
    }

    /**
     * Two lists at once. Whatever was granted must be as if one list had come after the other. What
     * the later one refused, or had checked, it may have refused before the other one was there.
     */
    private @Nullable String race(Step.Race race) throws Exception {
        List<Step.Call> first = race.first().calls(actual);
        // what it waits for may give back more than it has seen as free, and it takes no more
        boolean gives = first.stream().anyMatch(Step.Call::gives);
        List<Step.Call> second = race.second().calls(actual).stream()
                .filter(c -> !gives || !is(c, "consumeUpTo")).toList();
        SqlLists.Race got = lists.race(on(actual, first), on(actual, second),
                race.second().way(), model.now);
        List<Step.Call> earlier = got.waited() ? first : second;
        List<Step.Call> later = got.waited() ? second : first;
        List<Object> done = got.waited() ? got.first() : got.second();
        List<Object> then = new ArrayList<>(got.waited() ? got.second() : got.first());
        List<Object> wanted = model.decide(on(expected, earlier));
        // what the earlier one took, the later one cannot have
        boolean same = earlier.stream().noneMatch(c -> c.gives() || c.keyOrNull() != null);
        List<Step.Call> asked = new ArrayList<>();
        for (int i = 0; i < later.size(); i++) {
            boolean writes = !is(later.get(i), "check");
            if (got.apart() || writes && (same || then.get(i) instanceof Granted)) {
                asked.add(later.get(i));
            } else {
                then.set(i, null);
            }
        }
        then.removeIf(Objects::isNull);
        List<Object> should = model.decide(on(expected, asked));
        learnAll(wanted, done);
        learnAll(should, then);
        String difference = difference(wanted, done);
        for (int i = 0; difference == null && i < then.size(); i++) {
            boolean strict = got.apart() || then.get(i) instanceof Granted
                    || should.get(i).getClass() != then.get(i).getClass();
            difference = strict ? difference(should.get(i), then.get(i)) : null;
        }
        return difference == null ? null : (got.apart() ? ", one after the other"
                : got.waited() ? ", the second waited" : ", the second did not wait") + difference;
    }

    private static boolean is(Step.Call call, String verb) {
        return call instanceof Step.Take take && take.verb().equals(verb);
    }

    private static List<Consumer<Operations>> on(Step.Side side, List<Step.Call> calls) {
        return calls.stream().map(c -> Step.Mixed.on(side, c)).toList();
    }

    private static Object run(Step step, Step.Side side) throws Exception {
        try {
            return step.run(side);
        } catch (QuotaException e) {
            return e;
        }
    }

    private void learnAll(List<?> wanted, List<?> got) {
        for (int i = 0; i < wanted.size(); i++) {
            if (wanted.get(i) instanceof Granted w && got.get(i) instanceof Granted g) {
                learn(w, g);
            }
        }
    }

    private void learn(Granted wanted, Granted got) {
        if (wanted.replayed() || wanted.operationOrNull() == null
                || got.operationOrNull() == null) {
            return;
        }
        ids.putIfAbsent(got.operation().uuid().toString(), wanted.operation().uuid().toString());
        expected.operations.add(wanted.operation());
        actual.operations.add(got.operation());
        if (model.holds.containsKey(wanted.operation())) {
            expected.holds.add(wanted.operation());
            actual.holds.add(got.operation());
        }
    }

    private String named(String text) {
        return ID.matcher(text).replaceAll(m -> ids.getOrDefault(m.group(), m.group()));
    }

    /**
     * Back no further than the last expiry that was seen: whether a hold lives again that somebody
     * may have ended is not promised.
     */
    private Instant target(Step.Clock clock) {
        Instant now = model.now;
        if (clock.boundary() >= 0) {
            List<Instant> ahead = Stream.concat(
                    model.counters.stream().map(c -> c.window.end()),
                    model.holds.values().stream().map(h -> h.expires))
                    .filter(t -> t != null && t.isAfter(now) && t.isBefore(now.plus(100,
                    ChronoUnit.DAYS)))
                    .sorted().distinct().toList();
            if (!ahead.isEmpty()) {
                Instant end = ahead.get(clock.boundary() % ahead.size());
                return clock.before() ? end.minus(1, ChronoUnit.MICROS) : end;
            }
        }
        Instant target = now.plus(clock.by());
        for (Model.Held hold : model.holds.values()) {
            if (!hold.expires.isAfter(now) && hold.expires.isAfter(target)) {
                target = hold.expires;
            }
        }
        return target;
    }

    private @Nullable String tables() throws SQLException {
        List<String> should = new ArrayList<>();
        List<String> is = new ArrayList<>();
        try (Connection connection = database.getConnection()) {
            SqlAdministration.lines(connection, expected.own("A"), expected.own("B"),
                            expected.own("C"))
                    .forEach(line -> is.add(named(line)));
        }
        lines(should);
        List<String> missing = new ArrayList<>(should);
        is.forEach(missing::remove);
        should.forEach(is::remove);
        return missing.isEmpty() && is.isEmpty()
                ? null
                : "the tables\n  only in the model:  " + missing + "\n  only in the engine: " + is;
    }

    private void lines(List<String> lines) {
        for (Model.Counter c : model.counters) {
            lines.add(words("counter", name(c), micros(c.window.start()), micros(c.window.end()),
                    c.billed ? "t" : "f", "used", c.used, "held", model.held(c), "entries",
                    c.entries));
        }
        for (Model.Entry e : model.ledger) {
            lines.add(words("ledger", name(e.counter()), e.number(), e.verb(), e.amount(),
                    e.usedAfter(),
                    micros(e.call().at()), e.operation() == null ? "its own" : e.operation().uuid(),
                    e.ref() == null ? "null" : e.ref().uuid()));
        }
        for (Model.Held h : model.holds.values()) {
            lines.add(words("hold", h.id.uuid(), h.scope, braces(h.amounts.keySet()),
                    braces(h.amounts.values()), micros(h.taken.at()), micros(h.expires),
                    h.state(model.now).name().toLowerCase(Locale.ROOT)));
            if (h.state(model.now) == Hold.State.OPEN) {
                h.counters.forEach(c -> lines.add(words("item", name(c), h.id.uuid(),
                        h.amounts.get(c.meter), micros(h.expires))));
            }
        }
        for (Model.Alarm a : model.alerts) {
            lines.add(words("alert", name(a.counter()), a.limit(), a.percent(), a.capacity(),
                    a.used(),
                    a.operation().uuid(), micros(a.call().at())));
        }
        model.keys.forEach((key, first) -> lines.add(words("key", key.get(1), first.asked().verb(),
                first.asked().scope(), micros(first.call().at()))));
    }

    private static String name(Model.Counter c) {
        return words(c.scope, c.meter, c.per.text(), c.n);
    }

    private static String words(Object... words) {
        return Stream.of(words).map(String::valueOf).collect(Collectors.joining(" "));
    }

    private static String micros(@Nullable Instant at) {
        return at == null ? "null" : "" + ChronoUnit.MICROS.between(Instant.EPOCH, at);
    }

    private static String braces(Collection<?> values) {
        return values.stream().map(String::valueOf).collect(Collectors.joining(",", "{", "}"));
    }
}
