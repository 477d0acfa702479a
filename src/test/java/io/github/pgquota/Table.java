package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Runs tests that are written as tables, against the real engine, a line at a time:
 *
 * <pre>
 * acme/search consume requests 30 | granted 30       | used 30 held 0
 * reserve requests 20 as h1       | granted 20       | used 30 held 20
 * settle h1 requests 25           | granted 25 over 5| used 55 held 0
 * consume requests 900            | denied messages  | used 55 held 0
 * clock +PT1H                     |                  |
 * </pre>
 *
 * <p>First what is done: perhaps a scope (else {@code acme}), a verb, for verbs about a hold or an
 * operation its nickname, amounts by meter; then perhaps {@code ttl PT1M}, {@code key K}, and
 * {@code as} with a nickname for what comes of it.
 *
 * <p>Then the answer. {@code granted} with a number or meters and numbers, then what is remarkable:
 * {@code over 5}, {@code late}, {@code replayed}, {@code crossed 80,100}, {@code hold settled}.
 * What is not named must not be so. {@code denied} with the names of the limits that refused and
 * {@code retry} with a time or never. Or the kind of an exception and its field.
 *
 * <p>Last, what the database holds then: {@code used} and {@code held} of all counters of acme, or
 * of those of the scope, meter and window (from 1) that are named before; several are set apart by
 * commas.
 */
final class Table {

    private final World world;
    private final Operations quotas;
    private final Map<String, OperationId> names = new HashMap<>();

    private Table(World world, Operations quotas) {
        this.world = world;
        this.quotas = quotas;
    }

    /** Runs a table, and proves the books at its end. */
    static void run(World world, String lines) {
        run(world, world.quotas(), lines);
    }

    /** Runs a table on a path of its own, and proves the books at its end. */
    static void run(World world, Operations quotas, String lines) {
        Table table = new Table(world, quotas);
        int number = 0;
        for (String line : lines.lines().toList()) {
            number++;
            String bare = line.replaceFirst("#.*", "").strip();
            if (!bare.isEmpty()) {
                table.line("line " + number + ": " + bare, bare.split("\\|", -1));
            }
        }
        assertThat(number).isPositive();
        world.proof();
    }

    private void line(String name, String[] cells) {
        assertThat(cells).as(name).hasSize(3);
        String answer = answer(words(cells[0]));
        assertThat(answer).as(name).isEqualTo(String.join(" ", words(cells[1])));
        for (String state : cells[2].split(",")) {
            if (!state.isBlank()) {
                counters(name, words(state));
            }
        }
    }

    private static Deque<String> words(String text) {
        Deque<String> words = new ArrayDeque<>();
        for (String word : text.strip().split("\\s+")) {
            if (!word.isEmpty()) {
                words.add(word);
            }
        }
        return words;
    }

    private String answer(Deque<String> words) {
        if (words.getFirst().equals("clock")) {
            words.removeFirst();
            String to = words.removeFirst();
            if (to.startsWith("+")) {
                world.later(Duration.parse(to.substring(1)));
            } else {
                world.clock(to);
            }
            return "";
        }
        try {
            Line line = new Line(words);
            Decision decision = line.call();
            if (line.nickname != null && decision instanceof Granted granted) {
                names.put(line.nickname, granted.operation());
            }
            if (!line.verb.equals("check")) {
                agrees(decision);
            }
            return text(decision);
        } catch (QuotaException e) {
            return text(e);
        }
    }

    /** One line's first cell. */
    private final class Line {
        private String scope = World.TENANT;
        private final String verb;
        private final Map<String, Long> amounts = new TreeMap<>();
        private Duration ttl = Duration.ofMinutes(1);
        private @Nullable OperationId about;
        private @Nullable String key;
        private @Nullable String nickname;

        Line(Deque<String> words) {
            if (words.getFirst().startsWith(World.TENANT)) {
                scope = words.removeFirst();
            }
            verb = words.removeFirst();
            if (List.of("settle", "release", "extend", "refund").contains(verb)) {
                about = names.get(words.removeFirst());
            }
            while (!words.isEmpty()) {
                String word = words.removeFirst();
                String value = words.removeFirst();
                switch (word) {
                    case "ttl" -> ttl = Duration.parse(value);
                    case "key" -> key = value;
                    case "as" -> nickname = value;
                    default -> amounts.put(word, Long.parseLong(value.replace("_", "")));
                }
            }
        }

        Decision call() {
            Request request = new Request(Scope.of(scope), amounts, key);
            return switch (verb) {
                case "consume" -> quotas.consume(request);
                case "consumeUpTo" -> quotas.consumeUpTo(request);
                case "record" -> quotas.record(request);
                case "reserve" -> quotas.reserve(request, ttl);
                case "check" -> quotas.check(request);
                case "settle" -> quotas.settle(about, amounts);
                case "release" -> quotas.release(about);
                case "extend" -> quotas.extend(about, amounts, ttl, key);
                case "refund" -> quotas.refund(about, amounts, key);
                default -> throw new IllegalArgumentException("verb " + verb);
            };
        }
    }

    private static String text(Decision decision) {
        if (decision instanceof Denied denied) {
            String refusing = String.join(" ",
                    denied.refusing().stream().map(v -> v.balance().limit()).toList());
            return "denied " + refusing + denied.retryAfter()
                    .map(at -> " retry " + at).orElse(" retry never");
        }
        Granted granted = (Granted) decision;
        StringBuilder text = new StringBuilder("granted");
        if (granted.granted().size() == 1) {
            text.append(' ').append(granted.granted().values().iterator().next());
        } else {
            new TreeMap<>(granted.granted()).forEach(
                    (meter, n) -> text.append(' ').append(meter).append(' ').append(n));
        }
        if (granted.overage() > 0) {
            text.append(" over ").append(granted.overage());
        }
        List<Integer> crossed =
                granted.limits().stream().flatMap(v -> v.crossed().stream()).toList();
        if (!crossed.isEmpty()) {
            text.append(" crossed ").append(
                    String.join(",", crossed.stream().map(String::valueOf).toList()));
        }
        granted.hold().filter(h -> h.state() != Hold.State.OPEN)
                .ifPresent(h -> text.append(" hold ").append(h.state().name().toLowerCase()));
        return text + (granted.late() ? " late" : "") + (granted.replayed() ? " replayed" : "");
    }

    private static String text(QuotaException e) {
        String kind = e.getClass().getSimpleName();
        if (e instanceof QuotaException.Invalid invalid) {
            return kind + " " + invalid.field();
        } else if (e instanceof QuotaException.KeyConflict conflict) {
            return kind + " " + conflict.field();
        } else if (e instanceof QuotaException.NotFound missing) {
            return kind + " " + missing.what();
        } else if (e instanceof QuotaException.HoldEnded ended) {
            return kind + " " + ended.state().name().toLowerCase();
        } else if (e instanceof QuotaException.RefundTooLarge large) {
            return kind + " " + large.meter() + " " + large.asked() + " of " + large.refundable();
        } else if (e instanceof QuotaException.UnknownMeter unknown) {
            return kind + " " + unknown.meter();
        }
        return kind;
    }

    /** What a decision that is no replay says of its counters is what they hold. */
    private void agrees(Decision decision) {
        if (decision instanceof Granted granted && granted.replayed()) {
            return;
        }
        for (Verdict verdict : decision.limits()) {
            Balance b = verdict.balance();
            assertThat(world.rows("""
                    select coalesce(sum(c.used), 0),
                           coalesce(sum(c.held), 0) - coalesce(sum(
                               (select sum(i.amount) from pgquota.hold_item i
                                 where i.tenant = c.tenant and i.counter = c.id
                                   and i.expires_at <= pgquota.clock())), 0)
                      from pgquota.counter c
                     where c.scope = ? and c.meter = ?
                       and c.start_at = coalesce(?::timestamptz, '-infinity')
                       and c.end_at = coalesce(?::timestamptz, 'infinity')
                    """, b.scope().path(), b.meter(), time(b.startOrNull()), time(b.endOrNull())))
                    .as("counter of %s", b)
                    .containsExactly(b.used() + " " + b.held());
        }
    }

    private static @Nullable OffsetDateTime time(java.time.@Nullable Instant at) {
        return at == null ? null : at.atOffset(java.time.ZoneOffset.UTC);
    }

    private void counters(String name, Deque<String> words) {
        String scope = null;
        String meter = null;
        Integer window = null;
        while (!words.getFirst().equals("used")) {
            String word = words.removeFirst();
            if (word.startsWith(World.TENANT)) {
                scope = word;
            } else if (word.equals("window")) {
                window = Integer.valueOf(words.removeFirst());
            } else {
                meter = word;
            }
        }
        assertThat(world.rows("""
                select 'used ' || coalesce(sum(used), 0) || ' held ' || coalesce(sum(held), 0)
                  from (select *, rank() over (partition by tenant, scope, meter, per
                                               order by start_at) as n
                          from pgquota.counter where tenant = 'acme') c
                 where scope = coalesce(?::text, scope) and meter = coalesce(?::text, meter)
                   and n = coalesce(?::int, n)
                """, scope, meter, window)).as(name).containsExactly(String.join(" ", words));
    }
}
