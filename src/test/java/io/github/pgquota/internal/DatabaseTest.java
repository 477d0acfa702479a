package io.github.pgquota.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.pgquota.QuotaException;
import io.github.pgquota.Timeouts;
import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayDeque;
import java.util.Collections;
import java.util.Deque;
import java.util.List;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** How often work is begun again, on connections that do nothing. */
class DatabaseTest {

    private final Deque<SQLException> failures = new ArrayDeque<>();
    private int connections;
    private int given;
    private int attempts;

    private final Database database = new Database(source(), Right.APP, Timeouts.standard());

    private DataSource source() {
        return (DataSource) Proxy.newProxyInstance(getClass().getClassLoader(),
                new Class<?>[] {DataSource.class}, (self, method, arguments) -> {
                    connections++;
                    return connection();
                });
    }

    private Connection connection() {
        return (Connection) Proxy.newProxyInstance(getClass().getClassLoader(),
                new Class<?>[] {Connection.class}, (self, method, arguments) -> {
                    if (method.getName().equals("close")) {
                        given++;
                    }
                    return switch (method.getName()) {
                        case "getAutoCommit", "isClosed" -> true;
                        case "getNetworkTimeout" -> 10_000;
                        default -> null;
                    };
                });
    }

    /** Fails with these states, one an attempt, before it succeeds. */
    private String work(List<String> states) {
        states.forEach(state -> failures.add(new SQLException("", state)));
        return database.single(connection -> {
            attempts++;
            if (!failures.isEmpty()) {
                throw failures.remove();
            }
            return "done";
        });
    }

    @ParameterizedTest
    @ValueSource(strings = {"40001", "40P01"})
    void whatLostAgainstAnotherTransactionIsBegunAgain(String state) {
        assertThat(work(Collections.nCopies(4, state))).isEqualTo("done");
        assertThat(attempts).isEqualTo(5);
        assertThat(connections).as("each given back").isEqualTo(5).isEqualTo(given);
    }

    /** The other one needs its time, too: 5, 10, 20 and 40 ms at least. */
    @Test
    void noSoonerThanTheOtherMayBeThrough() {
        long begin = System.nanoTime();
        work(Collections.nCopies(4, "40001"));
        assertThat(System.nanoTime() - begin).isGreaterThan(70_000_000);
    }

    @ParameterizedTest
    @ValueSource(strings = {"40001", "40P01"})
    void butNotForEver(String state) {
        assertThatThrownBy(() -> work(Collections.nCopies(9, state)))
                .isInstanceOfSatisfying(QuotaException.Unavailable.class,
                        e -> assertThat(e.sqlState()).isEqualTo(state));
        assertThat(attempts).isEqualTo(5);
        assertThat(given).isEqualTo(5);
    }

    @ParameterizedTest
    @ValueSource(strings = {"08006", "57P01", "57014", "55P03", "23505", "25006", "PQ001", "40003"})
    void nothingElseIs(String state) {
        assertThatThrownBy(() -> work(List.of(state))).isInstanceOf(QuotaException.class);
        assertThat(attempts).isEqualTo(1);
    }

    @Test
    void whatSucceedsIsDoneOnce() {
        assertThat(work(List.of())).isEqualTo("done");
        assertThat(attempts).isEqualTo(1);
        assertThat(given).isEqualTo(1);
    }
}
