package io.github.pgquota.tool.bench;

import java.io.PrintWriter;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Contenders side by side: in each round every one has a slice, in an order that changes. After
 * each slice the units granted must be the units stored.
 *
 * @param warmUps rounds that are not counted
 */
record Match(List<Contender> contenders, int warmUps, int rounds, Duration slice, PrintWriter log) {

    /** Runs it. Returns the rounds of each line. */
    Map<Line, Series> run() throws SQLException {
        Map<Line, Series> series = new LinkedHashMap<>();
        Map<Contender, Long> stored = new HashMap<>();
        for (Contender contender : contenders) {
            series.put(contender.line(), new Series(contender.line()));
            stored.put(contender, contender.stored());
        }
        int callers = contenders.stream().mapToInt(c -> c.line().callers()).max().orElse(1);
        ExecutorService threads = Executors.newFixedThreadPool(callers);
        try {
            for (int round = -warmUps; round < rounds; round++) {
                for (Contender contender : order(round + warmUps)) {
                    Slice part = Slice.run(contender, threads, slice);
                    long after = contender.stored();
                    verify(contender, part, after - stored.put(contender, after));
                    if (round >= 0) {
                        series.get(contender.line()).rounds().add(part);
                    }
                    tell(round, contender, part);
                }
            }
            return series;
        } finally {
            threads.shutdownNow();
        }
    }

    /** Everyone has every place in turn, and not always the same one before it. */
    private List<Contender> order(int round) {
        List<Contender> order = new ArrayList<>(contenders);
        Collections.rotate(order, round / 2);
        if (round % 2 == 1) {
            Collections.reverse(order);
        }
        return order;
    }

    private static void verify(Contender contender, Slice part, long stored) {
        if (part.granted() != stored) {
            throw new VoidRoundException(String.format(Locale.ROOT,
                    "%s: callers were granted %,d units, the database stored %,d",
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
        log.printf(Locale.ROOT, "%-14s %-40s %,10.0f/s%n",
                name, contender.line(), part.perSecond());
        log.flush();
    }
}
