package io.github.pgquota.tool.bench;

import io.github.pgquota.AsyncOperations;
import io.github.pgquota.Combining;
import io.github.pgquota.Decision;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Quotas;
import io.github.pgquota.Request;
import io.github.pgquota.tool.bench.Series.Spread;
import java.io.PrintWriter;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/**
 * A crowd at the door: how long a guest waits beside it who has a tenant of his own, and what those
 * are told for whom there is no place.
 */
final class Crowd {

    private static final int FLOOD = 10_000;
    private static final int GUESTS_SCOPE = 7;
    private static final int PLACES = 1_000;
    private static final int BURST = 20_000;

    private final Door door;
    private final PrintWriter log;
    private final List<Target> targets = new ArrayList<>();

    private Crowd(Door door, PrintWriter log) {
        this.door = door;
        this.log = log;
    }

    /** Both, in rounds. Returns what came of it. */
    static List<Target> run(Door door, int rounds, Duration length, PrintWriter log,
            List<Series> lines) throws Exception {
        Crowd crowd = new Crowd(door, log);
        crowd.fairness(rounds, length, lines);
        crowd.backPressure(rounds);
        return crowd.targets;
    }

    private void fairness(int rounds, Duration length, List<Series> lines) throws Exception {
        Contender.Local spread = door.contender(Line.of("spread", "combined", 1));
        Contender.Local guest = new Contender.Local(spread.line(), spread.workload(),
                spread.path(), () -> GUESTS_SCOPE, spread.most(), false);
        Contender.Local flood = door.contender(
                new Line("hot", "async", FLOOD, Line.ASYNC, 0));
        Series alone = new Series(new Line("guest", "combined", 1, Line.PLATFORM, 0));
        Series beside = new Series(new Line("guest-crowd", "combined", 1, Line.PLATFORM, 0));
        Series crowd = new Series(new Line("crowd", "async", FLOOD, Line.ASYNC, 0));
        flood.run(length); // warms up
        for (int i = 0; i < rounds; i++) {
            alone.rounds().add(counted(guest, length));
            List<Slice> both = together(guest, flood, length);
            beside.rounds().add(both.get(0).withoutClient()); // who spent what is not known
            crowd.rounds().add(both.get(1).withoutClient());
            say("round %d of %d   guest p99 %.1f ms alone, %.1f ms beside the crowd", i + 1,
                    rounds, alone.rounds().get(i).millis(99), beside.rounds().get(i).millis(99));
        }
        lines.addAll(List.of(alone, beside, crowd));
        targets.add(Target.none("p50 ms of a guest alone", alone.spread(Figure.P50)));
        targets.add(Target.none("p50 ms of a guest beside " + FLOOD + " others",
                beside.spread(Figure.P50)));
        targets.add(Target.none("p99 ms of a guest beside " + FLOOD + " others",
                beside.spread(Figure.P99)));
        targets.add(Target.none("p50 ms of the crowd", crowd.spread(Figure.P50)));
    }

    private static Slice counted(Contender.Local one, Duration length) throws Exception {
        long stored = one.stored();
        Slice slice = one.run(length);
        expect(one.line().toString(), slice.granted(), one.stored() - stored);
        return slice;
    }

    /** The slices of two who call at the same time. */
    private static List<Slice> together(
            Contender.Local one, Contender.Local other, Duration length) throws Exception {
        long stored = one.stored() + other.stored();
        CompletableFuture<Slice> second = CompletableFuture.supplyAsync(() -> {
            try {
                return other.run(length);
            } catch (Exception e) {
                throw new CompletionException(e);
            }
        });
        Slice first;
        try {
            first = one.run(length);
        } finally {
            second.handle((slice, e) -> slice).join(); // or it would go on beside the next row
        }
        expect("crowd", first.granted() + second.join().granted(),
                one.stored() + other.stored() - stored);
        return List.of(first, second.join());
    }

    private void backPressure(int rounds) throws Exception {
        Contender.Local hot = door.contender(Line.of("hot", "combined", 1));
        double[] refused = new double[rounds];
        double[] micros = new double[rounds];
        double[] millis = new double[rounds];
        try (Quotas quotas = Quotas.on(door.pool())
                .combining(Combining.standard().longestQueue(PLACES)).build()) {
            for (int i = 0; i < rounds; i++) {
                long stored = hot.stored();
                List<CompletableFuture<Decision>> calls = new ArrayList<>(BURST);
                long begin = System.nanoTime();
                burst(quotas.async(), calls);
                long offered = System.nanoTime();
                int granted = 0;
                for (CompletableFuture<Decision> call : calls) {
                    granted += isGranted(call) ? 1 : 0;
                }
                millis[i] = (System.nanoTime() - begin) / 1e6;
                micros[i] = (offered - begin) / 1e3 / BURST;
                refused[i] = 100.0 * (BURST - granted) / BURST;
                expect("burst", granted, hot.stored() - stored);
                say("round %d of %d   %.0f %% of %,d calls refused", i + 1, rounds, refused[i],
                        BURST);
            }
        }
        String who = String.format(Locale.ROOT, " of %,d calls at once, %,d places", BURST, PLACES);
        targets.add(Target.none("per cent refused" + who, Spread.of(refused)));
        targets.add(Target.none("µs to be queued or refused" + who, Spread.of(micros)));
        targets.add(Target.none("ms until all are answered" + who, Spread.of(millis)));
    }

    private static void burst(AsyncOperations async, List<CompletableFuture<Decision>> calls) {
        Request request = Request.of(Stage.name(Workload.HOT, Stage.ONE)).take("requests", 1);
        for (int i = 0; i < BURST; i++) {
            calls.add(async.consume(request));
        }
    }

    /** False if there was no place for it; anything else is an error. */
    private static boolean isGranted(CompletableFuture<Decision> call) {
        try {
            return call.join().isGranted();
        } catch (CompletionException e) {
            if (e.getCause() instanceof QuotaException.Overloaded) {
                return false;
            }
            throw e;
        }
    }

    private static void expect(String what, long granted, long stored) {
        if (granted != stored) {
            throw new VoidRoundException(what + ": callers were granted " + granted
                    + " units, the server stored " + stored);
        }
    }

    private void say(String format, Object... values) {
        log.printf(Locale.ROOT, format + "%n", values);
        log.flush();
    }
}
