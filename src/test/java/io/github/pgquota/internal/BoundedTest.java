package io.github.pgquota.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.pgquota.QuotaException;
import io.github.pgquota.TestDatabase;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;
import org.postgresql.ds.PGSimpleDataSource;

/** Connections that are lent with a bound, and given back as they were. */
class BoundedTest {

    /** Which connection of the driver's it is, and the time it has for an answer. */
    private static int timeout(DataSource pool, List<Connection> seen) throws SQLException {
        try (Connection connection = pool.getConnection()) {
            seen.add(connection.unwrap(org.postgresql.jdbc.PgConnection.class));
            return connection.getNetworkTimeout();
        }
    }

    @Test
    void aConnectionIsBoundedWhileItIsLent() throws SQLException {
        List<Connection> seen = new ArrayList<>();
        try (TestDatabase database = TestDatabase.empty();
                Connection one = database.connection()) {
            // a pool of one that sets nothing back
            DataSource pool = (DataSource) java.lang.reflect.Proxy.newProxyInstance(
                    getClass().getClassLoader(), new Class<?>[] {DataSource.class},
                    (self, method, arguments) -> kept(one));
            assertThat(timeout(pool, seen)).isZero();
            DataSource bounded = Bounded.over(pool, 1_234);
            assertThat(timeout(bounded, seen)).isEqualTo(1_234);
            assertThat(timeout(pool, seen)).isZero();
            try (Connection connection = bounded.getConnection()) {
                connection.setNetworkTimeout(Runnable::run, 9_999);
            }
            assertThat(timeout(pool, seen)).isZero();
            one.setNetworkTimeout(Runnable::run, 50);
            assertThat(timeout(bounded, seen)).isEqualTo(50);
            assertThat(seen).containsOnly(one.unwrap(org.postgresql.jdbc.PgConnection.class));
        }
    }

    private static Connection kept(Connection one) {
        return (Connection) java.lang.reflect.Proxy.newProxyInstance(
                BoundedTest.class.getClassLoader(), new Class<?>[] {Connection.class},
                (self, method, arguments) ->
                        method.getName().equals("close") ? null : method.invoke(one, arguments));
    }

    @Test
    void whyNoConnectionCouldBeHadIsTold() {
        PGSimpleDataSource nowhere = new PGSimpleDataSource();
        nowhere.setURL("jdbc:postgresql://127.0.0.1:1/none?user=nobody");
        assertThat(assertThrows(QuotaException.Unavailable.class,
                () -> Bounded.over(nowhere, 1).getConnection()).sqlState()).startsWith("08");
    }
}
