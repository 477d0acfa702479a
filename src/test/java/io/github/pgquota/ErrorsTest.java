package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.RefusalContract.Bad;
import io.github.pgquota.tool.Proxy;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import javax.sql.DataSource;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.postgresql.ds.PGSimpleDataSource;

/** What goes wrong is told with a type and fields, and leaves nothing behind. */
class ErrorsTest {

    private static final Limit MESSAGES =
            Limit.named("messages").on("requests").capacity(100).per(Window.month());
    private static final Request CALL = Request.of("acme/a").take("requests", 10);

    @Test
    void aLimitOrPlanThatCannotBeIsRefusedWithFieldAndValue() {
        List.of(
                new Bad("limit", "", () -> Limit.named("")),
                new Bad("level", "9", () -> MESSAGES.level(9)),
                new Bad("level", "-1", () -> MESSAGES.level(-1)),
                new Bad("capacity", "-1", () -> MESSAGES.capacity(-1)),
                new Bad("overage", "-1", () -> MESSAGES.allowOverage(-1)),
                new Bad("thresholds", "[0]", () -> MESSAGES.alertAt(0)),
                new Bad("thresholds", "[1001]", () -> MESSAGES.alertAt(1001)),
                new Bad("message", "{who}", () -> MESSAGES.message("{who}")),
                new Bad("window", "PT0S", () -> Window.fixed(Duration.ZERO)),
                new Bad("window", "PT0.5S", () -> Window.aligned(Duration.ofMillis(500))),
                new Bad("window", "PT8808H", () -> Window.fixed(Duration.ofDays(367))),
                new Bad("window", "fortnight", () -> Window.parse("fortnight")),
                new Bad("window", "fixed:x", () -> Window.parse("fixed:x")),
                new Bad("window", "fixed:9999999999999999999",
                        () -> Window.parse("fixed:9999999999999999999")),
                new Bad("plan", "", () -> Plan.named("")),
                new Bad("limit", "messages",
                        () -> Plan.named("P").limit(MESSAGES).limit(MESSAGES)))
                .forEach(Bad::isTold);
    }

    @Test
    void aBadSegmentOfAScopeIsToldByItsNumber() {
        assertThat(assertThrows(QuotaException.Invalid.class, () -> Scope.of("a//b")))
                .hasMessage("scope \"a//b\" has a bad segment, number 2: "
                        + "it is empty; give it 1 to 128 characters");
    }

    @Test
    void whatMustNotBeNullIsNamed() {
        try (World world = World.with(MESSAGES)) {
            assertThat(assertThrows(NullPointerException.class, () -> world.quotas().plans()
                    .boost(Scope.of("acme"), "messages", 1, null, null, "why")))
                    .hasMessage("from");
        }
    }

    @Test
    void aSchemaThatIsMissingTooOldOrTooNewIsToldByVersion() {
        try (TestDatabase empty = TestDatabase.empty();
                Quotas quotas = Quotas.on(empty.dataSource()).build()) {
            assertMismatch(0, () -> Schema.of(empty.dataSource()).verify());
            assertMismatch(0, () -> quotas.consume(CALL));
            assertMismatch(0, () -> quotas.balances(Scope.of("acme")));
        }
        try (World world = World.with(MESSAGES)) {
            DataSource source = world.database().dataSource();
            Schema.of(source).verify();
            version(world, 1);
            assertMismatch(1, () -> Schema.of(source).verify());
            version(world, 9999);
            assertMismatch(9999, () -> Schema.of(source).verify());
            assertMismatch(9999, () -> Schema.of(source).migrate());
        }
    }

    private static void version(World world, int version) {
        world.execute("create or replace function pgquota.schema_version() returns int "
                + "language sql immutable return " + version);
    }

    private static void assertMismatch(int found, Runnable call) {
        QuotaException.SchemaMismatch e =
                assertThrows(QuotaException.SchemaMismatch.class, call::run);
        assertThat(e.found()).isEqualTo(found);
        assertThat(e.needed()).isPositive();
        assertThat(e.getMessage()).contains(found > e.needed() ? "update" : "migrate()");
    }

    /** The library with nothing of a group of jars around it. */
    private static Class<?> without(String jars, String name) throws Exception {
        List<URL> urls = new ArrayList<>();
        for (String path
                : System.getProperty("java.class.path").split(java.io.File.pathSeparator)) {
            if (!path.matches(jars)) {
                urls.add(Path.of(path).toUri().toURL());
            }
        }
        return new URLClassLoader(urls.toArray(URL[]::new), ClassLoader.getPlatformClassLoader())
                .loadClass(name);
    }

    @Test
    void aMissingLibraryIsNamed() throws Exception {
        try (TestDatabase database = TestDatabase.empty()) {
            Class<?> schema = without(".*flyway.*", Schema.class.getName());
            Object of = schema.getMethod("of", DataSource.class)
                    .invoke(null, database.dataSource());
            assertMissing("org.flywaydb:flyway-database-postgresql",
                    () -> schema.getMethod("migrate").invoke(of));
            assertThat(schema.getMethod("print").invoke(null)).asString().contains("create schema");
            // flyway-core alone does not know PostgreSQL
            Class<?> half = without(".*flyway-database-postgresql.*", Schema.class.getName());
            Object ofHalf = half.getMethod("of", DataSource.class)
                    .invoke(null, database.dataSource());
            assertMissing("org.flywaydb:flyway-database-postgresql",
                    () -> half.getMethod("migrate").invoke(ofHalf));
        }
        for (var missing : Map.of(".*HikariCP.*", "com.zaxxer:HikariCP",
                ".*[/\\\\]postgresql-[^/\\\\]*", "org.postgresql:postgresql").entrySet()) {
            Class<?> pools = without(missing.getKey(), Pools.class.getName());
            assertMissing(missing.getValue(), () -> pools
                    .getMethod("create", String.class, String.class, String.class, int.class)
                    .invoke(null, "jdbc:postgresql://localhost/none", "u", "p", 1));
        }
    }

    private static void assertMissing(String artifact,
            org.junit.jupiter.api.function.Executable call)
            throws Exception {
        Throwable e =
                assertThrows(java.lang.reflect.InvocationTargetException.class, call).getCause();
        assertThat(e.getClass().getName()).endsWith("$MissingLibrary");
        assertThat(e.getClass().getMethod("artifact").invoke(e)).isEqualTo(artifact);
    }

    @Test
    void anExhaustedPoolIsUnavailableAndSoonSo() throws Exception {
        try (World world = World.with(MESSAGES)) {
            HikariConfig config = new HikariConfig();
            config.setDataSource(world.database().dataSource());
            config.setMaximumPoolSize(1);
            config.setConnectionTimeout(250);
            try (HikariDataSource pool = new HikariDataSource(config);
                    Quotas quotas = Quotas.on(pool).build();
                    Connection taken = pool.getConnection()) {
                assertThat(taken.isClosed()).isFalse();
                QuotaException.Unavailable e = assertThrows(
                        QuotaException.Unavailable.class, () -> quotas.consume(CALL));
                assertThat(e).hasMessageContaining("pool").hasMessageContaining("timed out");
                assertThat(e.getCause())
                        .isInstanceOf(java.sql.SQLTransientConnectionException.class);
            }
            assertThat(world.rows("select * from pgquota.counter")).isEmpty();
        }
    }

    @Test
    void aDatabaseThatIsNotThereOrDoesNotAnswerIsUnavailable() throws Exception {
        List<Socket> accepted = Collections.synchronizedList(new ArrayList<>());
        try (ServerSocket silent = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
            Thread thread = new Thread(() -> {
                try {
                    while (true) {
                        accepted.add(silent.accept());
                    }
                } catch (java.io.IOException e) {
                    return; // the test is over
                }
            });
            thread.setDaemon(true);
            thread.start();
            String url = "jdbc:postgresql://127.0.0.1:" + silent.getLocalPort()
                    + "/none?user=nobody&connectTimeout=1&socketTimeout=1&loginTimeout=2";
            assertUnavailable(url, "08");
        }
        assertThat(accepted).isNotEmpty();
        assertUnavailable("jdbc:postgresql://127.0.0.1:1/none?user=nobody", "08");
        for (Socket socket : accepted) {
            socket.close();
        }
    }

    /** The pool's exception says that it timed out, and only its causes why. */
    @Test
    void whyNoConnectionCouldBeHadIsTold() {
        try (World world = World.with(MESSAGES);
                Pools.Pool pool = Pools.create(world.database().url().replaceFirst(
                        "/pgquota_[^?]*", "/nosuch"), TestDatabase.server().user(),
                        TestDatabase.server().password(), 1);
                Quotas quotas = Quotas.on(pool).build()) {
            assertThat(assertThrows(QuotaException.Unavailable.class, () -> quotas.consume(CALL)))
                    .hasMessageContaining("database \"nosuch\" does not exist");
        }
    }

    private static void assertUnavailable(String url, String state) {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(url);
        try (Quotas quotas = Quotas.on(source).build()) {
            QuotaException.Unavailable e =
                    assertThrows(QuotaException.Unavailable.class, () -> quotas.consume(CALL));
            assertThat(e.sqlState()).startsWith(state);
        }
    }

    private static PGSimpleDataSource through(Proxy proxy, World world) {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(proxy.url(world.database().url()));
        source.setUser(TestDatabase.server().user());
        source.setPassword(TestDatabase.server().password());
        return source;
    }

    @Test
    void anAnswerThatIsLostMakesTheOutcomeUnknownAndAKeyTellsIt() throws Exception {
        try (World world = World.with(MESSAGES);
                Proxy proxy = Proxy.to(world.database().url());
                HikariDataSource pool = io.github.pgquota.tool.PostgresServer.pool(
                        through(proxy, world), 2);
                Quotas quotas = Quotas.on(pool).build()) {
            Request keyed = CALL.key("k");
            quotas.check(CALL); // logs in
            proxy.loseReplies(1);
            QuotaException.OutcomeUnknown e =
                    assertThrows(QuotaException.OutcomeUnknown.class, () -> quotas.consume(keyed));
            assertThat(e.sqlState()).startsWith("08");
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("10");
            Granted answer = quotas.consume(keyed).orThrow();
            assertThat(answer.replayed()).isTrue();
            assertThat(world.rows("select operation from pgquota.ledger"))
                    .containsExactly(answer.operation().uuid().toString());

            proxy.loseReplies(1);
            assertThrows(QuotaException.OutcomeUnknown.class, () -> quotas.consume(CALL));
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("20");
            world.proof();
        }
    }

    @Test
    void aRequestThatIsLostMakesTheOutcomeUnknownToo() throws Exception {
        try (World world = World.with(MESSAGES);
                Proxy proxy = Proxy.to(world.database().url());
                HikariDataSource pool = io.github.pgquota.tool.PostgresServer.pool(
                        through(proxy, world), 2);
                Quotas quotas = Quotas.on(pool).build()) {
            Request keyed = CALL.key("k");
            quotas.check(CALL); // logs in
            proxy.loseRequests(1);
            assertThrows(QuotaException.OutcomeUnknown.class, () -> quotas.consume(keyed));
            assertThat(world.rows("select used from pgquota.counter")).isEmpty();
            assertThat(quotas.consume(keyed).orThrow().replayed()).isFalse();
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("10");
            world.proof();
        }
    }

    /** A connection that is lost before it is used never carried the request. */
    @Test
    void aConnectionLostInTheCallersTransactionTookTheTransactionWithIt() throws Exception {
        try (World world = World.with(MESSAGES);
                Proxy proxy = Proxy.to(world.database().url());
                Connection connection = through(proxy, world).getConnection()) {
            connection.setAutoCommit(false);
            Operations quotas = world.quotas().within(connection);
            quotas.consume(CALL).orThrow();
            proxy.loseReplies(1);
            assertThrows(QuotaException.Unavailable.class, () -> quotas.consume(CALL));
        }
    }

    @Test
    void aBackendThatIsTerminatedWhileItWorksMakesTheOutcomeUnknown() throws Exception {
        try (World world = World.with(MESSAGES);
                Connection blocker = world.database().connection();
                Statement sql = blocker.createStatement()) {
            world.quotas().consume(CALL).orThrow();
            blocker.setAutoCommit(false);
            sql.execute("select 1 from pgquota.counter for update");
            Thread killer = new Thread(() -> Awaitility.await().until(() -> world.count("""
                    select count(pg_terminate_backend(pid)) from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock'
                    """) > 0));
            killer.start();
            QuotaException.OutcomeUnknown e = assertThrows(
                    QuotaException.OutcomeUnknown.class, () -> world.quotas().consume(CALL));
            assertThat(e.sqlState()).isEqualTo("57P01");
            killer.join();
            blocker.rollback();
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("10");
        }
    }

    @Test
    void aLockThatTakesTooLongOrACancelIsCertainlyNotApplied() throws Exception {
        try (World world = World.with(MESSAGES);
                Connection blocker = world.database().connection();
                Statement sql = blocker.createStatement()) {
            world.quotas().consume(CALL).orThrow();
            blocker.setAutoCommit(false);
            sql.execute("select 1 from pgquota.counter for update");
            for (String setting : List.of("lock_timeout", "statement_timeout")) {
                PGSimpleDataSource hasty = new PGSimpleDataSource();
                hasty.setURL(world.database().url());
                hasty.setUser(TestDatabase.server().user());
                hasty.setPassword(TestDatabase.server().password());
                hasty.setOptions("-c " + setting + "=100");
                try (Quotas quotas = Quotas.on(hasty).build()) {
                    QuotaException.Unavailable e = assertThrows(
                            QuotaException.Unavailable.class, () -> quotas.consume(CALL));
                    assertThat(e.sqlState())
                            .isEqualTo(setting.equals("lock_timeout") ? "55P03" : "57014");
                    assertThat(e).hasMessageContaining("due to " + setting.replace('_', ' '));
                }
            }
            blocker.rollback();
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("10");
        }
    }

    @Test
    void aRefusedLogInOrAMissingRightIsForbidden() throws Exception {
        try (World world = World.with(MESSAGES)) {
            String role = "pgquota_nobody_" + ProcessHandle.current().pid();
            world.execute("create role " + role + " login password 'x'");
            try {
                PGSimpleDataSource stranger = new PGSimpleDataSource();
                stranger.setURL(world.database().url());
                stranger.setUser(role);
                stranger.setPassword("x");
                try (Quotas quotas = Quotas.on(stranger).build()) {
                    assertThrows(QuotaException.Forbidden.class, () -> quotas.consume(CALL));
                    assertThrows(QuotaException.Forbidden.class,
                            () -> quotas.balances(Scope.of("acme")));
                }
                world.execute("grant pgquota_app to " + role);
                try (Quotas quotas = Quotas.on(stranger).build()) {
                    assertThat(quotas.consume(CALL).isGranted()).isTrue();
                }
                world.execute("alter role " + role + " nologin");
                try (Quotas quotas = Quotas.on(stranger).build()) {
                    assertThat(assertThrows(
                            QuotaException.Forbidden.class, () -> quotas.consume(CALL)))
                            .hasMessageContaining("is not permitted to log in");
                }
            } finally {
                world.execute("drop role " + role);
            }
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("10");
        }
    }

    @Test
    void everyExceptionOfTheLibraryIsOneKind() {
        Set<Class<?>> kinds = Set.of(QuotaException.class.getPermittedSubclasses());
        assertThat(Stream.of(QuotaException.class.getDeclaredClasses())).containsAll(
                List.copyOf(kinds));
        assertThat(kinds).allMatch(k -> java.lang.reflect.Modifier.isFinal(k.getModifiers()));
    }
}
