package io.github.pgquota;

import java.time.Duration;
import java.util.Objects;
import java.util.function.Consumer;

/**
 * How often and how long verbs are tried again, see {@link Quotas#retrying}. The wait before the
 * second attempt is random, up to {@code firstWait}; before each further one up to twice as long,
 * and up to {@code longestWait} at most: so callers that failed together do not come back together.
 * Immutable.
 *
 * <pre>{@code
 * Operations retrying = quotas.retrying(Retry.standard().within(Duration.ofSeconds(30)));
 * }</pre>
 *
 * @param attempts how many in all, 1 to 1,000
 * @param within no attempt begins later than this after the first did; a millisecond to a day. An
 *     attempt that has begun takes as long as {@link Timeouts} allow
 * @param firstWait a millisecond to a day
 * @param longestWait not below {@code firstWait}, a day at most
 * @param listener is told of each failed attempt, on the caller's thread
 */
public record Retry(int attempts, Duration within, Duration firstWait, Duration longestWait,
        Consumer<Attempt> listener) {

    /**
     * An attempt that failed.
     *
     * @param verb which verb, such as {@code consume}
     * @param scope its scope; for a hold or an operation, the tenant
     * @param number which attempt it was, from 1
     * @param failure what came of it
     * @param nextIn how long it is until the next one; null if there is none, and the failure is
     *     what the caller is told
     */
    public record Attempt(String verb, Scope scope, int number, QuotaException failure,
            @org.jspecify.annotations.Nullable Duration nextIn) {}

    private static final Duration MOST = Duration.ofDays(1);
    private static final Retry STANDARD = new Retry(10, Duration.ofSeconds(20),
            Duration.ofMillis(50), Duration.ofSeconds(2), attempt -> { });

    /** @throws QuotaException.Invalid if a number or a time is out of its bounds */
    public Retry {
        if (attempts < 1 || attempts > 1_000) {
            throw new QuotaException.Invalid("attempts", attempts, "must be 1 to 1000");
        }
        bounds("within", within, Duration.ofMillis(1));
        bounds("firstWait", firstWait, Duration.ofMillis(1));
        bounds("longestWait", longestWait, firstWait);
        Objects.requireNonNull(listener, "listener");
    }

    private static void bounds(String field, Duration value, Duration least) {
        Objects.requireNonNull(value, field);
        if (value.compareTo(least) < 0 || value.compareTo(MOST) > 0) {
            throw new QuotaException.Invalid(field, value, "must be " + least + " to a day");
        }
    }

    /** 10 attempts within 20 seconds; waits of up to 50 milliseconds at first, 2 seconds later. */
    public static Retry standard() {
        return STANDARD;
    }

    /** The same with other {@link #attempts()}. */
    public Retry attempts(int number) {
        return new Retry(number, within, firstWait, longestWait, listener);
    }

    /** The same with another {@link #within()}. */
    public Retry within(Duration time) {
        return new Retry(attempts, time, firstWait, longestWait, listener);
    }

    /** The same with other waits. */
    public Retry waits(Duration first, Duration longest) {
        return new Retry(attempts, within, first, longest, listener);
    }

    /** The same with another {@link #listener()}. */
    public Retry listener(Consumer<Attempt> told) {
        return new Retry(attempts, within, firstWait, longestWait, told);
    }
}
