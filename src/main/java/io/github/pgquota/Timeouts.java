package io.github.pgquota;

import java.time.Duration;
import java.util.Objects;

/**
 * How long the verbs wait for the database, at most. The server keeps the first two, so nothing is
 * ever cancelled from here, and a pooler between changes nothing; the last is for a server that has
 * fallen silent. How long they wait for a connection is up to the DataSource, see {@link Pools}.
 * Plans and reports wait as long for a lock, but their statements may take longer: nearly as long
 * as the connection's socketTimeout, or, if it has none, a minute, and reports half an hour.
 * Immutable. They are in order: make the later ones longer first, or give all three at once.
 *
 * <pre>{@code
 * Quotas.on(dataSource).timeouts(Timeouts.standard().lock(Duration.ofSeconds(1)))
 * }</pre>
 *
 * @param lock for a counter that another transaction has locked; then {@link
 *     QuotaException.Unavailable}
 * @param statement for a statement as a whole; then {@link QuotaException.Unavailable}. One that
 *     the session has of its own, if it is shorter, holds instead
 * @param socket for a word from the server; then {@link QuotaException.OutcomeUnknown}. A
 *     connection that has a socketTimeout of its own keeps it. Longer than {@code statement}, or
 *     what the server gives up would be unknown; and longer than a commit may take
 */
public record Timeouts(Duration lock, Duration statement, Duration socket) {

    private static final Timeouts STANDARD = new Timeouts(
            Duration.ofSeconds(5), Duration.ofSeconds(8), Duration.ofSeconds(10));

    /** @throws QuotaException.Invalid if one is out of range, or they are not in this order */
    public Timeouts {
        bounds("lock", lock, Duration.ofMillis(1));
        bounds("statement", statement, lock);
        bounds("socket", socket, statement.plusMillis(1));
    }

    private static void bounds(String field, Duration value, Duration least) {
        Objects.requireNonNull(value, field);
        if (value.compareTo(least) < 0 || value.compareTo(Duration.ofDays(1)) > 0) {
            throw new QuotaException.Invalid(field, value, "must be " + least
                    + " to a day: a lock is given up before its statement is, and that before the "
                    + "socket");
        }
    }

    /** 5 seconds for a lock, 8 for a statement, 10 for a word from the server. */
    public static Timeouts standard() {
        return STANDARD;
    }

    /** The same with another {@link #lock()}. */
    public Timeouts lock(Duration time) {
        return new Timeouts(time, statement, socket);
    }

    /** The same with another {@link #statement()}. */
    public Timeouts statement(Duration time) {
        return new Timeouts(lock, time, socket);
    }

    /** The same with another {@link #socket()}. */
    public Timeouts socket(Duration time) {
        return new Timeouts(lock, statement, time);
    }
}
