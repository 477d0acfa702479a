package io.github.pgquota.internal;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Map;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/**
 * A DataSource for a library that takes connections by itself and does not bound their waits: a
 * server that falls silent is noticed. Connections are given back with the network timeout that
 * they had, whatever was set meanwhile.
 */
final class Bounded {

    /** What is called in the place of a method. */
    @FunctionalInterface
    private interface Instead {
        @Nullable Object call() throws SQLException;
    }

    private Bounded() {}

    /** @param socket milliseconds, where the DataSource has set nothing itself */
    static DataSource over(DataSource source, int socket) {
        return with(DataSource.class, source, "getConnection", () -> connection(source, socket));
    }

    private static Connection connection(DataSource source, int socket) throws SQLException {
        Connection connection;
        try {
            connection = source.getConnection();
        } catch (SQLException e) {
            throw SqlStates.noConnection(e);
        }
        try {
            int before = connection.getNetworkTimeout();
            if (before == 0) {
                connection.setNetworkTimeout(Runnable::run, socket);
            }
            return with(Connection.class, connection, "close", () -> {
                giveBack(connection, before);
                return null;
            });
        } catch (SQLException e) {
            connection.close();
            throw e;
        }
    }

    private static void giveBack(Connection connection, int before) throws SQLException {
        try (connection) {
            if (!connection.isClosed()) {
                connection.setNetworkTimeout(Runnable::run, before);
            }
        }
    }

    private static <T> T with(Class<T> type, T target, String name, Instead instead) {
        return type.cast(Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type},
                (self, method, arguments) -> {
                    if (method.getName().equals(name)) {
                        return instead.call();
                    }
                    try {
                        return method.invoke(target, arguments);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                }));
    }
}
