package io.github.pgquota.tool.bench;

import java.util.concurrent.CompletionStage;

/** Somebody who keeps counts, in a form that can be called. Safe for concurrent use. */
interface CallPath extends AutoCloseable {

    /** One call. Returns the units that it was granted. */
    long call(Workload workload, int scope) throws Exception;

    /** One call without waiting, for those who can. */
    default CompletionStage<Long> start(Workload workload, int scope) {
        throw new UnsupportedOperationException();
    }

    /** Units that are stored, of all calls of the workload until now. Nobody calls meanwhile. */
    long stored(Workload workload) throws Exception;

    /** What its server has spent. */
    Gauge gauge();

    @Override
    default void close() {}
}
