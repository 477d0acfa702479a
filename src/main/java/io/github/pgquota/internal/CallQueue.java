package io.github.pgquota.internal;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * Calls that wait to be sent: in order of arrival for each tenant, in turns between tenants. Safe
 * for concurrent use; adding takes no lock while less than half of the places are taken.
 */
final class CallQueue {

    private final int places;
    private final AtomicInteger taken = new AtomicInteger();
    private final AtomicReference<@Nullable Call> newest = new AtomicReference<>();
    private final ReentrantLock lock = new ReentrantLock();

    // under the lock
    private final Map<String, Lane> lanes = new HashMap<>();
    private final ArrayDeque<Lane> turns = new ArrayDeque<>();
    private final Map<String, Integer> paused = new HashMap<>();
    private volatile boolean empty = true;

    CallQueue(int places) {
        this.places = places;
    }

    /** A tenant's calls. */
    private static final class Lane extends ArrayDeque<Call> {
        private static final long serialVersionUID = 1L;
        private final String tenant;

        Lane(String tenant) {
            this.tenant = tenant;
        }
    }

    /** Whether there was a place for it. */
    boolean add(Call call) {
        int now = taken.incrementAndGet();
        if (now > places || now > places / 2 && !mayHave(call.change.scope().tenant())) {
            taken.decrementAndGet();
            return false;
        }
        Call top;
        do {
            top = newest.get();
            call.before = top;
        } while (!newest.compareAndSet(top, call));
        return true;
    }

    /** A tenant may have as many places as are still free. */
    private boolean mayHave(String tenant) {
        lock.lock();
        try {
            sort();
            Lane lane = lanes.get(tenant);
            return lane == null || lane.size() <= places - taken.get();
        } finally {
            lock.unlock();
        }
    }

    /** Leaves a tenant's calls where they are until it is resumed as often as it was paused. */
    void pause(String tenant) {
        lock.lock();
        try {
            paused.merge(tenant, 1, Integer::sum);
        } finally {
            lock.unlock();
        }
    }

    void resume(String tenant) {
        lock.lock();
        try {
            Lane lane = lanes.get(tenant);
            if (paused.merge(tenant, -1, Integer::sum) == 0) {
                paused.remove(tenant);
                if (lane != null && !turns.contains(lane)) {
                    turns.add(lane);
                    empty = false;
                }
            }
        } finally {
            lock.unlock();
        }
    }

    /**
     * If so, every call that was added before this was asked has left, or its tenant is paused.
     */
    boolean isEmpty() {
        return newest.get() == null && empty; // this way round: calls go from there to here
    }

    /** Calls that have a place, withdrawn ones too. */
    int size() {
        return taken.get();
    }

    /** The next calls, marked as sent: so many runs at most. */
    List<Run> take(int most) {
        List<Run> runs = new ArrayList<>();
        Set<UUID> named = new HashSet<>();
        List<Lane> stopped = new ArrayList<>();
        lock.lock();
        try {
            sort();
            Lane lane;
            while (runs.size() < most && (lane = turns.poll()) != null) {
                if (paused.containsKey(lane.tenant)) {
                    continue; // until it is resumed
                }
                Run run = run(lane, named);
                if (run != null) {
                    runs.add(run);
                }
                if (lane.isEmpty()) {
                    lanes.remove(lane.tenant);
                } else {
                    (run == null ? stopped : turns).add(lane);
                }
            }
            turns.addAll(stopped);
            empty = turns.isEmpty();
            return runs;
        } finally {
            lock.unlock();
        }
    }

    /**
     * The next run of a lane; null if there is none, or it must wait because a call about the same
     * hold or operation is in this batch already.
     */
    private @Nullable Run run(Lane lane, Set<UUID> named) {
        Run run = null;
        Call call;
        while ((call = lane.peek()) != null) {
            if (run != null && !run.takes(call.change)
                    || run == null && call.change.ref() != null
                            && named.contains(call.change.ref())) {
                return run;
            }
            lane.poll();
            taken.decrementAndGet();
            if (!call.send()) {
                continue; // withdrawn
            }
            if (run == null) {
                run = new Run(call);
                if (call.change.ref() != null) {
                    named.add(call.change.ref());
                }
            } else {
                run.add(call);
            }
            if (!call.change.canRepeat()) {
                return run;
            }
        }
        return run;
    }

    /**
     * Takes out calls whose time is over, failed but not yet told, because callers may do anything
     * then and this holds a lock. Returns when the next one's is; null if none is left.
     */
    @Nullable Long expire(long now, Failure why, List<Call> late) {
        Long next = null;
        lock.lock();
        try {
            sort();
            for (Lane lane : List.copyOf(lanes.values())) {
                Call call;
                while ((call = lane.peek()) != null && call.deadline - now <= 0) {
                    lane.poll();
                    taken.decrementAndGet();
                    if (call.refuse(why)) {
                        late.add(call);
                    }
                }
                if (call == null) {
                    lanes.remove(lane.tenant);
                    turns.remove(lane);
                } else if (next == null || call.deadline - next < 0) {
                    next = call.deadline;
                }
            }
            empty = turns.isEmpty();
            return next;
        } finally {
            lock.unlock();
        }
    }

    /** Under the lock: brings what has arrived into its lanes. */
    private void sort() {
        Call call = newest.get();
        if (call == null) {
            return;
        }
        empty = false; // before they leave the stack: never is both empty while a call waits
        call = newest.getAndSet(null);
        Call oldest = null;
        while (call != null) {
            Call before = call.before;
            call.before = oldest;
            oldest = call;
            call = before;
        }
        while (oldest != null) {
            Call next = oldest.before;
            oldest.before = null;
            Lane lane = lanes.computeIfAbsent(oldest.change.scope().tenant(), Lane::new);
            if (lane.isEmpty()) {
                turns.add(lane);
            }
            lane.add(oldest);
            oldest = next;
        }
    }
}
