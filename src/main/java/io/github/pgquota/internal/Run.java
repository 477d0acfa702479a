package io.github.pgquota.internal;

import java.util.ArrayList;
import java.util.List;

/** Equal calls that follow one another: sent as one change, with their number. */
final class Run {

    /** More would make a statement of one tenant as long as a batch of many. */
    private static final long LONGEST = 10_000;

    /** What a change may add to a counter. */
    private static final long MOST_UNITS = 1L << 62;

    private final Change change;
    private final List<Call> calls;

    /** The most calls that it may have. */
    private final long most;

    Run(Call first) {
        this(first.change, new ArrayList<>(List.of(first)));
    }

    private Run(Change change, List<Call> calls) {
        this.change = change;
        this.calls = calls;
        this.most = change.canRepeat() ? Math.min(LONGEST, MOST_UNITS / change.largest()) : 1;
    }

    String tenant() {
        return calls.get(0).tenant;
    }

    Change change() {
        return change;
    }

    List<Call> calls() {
        return calls;
    }

    /** Whether another call may join: equal, and no more units than a counter can hold. */
    boolean takes(Change other) {
        return calls.size() < most && change.equals(other);
    }

    void add(Call call) {
        calls.add(call);
    }

    /** Part of it. */
    Run part(int from, int to) {
        return new Run(change, calls.subList(from, to));
    }
}
