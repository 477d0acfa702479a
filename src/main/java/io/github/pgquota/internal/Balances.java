package io.github.pgquota.internal;

import io.github.pgquota.Balance;
import io.github.pgquota.Scope;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;

/** Reads how limits stand. */
final class Balances {

    static final String COLUMNS =
            "name, meter, scope, mode, capacity, used, held, start_at, end_at";

    private Balances() {}

    static List<Balance> read(Connection connection, Scope scope) throws SQLException {
        String sql = "select " + COLUMNS + " from pgquota.balances(?)";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setString(1, scope.path());
            return list(statement);
        }
    }

    /** The rows of a statement that selects {@link #COLUMNS}. */
    static List<Balance> list(PreparedStatement statement) throws SQLException {
        List<Balance> balances = new ArrayList<>();
        try (ResultSet r = statement.executeQuery()) {
            while (r.next()) {
                long capacity = r.getLong(5);
                Long capacityOrNull = r.wasNull() ? null : capacity;
                balances.add(new Balance(r.getString(1), r.getString(2), new Scope(r.getString(3)),
                        Answers.mode(r.getString(4)), capacityOrNull, r.getLong(6), r.getLong(7),
                        Row.instant(r, 8), Row.instant(r, 9)));
            }
        }
        return balances;
    }
}
