package io.github.pgquota.tool.demo;

import io.github.pgquota.Limit;
import java.time.Duration;
import java.util.Map;
import java.util.function.ToLongFunction;
import org.jspecify.annotations.Nullable;

/**
 * All that a replay has found out: what is printed and what {@code --json} writes.
 *
 * @param duration of the replay through the library
 * @param statements that it took
 * @param naiveOverOrNull how far check-then-increment went over; null if it was not run
 * @param transactionOverOrNull the same for the transaction
 * @param holds in the database at the end, by state
 * @param heldLeft units that are held at the end
 */
record ReplayReport(
        Job job,
        Proof proof,
        Duration duration,
        long statements,
        @Nullable Long naiveOverOrNull,
        @Nullable Long transactionOverOrNull,
        Map<String, Long> holds,
        long heldLeft) {

    /** The sum over tenants. */
    long sum(ToLongFunction<Tally> figure) {
        return job.tenants().stream().mapToLong(t -> figure.applyAsLong(t.tally())).sum();
    }

    /** Units over a capacity that answers reported; limits in mode observe refuse nothing. */
    long overage() {
        return proof.limits().stream()
                .filter(o -> o.limit().mode() == Limit.Mode.ENFORCE)
                .mapToLong(o -> o.tenant().tally().overage(o.limit())).sum();
    }

    /** Seconds, to the millisecond. */
    double seconds() {
        return Math.round(duration.toNanos() / 1e6) / 1e3;
    }
}
