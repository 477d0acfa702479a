package io.github.pgquota.internal;

import java.sql.SQLException;

/** Work on the database failed; what that means is worked out when it is told. */
final class Failed extends Exception implements Failure {

    private static final long serialVersionUID = 1L;

    private final SQLException reason;
    private final boolean connected;
    private final Right needs;

    /** @param connected whether a connection was had, so that something may have been sent */
    Failed(SQLException reason, boolean connected, Right needs) {
        super(null, reason, false, false);
        this.reason = reason;
        this.connected = connected;
        this.needs = needs;
    }

    /** Whether the database refused what it was given. */
    boolean isRefusal() {
        return connected && SqlStates.isRefusal(reason);
    }

    /** Whether a lock was not had in the time set for it. */
    boolean isLocked() {
        return connected && SqlStates.isLocked(reason);
    }

    @Override
    public RuntimeException told() {
        return connected ? SqlStates.alone(reason, needs) : SqlStates.noConnection(reason);
    }
}
