package io.github.pgquota.tool.bench;

import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.IntSupplier;

/** What is called: how many units of what, and on which scope. */
enum Workload {
    /** One unit on one scope: one limit, no key, not billed. */
    HOT("hot", Stage.ONE, 1),
    /** The same on one scope of many, each as likely. */
    SPREAD("spread", Stage.ANY, 1),
    /** The same, and the n-th scope is called 1/n times as often as the first. */
    ZIPF("zipf", Stage.ANY, 1),
    /** Two meters, each limited for tenant, team and user: six counters a call. */
    HIERARCHY("hierarchy", Stage.ANY, 1 + Workload.TOKENS),
    /** With a key of its own, billed, a month's window, on one scope of many. */
    KEYED("keyed", Stage.ANY, 1),
    /** The same on one scope. */
    KEYED_HOT("keyed-hot", Stage.ONE, 1),
    /** Reserve and settle: a pair is one call. */
    RESERVE("reserve", Stage.ANY, 1),
    /** One scope that is full. */
    DENIED("denied", Stage.FULL, 0);

    /** Units of the second meter that a call of the hierarchy takes. */
    static final int TOKENS = 100;

    private final String label;
    private final int place;
    private final long unitsPerCall;

    Workload(String label, int place, long unitsPerCall) {
        this.label = label;
        this.place = place;
        this.unitsPerCall = unitsPerCall;
    }

    static Workload of(String label) {
        return Arrays.stream(values()).filter(w -> w.label.equals(label)).findFirst()
                .orElseThrow(() -> new IllegalArgumentException("no workload " + label));
    }

    /** Units that every call must be granted: anything else is another workload. */
    long unitsPerCall() {
        return unitsPerCall;
    }

    /** Whether it is on one scope of many. */
    boolean isSpread() {
        return place == Stage.ANY;
    }

    /** The one scope that is called, if it is one. */
    int place() {
        return place;
    }

    /** Whether a plain counter for each scope can do it too. */
    boolean isPlain() {
        return this == HOT || this == SPREAD || this == ZIPF || this == DENIED;
    }

    /** Which scope is called next, of so many. Safe for concurrent use. */
    IntSupplier scopes(int n) {
        if (!isSpread()) {
            return () -> place;
        }
        return this == ZIPF ? zipf(n) : () -> ThreadLocalRandom.current().nextInt(n);
    }

    private static IntSupplier zipf(int n) {
        double[] upTo = new double[n];
        double sum = 0;
        for (int i = 0; i < n; i++) {
            sum += 1.0 / (i + 1);
            upTo[i] = sum;
        }
        // so that the most wanted ones are not neighbours in a table
        int[] shuffled = new Random(n).ints(0, n).distinct().limit(n).toArray();
        double all = sum;
        return () -> {
            int found = Arrays.binarySearch(upTo, ThreadLocalRandom.current().nextDouble() * all);
            return shuffled[found < 0 ? -found - 1 : found];
        };
    }

    @Override
    public String toString() {
        return label;
    }
}
