package io.github.pgquota.tool.bench;

import java.time.Duration;
import java.util.concurrent.CompletionStage;
import java.util.function.DoubleSupplier;
import java.util.function.IntSupplier;
import org.jspecify.annotations.Nullable;

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
        return new Local(line, workload, path, workload.scopes(scopes), null);
    }

    /**
     * Callers of this JVM.
     *
     * @param perSecond how often they call, if they do not wait for answers; or null
     */
    record Local(
            Line line, Workload workload, CallPath path, IntSupplier scopes,
            @Nullable DoubleSupplier perSecond)
            implements Contender, Callers.Job {

        /** The same under another name. */
        Local as(Line otherLine) {
            return new Local(otherLine, workload, path, scopes, perSecond);
        }

        /** The same, called so many times a second, whenever the answers come. */
        Local open(Line openLine, DoubleSupplier rate) {
            return new Local(openLine, workload, path, scopes, rate);
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
            Slice slice = perSecond == null
                    ? Callers.closed(this, line.callers(), line.kind(), length.toNanos())
                    : Callers.open(this, perSecond.getAsDouble(), length.toNanos());
            // the proxy runs in this JVM: what it spends is not the client's
            return line.rttMillis() == 0 ? slice : slice.withoutClient();
        }
    }
}
