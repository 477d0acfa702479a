package io.github.pgquota;

import java.time.Instant;

/**
 * A hold as a decision left it.
 *
 * @param id what {@code settle}, {@code release} and {@code extend} take, in any process
 * @param state open, or how it ended
 * @param expiresAt when it stops counting unless it is settled, by the database's clock
 */
public record Hold(OperationId id, State state, Instant expiresAt) {

    /** Open, or how it ended. */
    public enum State {
        /** It counts against its limits until it is ended or expires. */
        OPEN,
        /** Its use was charged. */
        SETTLED,
        /** Nothing was charged. */
        RELEASED,
        /** It ran out; a late settlement still charges. */
        EXPIRED
    }
}
