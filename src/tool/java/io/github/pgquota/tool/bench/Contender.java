package io.github.pgquota.tool.bench;

import java.sql.SQLException;

/** One line of the table as something to call. Safe for concurrent use. */
interface Contender {

    /** What is measured. */
    Line line();

    /** One call. Returns the units that it was granted. */
    long call() throws SQLException;

    /** Units that every call must be granted: anything else is another workload. */
    default long unitsPerCall() {
        return 1;
    }

    /** Units that the database has stored, of all calls until now. Nobody is calling meanwhile. */
    long stored() throws SQLException;
}
