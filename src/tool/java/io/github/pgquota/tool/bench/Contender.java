package io.github.pgquota.tool.bench;

import java.time.Duration;
import java.util.concurrent.CompletionStage;
import java.util.function.IntSupplier;

/** One line of the table as something to run. */
interface Contender {

    /** What is measured. */
    Line line();

    /** Units that every call must be granted: anything else is another workload. */
    long unitsPerCall();

    /** Units that are stored, of all calls until now. Nobody is calling meanwhile. */
    long stored() throws Exception;

    /** What its server has spent until now. */
    Cost spent();

    /** Runs it for that long. */
    Slice run(Duration length) throws Exception;

    /** Ends what was started for it. */
    default void close() {}

    /** Callers of this JVM. */
    static Local local(Line line, Workload workload, CallPath path, int scopes) {
        return new Local(line, workload, path, workload.scopes(scopes), new Load(), false);
    }

    /** The most that was done, in the newest slice of a closed loop. */
    final class Load {
        private volatile double perSecond = Double.NaN;
    }

    /**
     * Callers of this JVM.
     *
     * @param most of the closed loop; an open one is half of that
     */
    record Local(
            Line line, Workload workload, CallPath path, IntSupplier scopes, Load most,
            boolean open)
            implements Contender, Callers.Job {

        /** The same under another name. */
        Local as(Line otherLine) {
            return new Local(otherLine, workload, path, scopes, most, open);
        }

        /** The same at half of its load, in an open loop; this one must have run before. */
        Local half(Line otherLine) {
            return new Local(otherLine, workload, path, scopes, most, true);
        }

        @Override
        public long call() throws Exception {
            return path.call(workload, scopes.getAsInt());
        }

        @Override
        public CompletionStage<Long> start() {
            return path.start(workload, scopes.getAsInt());
        }

        @Override
        public long unitsPerCall() {
            return workload.unitsPerCall();
        }

        @Override
        public long stored() throws Exception {
            return path.stored(workload);
        }

        @Override
        public Cost spent() {
            return path.gauge().read();
        }

        @Override
        public Slice run(Duration length) throws Exception {
            Slice slice = open
                    ? Callers.open(this, most.perSecond / 2, length.toNanos())
                    : Callers.closed(this, line.callers(), line.kind(), length.toNanos());
            most.perSecond = open ? most.perSecond : slice.perSecond();
            // the proxy runs in this JVM: what it spends is not the client's
            return line.rttMillis() == 0 ? slice : slice.withoutClient();
        }
    }
}
