package io.github.pgquota;

import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * A hold, in the hands of the process that took it. Closing it releases what was never settled, so
 * it fits a try block; another process may settle it by its id instead. Safe for concurrent use.
 *
 * <pre>{@code
 * try (Reservation hold = quotas.hold(call, Duration.ofMinutes(2))) {
 *     Answer answer = model.ask(question);
 *     hold.settle(Map.of("tokens", answer.tokens()));
 * }
 * }</pre>
 */
public final class Reservation implements AutoCloseable {

    private final Operations operations;
    private final Granted granted;
    private final OperationId id;
    private final AtomicBoolean ended = new AtomicBoolean();

    Reservation(Operations operations, Granted granted) {
        this.operations = Objects.requireNonNull(operations);
        this.granted = granted;
        this.id = granted.hold().orElseThrow().id();
    }

    /** What any process may settle, release or extend it by. */
    public OperationId id() {
        return id;
    }

    /** When it stops counting, by the database's clock, unless it was extended since. */
    public Instant expiresAt() {
        return granted.hold().orElseThrow().expiresAt();
    }

    /** The decision that opened it. */
    public Granted granted() {
        return granted;
    }

    /** Charges what was held. See {@link Operations#settle}. */
    public Granted settle() {
        return settle(Map.of());
    }

    /**
     * Charges what was really used. See {@link Operations#settle}. If it fails, {@link #close}
     * releases nothing: settle again by {@link #id}, or the hold expires.
     */
    public Granted settle(Map<String, Long> amounts) {
        ended.set(true); // also if this fails: the work is done, and must not be given away
        return operations.settle(id, amounts);
    }

    /** Charges nothing. See {@link Operations#release}. */
    public Granted release() {
        Granted released = operations.release(id);
        ended.set(true);
        return released;
    }

    /** More time. See {@link Operations#extend}. */
    public Decision extend(Duration timeToLive) {
        return operations.extend(id, Map.of(), timeToLive, null);
    }

    /** Releases the hold, if nobody has tried to settle or release it through this object. */
    @Override
    public void close() {
        if (ended.compareAndSet(false, true)) {
            operations.release(id);
        }
    }

    @Override
    public String toString() {
        return "Reservation[" + id + "]";
    }
}
