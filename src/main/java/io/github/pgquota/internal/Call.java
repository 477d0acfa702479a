package io.github.pgquota.internal;

import io.github.pgquota.Decision;
import java.util.List;
import java.util.concurrent.atomic.AtomicReferenceFieldUpdater;
import org.jspecify.annotations.Nullable;

/**
 * A call that waits: for its turn, then for its answer. It is withdrawn or sent, never both, so who
 * gives up waiting knows whether it may be charged.
 */
class Call {

    private static final AtomicReferenceFieldUpdater<Call, Object> STATE =
            AtomicReferenceFieldUpdater.newUpdater(Call.class, Object.class, "state");
    private static final Object WAITING = "waiting";
    private static final Object SENT = "sent";
    private static final Object WITHDRAWN = "withdrawn";

    final Change change;
    final String tenant;

    /** When it has waited too long to be sent, of {@link System#nanoTime}. */
    final long deadline;

    /** While both are on their way into the queue, the one that came before it. */
    @Nullable Call before;

    /** One of the above, then an {@link Answer} or a {@link Failure}. */
    private volatile Object state = WAITING;

    Call(Change change, long deadline) {
        this.change = change;
        this.tenant = change.scope().tenant();
        this.deadline = deadline;
    }

    private record Answer(List<Row> rows, int call) {}

    /** Whether it is on its way now; false if it was withdrawn. */
    final boolean send() {
        return STATE.compareAndSet(this, WAITING, SENT);
    }

    /** Whether it will never be sent; false if it has been. */
    final boolean withdraw() {
        return STATE.compareAndSet(this, WAITING, WITHDRAWN);
    }

    /** Whether it will never be sent for this reason; false if it has been, or was withdrawn. */
    final boolean refuse(Failure why) {
        return STATE.compareAndSet(this, WAITING, why);
    }

    final boolean isAnswered() {
        Object now = state;
        return now instanceof Answer || now instanceof Failure;
    }

    /** Takes the answer to so many equal calls, of which this is one. */
    final void answer(List<Row> rows, int call) {
        state = new Answer(rows, call);
    }

    final void fail(Failure failure) {
        state = failure;
    }

    /** What came of it, worked out by the thread that wants it. */
    final Decision decision() {
        if (state instanceof Answer answer) {
            return Answers.decision(change, answer.rows, answer.call);
        }
        throw ((Failure) state).told();
    }
}
