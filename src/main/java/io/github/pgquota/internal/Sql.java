package io.github.pgquota.internal;

import java.sql.Connection;
import java.sql.SQLException;

/** Work on a connection. */
@FunctionalInterface
interface Sql<T> {
    T on(Connection connection) throws SQLException;
}
