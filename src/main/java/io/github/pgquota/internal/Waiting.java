package io.github.pgquota.internal;

import io.github.pgquota.Decision;
import io.github.pgquota.QuotaException;
import java.util.concurrent.locks.LockSupport;

/** A call whose caller's thread waits. */
final class Waiting extends Call {

    private final Thread caller = Thread.currentThread();

    Waiting(Change change, long deadline) {
        super(change, deadline);
    }

    /** Wakes the caller. */
    void wake() {
        LockSupport.unpark(caller);
    }

    /** By the caller: waits for the outcome. */
    Decision await() {
        while (!isAnswered()) {
            LockSupport.park(this);
            if (caller.isInterrupted()) {
                if (withdraw()) {
                    throw new QuotaException.Withdrawn();
                }
                if (!isAnswered()) {
                    throw new QuotaException.OutcomeUnknown(new InterruptedException());
                }
            }
        }
        return decision();
    }
}
