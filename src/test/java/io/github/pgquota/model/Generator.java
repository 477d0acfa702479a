package io.github.pgquota.model;

import io.github.pgquota.Limit;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import io.github.pgquota.Window;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;

/** Makes random programs. Few names and small numbers, so that steps meet each other. */
final class Generator {

    private static final List<Window> WINDOWS = List.of(Window.lifetime(),
            Window.fixed(Duration.ofMinutes(1)),
            Window.fixed(Duration.ofDays(1)), Window.aligned(Duration.ofMinutes(5)), Window.hour(),
            Window.day(),
            Window.day(), Window.week(), Window.month(), Window.month(), Window.quarter(),
            Window.year());
    private static final List<String> SCOPES =
            List.of("A", "A/x", "A/x", "A/x/u", "A/x/u", "A/x/v", "A/y/u", "B/x", "B/x/u",
                    "C", "C/x/u");
    private static final List<String> FEW_SCOPES = List.of("A/x/u", "A/x");
    private static final List<ZoneId> ZONES = new ArrayList<>(Arrays.asList(null,
            ZoneId.of("Europe/Berlin"),
            ZoneId.of("America/New_York"), ZoneId.of("Asia/Kolkata"),
            ZoneId.of("Australia/Lord_Howe")));
    private static final List<Duration> TIMES = List.of(Duration.ofSeconds(1),
            Duration.ofSeconds(20),
            Duration.ofMinutes(2), Duration.ofMinutes(30), Duration.ofHours(5),
            Duration.ofHours(26),
            Duration.ofDays(9), Duration.ofDays(40));
    private static final List<String> METERS = List.of("m", "n");
    private static final long HUGE = 1L << 62;

    private final Random random;
    private boolean narrow;
    private int keys;

    Generator(long seed) {
        random = new Random(seed);
    }

    Instant start() {
        return Instant.ofEpochSecond(1_600_000_000L + random.nextInt(300_000_000),
                random.nextInt(1000) * 1000);
    }

    List<Step> program() {
        List<Step> steps = new ArrayList<>();
        steps.add(publish("P"));
        steps.add(publish("Q"));
        steps.add(settings("A"));
        steps.add(settings("B"));
        int length = 20 + random.nextInt(20);
        while (steps.size() < length) {
            steps.add(step());
        }
        return steps;
    }

    /** Programs of lists. */
    List<Step> lists() {
        List<Step> steps = new ArrayList<>();
        steps.add(publish("P"));
        steps.add(publish("Q"));
        steps.add(settings("A"));
        steps.add(settings("B"));
        int length = 14 + random.nextInt(10);
        while (steps.size() < length) {
            keys = steps.size(); // those before are answered
            steps.add(chance(2) ? mixed() : chance(2) ? race() : step());
        }
        return steps;
    }

    /** Half of them are about few counters, and the two lists have calls in common. */
    private Step.Race race() {
        narrow = chance(2);
        Step.Mixed first = mixed();
        Step.Mixed second = chance(3) ? single(first) : mixed();
        narrow = false;
        List<Step.Repeated> calls = new ArrayList<>(second.calls());
        while (calls.size() > 1 && chance(2)) {
            calls.add(random.nextInt(calls.size() + 1), of(first.calls()));
        }
        return new Step.Race(first, new Step.Mixed(calls, second.way()));
    }

    private Step.Mixed single(Step.Mixed beside) {
        Step.Call call = chance(2) ? of(beside.calls()).call() : call();
        return new Step.Mixed(List.of(new Step.Repeated(call, 1)), way());
    }

    private Step.Way way() {
        return chance(2) ? Step.Way.ALONE : of(List.of(Step.Way.values()));
    }

    private Step.Mixed mixed() {
        List<Step.Repeated> calls = new ArrayList<>();
        for (int i = 1 + random.nextInt(chance(10) ? 30 : 6); i > 0; i--) {
            Step.Call call = !calls.isEmpty() && chance(5) ? of(calls).call() : call();
            calls.add(new Step.Repeated(call, chance(4) ? 2 + random.nextInt(chance(3) ? 20 : 4)
                    : 1));
        }
        return new Step.Mixed(calls, way());
    }

    private Step.Call call() {
        int n = random.nextInt(100);
        return n < 35 ? take("consume")
                : n < 44 ? take("consumeUpTo")
                : n < 53 ? take("record")
                : n < 68 ? take("reserve")
                : n < 73 ? take("check")
                : n < 83 ? new Step.Settle(number(), amounts(0))
                : n < 88 ? new Step.Release(number())
                : n < 93 ? new Step.Extend(number(), amounts(0), ttl(), key("x"))
                : new Step.Refund(number(), amounts(0), key("r"));
    }

    private Step step() {
        int n = random.nextInt(100);
        return n < 25 ? take("consume")
                : n < 31 ? take("consumeUpTo")
                : n < 36 ? take("record")
                : n < 48 ? take("reserve")
                : n < 52 ? take("check")
                : n < 58 ? new Step.Batch(requests())
                : n < 67 ? new Step.Settle(number(), amounts(0))
                : n < 70 ? new Step.Release(number())
                : n < 74 ? new Step.Extend(number(), amounts(0), ttl(), key("x"))
                : n < 80 ? new Step.Refund(number(), amounts(0), key("r"))
                : n < 83 ? new Step.Look(of(SCOPES))
                : n < 92 ? clock()
                : n < 94 ? publish(chance(2) ? "P" : "Q")
                : n < 96 ? settings(chance(3) ? "B" : "A")
                : n < 98 ? adjust()
                : n < 99 ? new Step.Withdraw(random.nextInt(10))
                : new Step.Reset(of(SCOPES), chance(3));
    }

    private Step.Call take(String verb) {
        return new Step.Take(verb, request(), verb.equals("reserve") ? ttl() : null);
    }

    private List<Request> requests() {
        List<Request> requests = new ArrayList<>();
        for (int i = 2 + random.nextInt(4); i > 0; i--) {
            requests.add(!requests.isEmpty() && chance(4) ? of(requests) : request());
        }
        return requests;
    }

    private Request request() {
        return new Request(new Scope(of(narrow ? FEW_SCOPES : SCOPES)), amounts(1), key("k"));
    }

    private Map<String, Long> amounts(int least) {
        Map<String, Long> amounts = new TreeMap<>();
        for (int i = least == 0 && chance(2) ? 0 : chance(3) ? 2 : 1; i > 0; i--) {
            amounts.put(chance(60) ? "unknown" : narrow ? "m" : of(METERS),
                    chance(80) ? HUGE - random.nextInt(2) : random.nextInt(7));
        }
        return amounts;
    }

    private String key(String kind) {
        return chance(4) ? kind + (keys + random.nextInt(2)) : null;
    }

    private Duration ttl() {
        return of(TIMES).plusMillis(random.nextInt(2));
    }

    private int number() {
        return random.nextInt(30) - 1;
    }

    private Step clock() {
        Duration by = of(TIMES).plusNanos(random.nextInt(1000) * 1000L);
        return new Step.Clock(chance(8) ? by.negated() : by, chance(2) ? random.nextInt(50) : -1,
                chance(2));
    }

    private Step publish(String plan) {
        List<Limit> limits = new ArrayList<>();
        for (int i = 1 + random.nextInt(5); i > 0; i--) {
            Limit limit = limit("limit" + limits.size());
            limits.add(limits.isEmpty() || !chance(5) ? limit : beside(limit, of(limits)));
        }
        return new Step.Publish(plan, limits);
    }

    private Limit limit(String name) {
        Long capacity = chance(8) ? null : chance(10) ? (Long) 0L : chance(20) ? (Long) HUGE
                : (Long) (long) (1 + random.nextInt(chance(3) ? 60 : 12));
        Long overage = chance(6) ? null : chance(5) ? (Long) (1L + random.nextInt(4)) : (Long) 0L;
        Limit.Mode mode = chance(8) ? Limit.Mode.OBSERVE : chance(12) ? Limit.Mode.OFF
                : Limit.Mode.ENFORCE;
        List<Integer> thresholds = chance(3) ? List.of(50, 80, 100, 150) : List.of();
        String message = chance(6)
                ? "{limit} {meter} {scope} {capacity} {used} {held} {remaining} {asked} {resets_at}"
                : null;
        return new Limit(name, of(METERS), random.nextInt(3), of(WINDOWS), capacity, overage, mode,
                thresholds,
                message, !chance(4));
    }

    /** Two limits on one counter. */
    private static Limit beside(Limit limit, Limit other) {
        return new Limit(limit.name(), other.meter(), other.level(), other.window(),
                limit.capacityOrNull(), limit.overageOrNull(), limit.mode(), limit.thresholds(),
                limit.messageOrNull(), limit.billed());
    }

    private Step settings(String tenant) {
        LocalDateTime anchor = chance(2) ? null : chance(3) ? LocalDateTime.of(2020, 1, 31, 2, 30)
                : LocalDateTime.of(2015 + random.nextInt(15), 1 + random.nextInt(12),
                        1 + random.nextInt(28),
                        random.nextInt(24), random.nextInt(60), random.nextInt(2));
        return new Step.Settings(tenant, chance(40) ? null : chance(4) ? "Q" : "P", of(ZONES),
                anchor);
    }

    private Step adjust() {
        Long capacity = (long) random.nextInt(12);
        boolean boost = chance(2);
        return new Step.Adjust(of(List.of("A", "A/x", "A/x/u")), "limit" + random.nextInt(4), boost,
                chance(10) && !boost ? null : chance(12) ? (Long) HUGE : capacity,
                chance(2) ? Duration.ZERO : of(TIMES), of(TIMES));
    }

    private boolean chance(int oneIn) {
        return random.nextInt(oneIn) == 0;
    }

    private <T> T of(List<T> list) {
        return list.get(random.nextInt(list.size()));
    }
}
