package io.github.pgquota.internal;

import io.github.pgquota.Balance;
import io.github.pgquota.Scope;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Reads how limits stand. */
final class Balances {

    static final String COLUMNS =
            "name, meter, scope, mode, capacity, used, held, start_at, end_at";

    private Balances() {}

    /** @param waits null in the caller's transaction: as that has them */
    static List<Balance> read(Connection connection, Scope scope, @Nullable Waits waits)
            throws SQLException {
        String sql = "select " + COLUMNS + " from pgquota.balances(?)";
        try (PreparedStatement statement =
                connection.prepareStatement(waits == null ? sql : Waits.BOUND + sql)) {
            if (waits == null) {
                statement.setString(1, scope.path());
                return list(statement.executeQuery());
            }
            statement.setInt(1, waits.statement());
            statement.setString(2, scope.path());
            return list(Waits.rows(statement));
        }
    }

    /** Rows of {@link #COLUMNS}, which are closed with their statement. */
    static List<Balance> list(ResultSet r) throws SQLException {
        List<Balance> balances = new ArrayList<>();
        while (r.next()) {
            long capacity = r.getLong(5);
            Long capacityOrNull = r.wasNull() ? null : capacity;
            balances.add(new Balance(r.getString(1), r.getString(2), new Scope(r.getString(3)),
                    Answers.mode(r.getString(4)), capacityOrNull, r.getLong(6), r.getLong(7),
                    Row.instant(r, 8), Row.instant(r, 9)));
        }
        return balances;
    }
}
