package io.github.pgquota.tool.bench;

import java.io.PrintWriter;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Contenders side by side: in each round every one has a slice, in an order that changes. After
 * each slice the units granted must be the units stored.
 *
 * @param series one a contender, to which the rounds are added
 * @param warmUps rounds that are not counted
 */
record Match(
        Map<Contender, Series> series, int warmUps, int rounds, Duration slice, PrintWriter log) {

    /** Runs it. Returns the rounds of each line. */
    static Map<Line, Series> run(
            List<? extends Contender> contenders, int warmUps, int rounds, Duration slice,
            PrintWriter log) throws Exception {
        Map<Contender, Series> series = new LinkedHashMap<>();
        Map<Line, Series> lines = new LinkedHashMap<>();
        for (Contender contender : contenders) {
            Series rows = new Series(contender.line());
            series.put(contender, rows);
            lines.put(contender.line(), rows);
        }
        new Match(series, warmUps, rounds, slice, log).run();
        return lines;
    }

    private void run() throws Exception {
        for (int round = -warmUps; round < rounds; round++) {
            for (Contender contender : order(round + warmUps)) {
                long stored = contender.stored();
                Cost spent = contender.spent();
                Slice part = contender.run(slice);
                part = part.and(contender.spent().minus(spent));
                verify(contender, part, contender.stored() - stored);
                if (round >= 0) {
                    series.get(contender).rounds().add(part);
                }
                tell(round, contender, part);
            }
        }
    }

    /** Everyone has every place in turn, and not always the same one before it. */
    private List<Contender> order(int round) {
        List<Contender> order = new ArrayList<>(series.keySet());
        Collections.rotate(order, round / 2);
        if (round % 2 == 1) {
            Collections.reverse(order);
        }
        return order;
    }

    private static void verify(Contender contender, Slice part, long stored) {
        if (part.granted() != stored) {
            throw new VoidRoundException(String.format(Locale.ROOT,
                    "%s: callers were granted %,d units, the server stored %,d",
                    contender.line(), part.granted(), stored));
        }
        if (part.granted() != part.calls() * contender.unitsPerCall()) {
            throw new VoidRoundException(String.format(Locale.ROOT,
                    "%s: %,d calls were granted %,d units, and should %,d each",
                    contender.line(), part.calls(), part.granted(), contender.unitsPerCall()));
        }
    }

    private void tell(int round, Contender contender, Slice part) {
        String name = round < 0 ? "warm-up" : "round " + (round + 1) + " of " + rounds;
        log.printf(Locale.ROOT, "%-14s %-44s %,11.0f/s%n",
                name, contender.line(), part.perSecond());
        log.flush();
    }
}
