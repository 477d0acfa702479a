package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.tool.PostgresServer;
import io.github.pgquota.tool.PostgresServer.Durability;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.TimeZone;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;

/** The servers and databases that every other test stands on. */
class PostgresServerTest {

    @Test
    void anEmbeddedServerIsDurableUnlessAskedOtherwise() throws SQLException {
        try (PostgresServer server = PostgresServer.start("embedded")) {
            DataSource database = server.dataSource("postgres");
            assertThat(settings(database)).containsExactly("on", "on", "on", "300", "127.0.0.1");
            assertThat(ask(database, "show server_version")).startsWith(server.major() + ".");
        }
        try (PostgresServer server = PostgresServer.start("embedded", Durability.FAST)) {
            assertThat(settings(server.dataSource("postgres")))
                    .containsExactly("off", "off", "off", "300", "127.0.0.1");
        }
    }

    @Test
    void aMissingMajorSaysWhatToPassToMaven() {
        int major = TestDatabase.server().major();
        int other = major == 15 ? 16 : 15;
        assertThatThrownBy(() -> PostgresServer.start("embedded:" + other, Durability.FAST))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageEndingWith("-Dpgquota.test.postgres=embedded:" + other);
    }

    @Test
    void unknownServersAreRefused() {
        for (String spec : List.of("", "embeded", "embedded:", "embedded:14", "docker:postgres")) {
            assertThatThrownBy(() -> PostgresServer.start(spec))
                    .as(spec)
                    .isInstanceOf(IllegalArgumentException.class);
        }
    }

    @Test
    void aBorrowedServerKeepsRunningAndLosesOnlyWhatWasCreated() throws SQLException {
        PostgresServer owner = TestDatabase.server();
        String url = owner.loginUrl("postgres");
        String named = "select count(*) from pg_database where datname = 'pgquota_borrowed'";
        try (PostgresServer server = PostgresServer.start(url)) {
            server.createDatabase("pgquota_borrowed", null);
            assertThat(ask(server.dataSource("pgquota_borrowed"), "select current_database()"))
                    .isEqualTo("pgquota_borrowed");
        }
        assertThat(ask(owner.dataSource("postgres"), named)).isEqualTo("0");
    }

    @Test
    void sessionsOfATestDatabaseAreHostile() throws SQLException {
        try (TestDatabase database = TestDatabase.create();
                HikariDataSource pool = database.pool(2)) {
            for (DataSource source : List.of(database.dataSource(), pool)) {
                assertThat(ask(source, "show timezone")).isEqualTo(TestDatabase.ZONE);
                assertThat(ask(source, "show search_path")).isEqualTo("\"\"");
            }
        }
        assertThat(TimeZone.getDefault().getID()).isNotIn(TestDatabase.ZONE, "UTC");
    }

    @Test
    void everyTestDatabaseIsItsOwnAndGoneAfterwards() throws SQLException {
        DataSource maintenance = TestDatabase.server().dataSource("postgres");
        String left;
        try (TestDatabase one = TestDatabase.create();
                TestDatabase two = TestDatabase.empty()) {
            left = ask(one.dataSource(), "select current_database()");
            assertThat(ask(two.dataSource(), "select current_database()")).isNotEqualTo(left);
        }
        assertThat(ask(maintenance,
                "select count(*) from pg_database where datname = '" + left + "'"))
                .isEqualTo("0");
    }

    @Test
    void aTestDatabaseTakes150Connections() throws SQLException {
        List<Connection> open = new ArrayList<>();
        try (TestDatabase database = TestDatabase.create()) {
            for (int i = 0; i < 150; i++) {
                open.add(database.connection());
            }
            assertThat(ask(database.dataSource(),
                    "select count(*) from pg_stat_activity where datname = current_database()"))
                    .isEqualTo("151");
        } finally {
            for (Connection connection : open) {
                connection.close();
            }
        }
    }

    private static List<String> settings(DataSource source) throws SQLException {
        List<String> values = new ArrayList<>();
        for (String name : List.of("fsync", "synchronous_commit", "full_page_writes",
                "max_connections", "listen_addresses")) {
            values.add(ask(source, "show " + name));
        }
        return values;
    }

    private static String ask(DataSource source, String sql) throws SQLException {
        try (Connection connection = source.getConnection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(sql)) {
            row.next();
            return row.getString(1);
        }
    }
}
