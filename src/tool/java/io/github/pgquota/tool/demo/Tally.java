package io.github.pgquota.tool.demo;

import io.github.pgquota.Denied;
import io.github.pgquota.Granted;
import io.github.pgquota.Limit;
import io.github.pgquota.Verdict;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;

/**
 * What the callers of a tenant were told, kept in memory: one of the sources that the proof
 * compares. Safe for concurrent use.
 */
final class Tally {

    /** Calls that were let through. */
    final LongAdder granted = new LongAdder();
    /** Calls that were refused. */
    final LongAdder denied = new LongAdder();
    /** Holds that were settled. */
    final LongAdder settled = new LongAdder();
    /** Of these, the ones that had expired before. */
    final LongAdder late = new LongAdder();
    /** Holds whose caller died. */
    final LongAdder abandoned = new LongAdder();

    private final Map<String, LongAdder> units = new ConcurrentHashMap<>();
    private final Map<String, LongAdder> refused = new ConcurrentHashMap<>();
    private final Map<String, LongAdder> observed = new ConcurrentHashMap<>();
    private final Map<String, LongAdder> overage = new ConcurrentHashMap<>();
    private final Map<String, AtomicLong> worst = new ConcurrentHashMap<>();

    /** A call was let through, which no limit that denies may have had too little room for. */
    void permitted(Granted decision) {
        granted.increment();
        for (Verdict verdict : decision.limits()) {
            String limit = verdict.balance().limit();
            if (!verdict.fits() && verdict.balance().mode() == Limit.Mode.OBSERVE) {
                add(observed, limit, 1);
            }
            worst.computeIfAbsent(limit, l -> new AtomicLong()).accumulateAndGet(
                    verdict.balance().used() + verdict.balance().held(), Math::max);
        }
    }

    /** Units were charged. */
    void charged(Granted decision, Tenant tenant) {
        decision.granted().forEach((meter, amount) -> {
            if (tenant.counts(meter)) {
                add(units, meter, amount);
            }
        });
        for (Verdict verdict : decision.limits()) {
            if (verdict.overage() > 0) {
                add(overage, verdict.balance().limit(), verdict.overage());
            }
        }
    }

    /** A call was refused. */
    void refused(Denied decision) {
        denied.increment();
        decision.refusing().forEach(v -> add(refused, v.balance().limit(), 1));
    }

    /** Units of a meter that were charged. */
    long units(String meter) {
        return get(units, meter);
    }

    /** Calls that a limit refused. */
    long refusedBy(Limit limit) {
        return get(refused, limit.name());
    }

    /** Calls that a limit in mode observe would have refused. */
    long observedBy(Limit limit) {
        return get(observed, limit.name());
    }

    /** Units above the capacity that were reported. */
    long overage(Limit limit) {
        return get(overage, limit.name());
    }

    /** The most that a permission left used and held. */
    long worst(Limit limit) {
        AtomicLong most = worst.get(limit.name());
        return most == null ? 0 : most.get();
    }

    private static void add(Map<String, LongAdder> map, String name, long amount) {
        map.computeIfAbsent(name, n -> new LongAdder()).add(amount);
    }

    private static long get(Map<String, LongAdder> map, String name) {
        LongAdder adder = map.get(name);
        return adder == null ? 0 : adder.sum();
    }
}
