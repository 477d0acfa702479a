package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import org.junit.jupiter.api.Test;

/** Pools that are set as failovers and silent servers taught us. */
class PoolsTest {

    private static Pools.Pool pool(String url, int size) {
        return Pools.create(url, TestDatabase.server().user(), TestDatabase.server().password(),
                size);
    }

    private static String url(String url) throws SQLException {
        try (Pools.Pool pool = pool(url, 1)) {
            return pool.unwrap(HikariDataSource.class).getDataSourceProperties().getProperty("URL");
        }
    }

    @Test
    void aPoolServesQuotas() {
        try (World world = World.with(Limit.named("requests").capacity(1));
                Pools.Pool pool = pool(world.database().url(), 2);
                Quotas quotas = Quotas.on(pool).build()) {
            Request call = Request.of("acme").take("requests", 1);
            assertThat(quotas.consume(call).isGranted()).isTrue();
            assertThat(quotas.consume(call).isGranted()).isFalse();
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("1");
        }
    }

    @Test
    void theUrlWinsOverTheDefaults() throws SQLException {
        String all = "connectTimeout=2&loginTimeout=4&socketTimeout=10&tcpKeepAlive=true";
        assertThat(url("jdbc:postgresql://a/b")).isEqualTo("jdbc:postgresql://a/b?" + all);
        assertThat(url("jdbc:postgresql://a/b?ssl=true&socketTimeout=60")).isEqualTo(
                "jdbc:postgresql://a/b?ssl=true&socketTimeout=60"
                        + "&connectTimeout=2&loginTimeout=4&tcpKeepAlive=true");
        assertThat(url("jdbc:postgresql://a:1,b:2/c")).isEqualTo("jdbc:postgresql://a:1,b:2/c"
                + "?connectTimeout=2&hostRecheckSeconds=1&loginTimeout=6&socketTimeout=10"
                + "&targetServerType=primary&tcpKeepAlive=true");
        assertThat(url("jdbc:postgresql://a,b/c?targetServerType=any"))
                .contains("=any").doesNotContain("=primary");
    }

    @Test
    void aCallerWaitsSecondsNotHalfAMinute() throws SQLException {
        try (Pools.Pool pool = pool("jdbc:postgresql://127.0.0.1:1/none", 3)) {
            HikariDataSource hikari = pool.unwrap(HikariDataSource.class);
            assertThat(hikari.getConnectionTimeout()).isEqualTo(2_000);
            assertThat(hikari.getValidationTimeout()).isLessThan(hikari.getConnectionTimeout());
            assertThat(hikari.getMaxLifetime()).isEqualTo(600_000);
            assertThat(hikari.getMaximumPoolSize()).isEqualTo(3);
            assertThat(hikari.isAutoCommit()).isTrue();
            try (Quotas quotas = Quotas.on(pool).build()) {
                assertThatThrownBy(() -> quotas.consume(Request.of("acme").take("requests", 1)))
                        .isInstanceOf(QuotaException.Unavailable.class);
            }
        }
        assertThat(java.sql.DriverManager.getLoginTimeout()).as("of the whole JVM").isZero();
    }

    @Test
    void aConnectionToAServerThatBecameAStandbyIsThrownAway() throws SQLException {
        try (World world = World.with(Limit.named("requests").capacity(9));
                Pools.Pool pool = pool(world.database().url(), 1)) {
            Request call = Request.of("acme").take("requests", 1);
            try (Quotas quotas = Quotas.on(pool).build()) {
                // as if its server had become a standby: this session is read-only from now on
                try (Connection connection = pool.getConnection();
                        Statement sql = connection.createStatement()) {
                    sql.execute("set session characteristics as transaction read only");
                }
                assertThatThrownBy(() -> quotas.consume(call))
                        .isInstanceOfSatisfying(QuotaException.Unavailable.class,
                                e -> assertThat(e.sqlState()).isEqualTo("25006"));
                assertThat(quotas.consume(call).isGranted()).isTrue();
            }
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("1");
        }
    }

    @Test
    void badSettingsAreRefused() {
        assertThatThrownBy(() -> pool("jdbc:mysql://a/b", 1))
                .isInstanceOfSatisfying(QuotaException.Invalid.class,
                        e -> assertThat(e.field()).isEqualTo("url"));
        assertThatThrownBy(() -> pool("jdbc:postgresql://a/b", 0))
                .isInstanceOfSatisfying(QuotaException.Invalid.class,
                        e -> assertThat(e.field()).isEqualTo("size"));
    }
}
