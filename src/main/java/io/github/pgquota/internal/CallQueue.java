package io.github.pgquota.internal;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
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
    private final int statements;
    private final AtomicInteger taken = new AtomicInteger();
    private final AtomicReference<@Nullable Call> newest = new AtomicReference<>();
    private final ReentrantLock lock = new ReentrantLock();

    // changed under the lock
    private final Map<String, Lane> lanes = new HashMap<>();
    private final ArrayDeque<Lane> turns = new ArrayDeque<>();
    private final Set<String> busy = ConcurrentHashMap.newKeySet();
    private volatile boolean empty = true;

    /**
     * @param places how many calls may wait
     * @param statements among how many statements those who wait are shared
     */
    CallQueue(int places, int statements) {
        this.places = places;
        this.statements = statements;
    }

    /** A tenant's calls. */
    private static final class Lane extends ArrayDeque<Call> {
        private static final long serialVersionUID = 1L;
        private final String tenant;
        private boolean inTurn;

        Lane(String tenant) {
            this.tenant = tenant;
        }
    }

    /** Whether there was a place for it. */
    boolean add(Call call) {
        int now = taken.incrementAndGet();
        if (now > places || now > places / 2 && !mayHave(call.tenant)) {
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

    /** Whether the tenant's calls wait for {@link #release}. */
    boolean isBusy(String tenant) {
        return busy.contains(tenant);
    }

    /**
     * Takes a tenant who has no call waiting, so that only the caller sends for it until it is
     * released; false if it is taken, or has.
     */
    boolean occupy(String tenant) {
        lock.lock();
        try {
            sort();
            return !lanes.containsKey(tenant) && busy.add(tenant);
        } finally {
            lock.unlock();
        }
    }

    /** Lets a tenant's calls be taken again. */
    void release(String tenant) {
        lock.lock();
        try {
            busy.remove(tenant);
            Lane lane = lanes.get(tenant);
            if (lane != null) {
                line(lane);
            }
        } finally {
            lock.unlock();
        }
    }

    /** Under the lock: gives a lane a turn, if its tenant is not busy. */
    private void line(Lane lane) {
        if (!lane.inTurn && !busy.contains(lane.tenant)) {
            lane.inTurn = true;
            turns.add(lane);
            empty = false;
        }
    }

    /**
     * If so, every call that was added before this was asked has left, or its tenant is busy.
     */
    boolean isEmpty() {
        return newest.get() == null && empty; // this way round: calls go from there to here
    }

    /** Calls that have a place, withdrawn ones too. */
    int size() {
        return taken.get();
    }

    /**
     * The next calls, marked as sent: so many runs at most, of a share of the tenants, who are busy
     * from now on until they are released. So a tenant's calls are in one statement at a time, in
     * order, and do not wait for each other's locks.
     */
    List<Run> take(int most) {
        List<Run> runs = new ArrayList<>();
        Set<UUID> named = new HashSet<>();
        ArrayDeque<Lane> mine = new ArrayDeque<>();
        lock.lock();
        try {
            sort();
            int share = (turns.size() + statements - 1) / statements;
            while (mine.size() < Math.min(share, most)) {
                mine.add(turns.remove());
            }
            List<Lane> all = List.copyOf(mine);
            Lane lane;
            while (runs.size() < most && (lane = mine.poll()) != null) {
                Run run = run(lane, named);
                if (run != null) {
                    runs.add(run);
                    busy.add(lane.tenant);
                    mine.add(lane);
                }
            }
            for (Lane each : all) {
                each.inTurn = false;
                if (each.isEmpty()) {
                    lanes.remove(each.tenant);
                } else {
                    line(each);
                }
            }
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
                } else if (next == null || call.deadline - next < 0) {
                    next = call.deadline;
                }
            }
            turns.removeIf(ArrayDeque::isEmpty);
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
            Lane lane = lanes.computeIfAbsent(oldest.tenant, Lane::new);
            lane.add(oldest);
            line(lane);
            oldest = next;
        }
        empty = turns.isEmpty();
    }
}
