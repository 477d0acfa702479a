package io.github.pgquota;

import java.time.Duration;

/**
 * Housekeeping: ends expired holds, drops what is older than the retention settings, makes
 * partitions of the ledger ahead. Correctness never waits for it. Safe for concurrent use, beside
 * callers and in several processes at once; call it every minute or so. The database role {@code
 * pgquota_app} is enough.
 *
 * <pre>{@code
 * timer.scheduleWithFixedDelay(() -> {
 *     try {
 *         quotas.upkeep().runOnce(Duration.ofSeconds(5));
 *     } catch (QuotaException e) { // or the timer would never run it again
 *         log.warn("next time", e);
 *     }
 * }, 1, 1, TimeUnit.MINUTES);
 * }</pre>
 */
public interface Upkeep {

    /**
     * Does a bounded piece of work, in short transactions of its own. Doing it again finds less to
     * do, in the end nothing. If it fails, what it has done so far stays done.
     *
     * @param budget stops after about this long
     */
    Report runOnce(Duration budget);

    /**
     * What was done.
     *
     * @param holdsExpired holds that were ended
     * @param keysDropped keys whose answers are not kept any longer
     * @param windowsDropped closed windows of limits that are not billed
     * @param holdsDropped ended holds
     * @param partitionsMade of the ledger
     * @param partitionsDropped of the ledger
     * @param finished false if the budget was used up before the work
     */
    record Report(
            long holdsExpired,
            long keysDropped,
            long windowsDropped,
            long holdsDropped,
            int partitionsMade,
            int partitionsDropped,
            boolean finished) {}
}
