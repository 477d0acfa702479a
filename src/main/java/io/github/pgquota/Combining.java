package io.github.pgquota;

import java.time.Duration;
import java.util.Objects;

/**
 * How calls are combined. While as many statements are under way as may be, or one of the same
 * tenant is, the calls that arrive wait for the next one, which decides them all, a tenant's in
 * their order; on an idle system none ever waits. Immutable.
 *
 * <pre>{@code
 * Quotas.on(dataSource).combining(Combining.standard().longestWait(Duration.ofSeconds(1)))
 * }</pre>
 *
 * @param statements how many statements may be under way at once, each on a connection of its own,
 *     1 to 64
 * @param largestBatch how many changes a statement decides, 1 to 10,000; equal calls that follow
 *     one another count as one
 * @param longestQueue how many calls may wait to be sent, 1 to 10,000,000. A tenant may have as
 *     many of these places as are still free, so one tenant alone half of them
 * @param longestWait how long a call may wait to be sent, a millisecond to a day
 */
public record Combining(
        int statements, int largestBatch, int longestQueue, Duration longestWait) {

    private static final Combining STANDARD =
            new Combining(2, 500, 65_536, Duration.ofSeconds(5));

    /** @throws QuotaException.Invalid if a number is out of its bounds */
    public Combining {
        bounds("statements", statements, 64);
        bounds("largestBatch", largestBatch, 10_000);
        bounds("longestQueue", longestQueue, 10_000_000);
        Objects.requireNonNull(longestWait, "longestWait");
        if (longestWait.compareTo(Duration.ofMillis(1)) < 0
                || longestWait.compareTo(Duration.ofDays(1)) > 0) {
            throw new QuotaException.Invalid("longestWait", longestWait,
                    "must be a millisecond to a day");
        }
    }

    private static void bounds(String field, int value, int most) {
        if (value < 1 || value > most) {
            throw new QuotaException.Invalid(field, value, "must be 1 to " + most);
        }
    }

    /** 2 statements of up to 500 changes; up to 65,536 calls wait, for 5 seconds at most. */
    public static Combining standard() {
        return STANDARD;
    }

    /** The same with other {@link #statements()}. */
    public Combining statements(int number) {
        return new Combining(number, largestBatch, longestQueue, longestWait);
    }

    /** The same with another {@link #largestBatch()}. */
    public Combining largestBatch(int changes) {
        return new Combining(statements, changes, longestQueue, longestWait);
    }

    /** The same with another {@link #longestQueue()}. */
    public Combining longestQueue(int calls) {
        return new Combining(statements, largestBatch, calls, longestWait);
    }

    /** The same with another {@link #longestWait()}. */
    public Combining longestWait(Duration time) {
        return new Combining(statements, largestBatch, longestQueue, time);
    }
}
