package io.github.pgquota.tool.bench;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import javax.sql.DataSource;

/** The plainest thing that could do the job: one prepared UPDATE of one row. */
record BarePath(Stage stage, DataSource pool, Gauge gauge) implements CallPath {

    @Override
    public long call(Workload workload, int scope) throws SQLException {
        try (Connection connection = pool.getConnection();
                PreparedStatement update = connection.prepareStatement(
                        "update bare set used = used + 1 where id = ? and used + 1 <= capacity"
                                + " returning used")) {
            update.setLong(1, scope);
            try (ResultSet row = update.executeQuery()) {
                return row.next() ? 1 : 0;
            }
        }
    }

    @Override
    public long stored(Workload workload) throws SQLException {
        return stage.number("select sum(used) from bare where id "
                + (workload.isSpread() ? ">= 0" : "= " + workload.place()));
    }
}
