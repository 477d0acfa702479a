package io.github.pgquota.internal;

import io.github.pgquota.Operations;
import java.sql.Connection;
import java.sql.SQLException;

/** The verbs inside the caller's transaction: uses that connection, never commits or rolls back. */
final class Joined extends Verbs implements Operations {

    private final Connection connection;

    Joined(Connection connection) {
        this.connection = connection;
    }

    @Override
    <T> T read(Sql<T> reader) {
        boolean alone = true;
        try {
            alone = connection.getAutoCommit(); // then the call is a transaction of its own
            return reader.on(connection);
        } catch (SQLException e) {
            throw alone ? SqlStates.alone(e, Right.APP) : SqlStates.joined(e);
        }
    }
}
