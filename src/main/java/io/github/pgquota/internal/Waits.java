package io.github.pgquota.internal;

import io.github.pgquota.Timeouts;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;

/**
 * How long the server waits for a lock, and works on a statement, in milliseconds.
 *
 * <p>A function cannot bound the statement that it is part of: the server looks at the bound when a
 * statement begins. So it is set by a statement before it, in the same message and transaction:
 * that is one round trip, and leaves nothing behind on a connection that a pooler shares.
 */
record Waits(int lock, int statement) {

    /** Its only parameter is {@link #statement}. What the session has, if it is less, stays. */
    static final String BOUND = "select set_config('statement_timeout', least(nullif("
            + "(extract(epoch from current_setting('statement_timeout')::interval) * 1000)::int, 0)"
            + ", ?)::text, true); ";

    /** How much sooner than the socket the server gives up a statement of a transaction. */
    private static final int MARGIN = 2_000;

    static Waits of(Timeouts timeouts) {
        return new Waits((int) timeouts.lock().toMillis(), (int) timeouts.statement().toMillis());
    }

    /** Of a transaction on a connection whose socket waits so many milliseconds, if it tells. */
    static Waits before(int socket, Timeouts timeouts) {
        int silence = socket > 0 ? socket : (int) timeouts.socket().toMillis();
        return new Waits((int) timeouts.lock().toMillis(),
                silence - Math.min(MARGIN, silence / 5));
    }

    /** Sets them for a transaction that has begun. */
    String local() {
        return "set local lock_timeout = " + lock + "; "
                + BOUND.replace("?", String.valueOf(statement));
    }

    /** The same with another time for locks. */
    Waits lock(int millis) {
        return new Waits(millis, statement);
    }

    /** The rows of a statement that begins with {@link #BOUND}. */
    static ResultSet rows(PreparedStatement bounded) throws SQLException {
        bounded.execute();
        bounded.getMoreResults();
        return bounded.getResultSet();
    }
}
