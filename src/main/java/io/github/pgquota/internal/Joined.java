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
        try {
            return reader.on(connection);
        } catch (SQLException e) {
            throw SqlStates.joined(e);
        }
    }
}
