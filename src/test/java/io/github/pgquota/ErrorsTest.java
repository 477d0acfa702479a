package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
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
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.function.Function;
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

    /** A call with bad input, and the field and value that it must be told of. */
    private record Bad(String field, String value, Consumer<Quotas> call) {}

    private static Consumer<Quotas> scope(String path) {
        return q -> q.consume(Request.of(path).take("requests", 1));
    }

    private static Consumer<Quotas> meter(String meter) {
        return q -> q.consume(Request.of("acme").take(meter, 1));
    }

    private static Consumer<Quotas> amount(long amount) {
        return q -> q.consume(Request.of("acme").take("requests", amount));
    }

    private static Map<String, Long> meters(int n) {
        Map<String, Long> meters = new TreeMap<>();
        for (int i = 0; i < n; i++) {
            meters.put("m" + i, 1L);
        }
        return meters;
    }

    private static List<Bad> badInput(OperationId hold, OperationId operation) {
        String long129 = "x".repeat(129);
        Duration none = Duration.ZERO;
        return List.of(
                new Bad("scope", "", scope("")),
                new Bad("scope", "null", q -> q.consume(Request.of((String) null))),
                new Bad("scope", "acme//a", scope("acme//a")),
                new Bad("scope", "/acme", scope("/acme")),
                new Bad("scope", "acme/", scope("acme/")),
                new Bad("scope", "acme/ a", scope("acme/ a")),
                new Bad("scope", "acme/a\u00a0\u2003", scope("acme/a\u00a0\u2003")),
                new Bad("scope", "acme/a\tb", scope("acme/a\tb")),
                new Bad("scope", "acme/a\0b", scope("acme/a\0b")),
                new Bad("scope", "acme/a\ud800b", scope("acme/a\ud800b")),
                new Bad("scope", "acme/" + long129, scope("acme/" + long129)),
                new Bad("scope", "0/1/2/3/4/5/6/7/8/9", scope("0/1/2/3/4/5/6/7/8/9")),
                new Bad("meter", "", meter("")),
                new Bad("meter", "null", meter(null)),
                new Bad("meter", "null", q -> CALL.take(null, 1)),
                new Bad("meter", " x", meter(" x")),
                new Bad("meter", "a\nb", meter("a\nb")),
                new Bad("meter", long129, meter(long129)),
                new Bad("meter", "requests", q -> q.consume(CALL.take("requests", 1))),
                new Bad("amount of requests", "-1", amount(-1)),
                new Bad("amount of requests", "-9223372036854775808", amount(Long.MIN_VALUE)),
                new Bad("amount of requests", "4611686018427387905", amount((1L << 62) + 1)),
                new Bad("amounts", "17", q -> q.consume(
                        new Request(Scope.of("acme"), meters(17), null))),
                new Bad("amounts", Request.of("acme").toString(),
                        q -> q.consume(Request.of("acme"))),
                new Bad("key", "", q -> q.consume(CALL.key(""))),
                new Bad("key", "k".repeat(201), q -> q.consume(CALL.key("k".repeat(201)))),
                new Bad("key", "k\0", q -> q.consume(CALL.key("k\0"))),
                new Bad("key", "k\ud800", q -> q.consume(CALL.key("k\ud800"))),
                new Bad("timeToLive", "PT0S", q -> q.reserve(CALL, none)),
                new Bad("timeToLive", "PT-1S", q -> q.reserve(CALL, Duration.ofSeconds(-1))),
                new Bad("timeToLive", "PT0S", q -> q.extend(hold, Map.of(), none, null)),
                new Bad("amount of requests", "-1",
                        q -> q.settle(hold, Map.of("requests", -1L))),
                new Bad("meter", "bytes", q -> q.settle(hold, Map.of("bytes", 1L))),
                new Bad("amount of requests", "-1",
                        q -> q.refund(operation, Map.of("requests", -1L), null)),
                new Bad("key", "", q -> q.refund(operation, Map.of(), "")),
                new Bad("operation", "acme", q -> q.release(OperationId.parse("acme"))),
                new Bad("tenant", "a/b", q -> q.release(new OperationId("a/b", hold.uuid()))),
                new Bad("limit", "", q -> Limit.named("")),
                new Bad("level", "9", q -> MESSAGES.level(9)),
                new Bad("level", "-1", q -> MESSAGES.level(-1)),
                new Bad("capacity", "-1", q -> MESSAGES.capacity(-1)),
                new Bad("overage", "-1", q -> MESSAGES.allowOverage(-1)),
                new Bad("thresholds", "[0]", q -> MESSAGES.alertAt(0)),
                new Bad("thresholds", "[1001]", q -> MESSAGES.alertAt(1001)),
                new Bad("message", "{who}", q -> MESSAGES.message("{who}")),
                new Bad("window", "PT0S", q -> Window.fixed(none)),
                new Bad("window", "PT0.5S", q -> Window.aligned(Duration.ofMillis(500))),
                new Bad("window", "PT8808H", q -> Window.fixed(Duration.ofDays(367))),
                new Bad("window", "fortnight", q -> Window.parse("fortnight")),
                new Bad("window", "fixed:x", q -> Window.parse("fixed:x")),
                new Bad("window", "fixed:9999999999999999999",
                        q -> Window.parse("fixed:9999999999999999999")),
                new Bad("plan", "", q -> Plan.named("")),
                new Bad("limit", "messages",
                        q -> Plan.named("P").limit(MESSAGES).limit(MESSAGES)));
    }

    @Test
    void badInputIsRefusedWithFieldAndValueBeforeAnythingIsWritten() {
        try (World world = World.with(MESSAGES, Limit.named("bytes"))) {
            Quotas quotas = world.quotas();
            OperationId operation = quotas.consume(CALL).orThrow().operation();
            OperationId hold = quotas.reserve(CALL, Duration.ofHours(1)).orThrow().operation();
            List<String> before = world.written();
            for (Bad bad : badInput(hold, operation)) {
                QuotaException.Invalid e = catchThrowableOfType(
                        QuotaException.Invalid.class, () -> bad.call().accept(quotas));
                assertThat(e).as("%s \"%s\"", bad.field(), bad.value()).isNotNull();
                assertThat(e.field() + "=" + e.value()).isEqualTo(bad.field() + "=" + bad.value());
                assertThat(e.getMessage()).startsWith(bad.field()).hasSizeGreaterThan(20);
            }
            assertThat(world.written()).isEqualTo(before);
        }
    }

    @Test
    void aBadSegmentOfAScopeIsToldByItsNumber() {
        assertThat(assertThrows(QuotaException.Invalid.class, () -> Scope.of("a//b")))
                .hasMessage("scope \"a//b\" has a bad segment, number 2: "
                        + "it is empty; give it 1 to 128 characters");
    }

    /** What is just not bad input: the table above must not win by refusing everything. */
    @Test
    void theBoundsThemselvesAreGood() {
        String long128 = "\ud83d\ude80".repeat(128); // characters, not Java's halves of them
        try (World world = World.with(MESSAGES.capacity(1L << 62),
                Limit.named(long128), Limit.named("m n/o"))) {
            Quotas quotas = world.quotas();
            assertThat(List.of(
                    quotas.consume(Request.of("acme/1/2/3/4/5/6/7/8").take("requests", 0)),
                    quotas.consume(Request.of("acme/" + long128).take(long128, 1)),
                    quotas.consume(Request.of("acme/a b\u00e9'\"\\;--").take("m n/o", 1)),
                    quotas.consume(CALL.key("k".repeat(200))),
                    quotas.reserve(CALL.key("' \" \\ {} , \u00e9"), Duration.ofMillis(1)),
                    quotas.reserve(CALL, Duration.ofSeconds(Long.MAX_VALUE)),
                    quotas.record(Request.of("acme").take("requests", 1L << 62))))
                    .allMatch(Decision::isGranted);
            world.proof();
        }
        try (World world = World.with(
                meters(16).keySet().stream().map(Limit::named).toArray(Limit[]::new))) {
            assertThat(world.quotas().consume(
                    new Request(Scope.of("acme"), meters(16), null)).isGranted()).isTrue();
        }
    }

    @Test
    void whatMustNotBeNullIsNamed() {
        try (World world = World.with(MESSAGES)) {
            Quotas quotas = world.quotas();
            OperationId id = OperationId.parse("acme/019c8f2e-1234-7abc-8def-0123456789ab");
            Duration minute = Duration.ofMinutes(1);
            Map<Consumer<Quotas>, String> calls = Map.of(
                    q -> q.consume(null), "request",
                    q -> q.consumeAll(null), "requests",
                    q -> q.consumeAll(Collections.singletonList(null)), "request",
                    q -> q.reserve(CALL, null), "timeToLive",
                    q -> q.settle(null, Map.of()), "hold",
                    q -> q.settle(id, null), "amounts",
                    q -> q.release(null), "hold",
                    q -> q.extend(null, Map.of(), minute, null), "hold",
                    q -> q.refund(null, Map.of(), null), "operation",
                    q -> q.balances(null), "scope");
            calls.forEach((call, name) -> assertThat(
                    assertThrows(NullPointerException.class, () -> call.accept(quotas)))
                    .as(name).hasMessage(name));
            assertThat(assertThrows(NullPointerException.class, () -> quotas.plans()
                    .boost(Scope.of("acme"), "messages", 1, null, null, "why"))).hasMessage("from");
        }
    }

    @Test
    void whoOrWhatIsNotKnownIsToldApart() {
        try (World world = World.with(MESSAGES,
                Limit.named("deep").on("steps").level(2).capacity(9))) {
            world.planFrom("LATER", java.time.Instant.parse("2099-01-01T00:00:00Z"), MESSAGES)
                    .tenant("early", "LATER");
            List<String> before = world.written();
            Quotas quotas = world.quotas();
            Map<String, Class<? extends QuotaException>> cases = new TreeMap<>(Map.of(
                    "nobody requests has no plan", QuotaException.UnknownTenant.class,
                    "early requests no version", QuotaException.UnknownTenant.class,
                    "acme bytes no limit", QuotaException.UnknownMeter.class,
                    "acme/a steps deeper levels", QuotaException.UnknownMeter.class));
            cases.forEach((text, kind) -> {
                String[] words = text.split(" ", 3);
                for (Function<Request, Object> verb : List.<Function<Request, Object>>of(
                        quotas::consume, quotas::consumeUpTo, quotas::record, quotas::check,
                        r -> quotas.reserve(r, Duration.ofMinutes(1)))) {
                    Throwable e = assertThrows(kind, () -> verb.apply(
                            Request.of(words[0]).take(words[1], 1).key("k")));
                    assertThat(e).hasMessageContaining(words[2]);
                }
            });
            assertThat(world.written()).isEqualTo(before);
            world.execute("update pgquota.setting set default_plan = 'P'");
            assertThat(quotas.consume(Request.of("nobody").take("requests", 1)).isGranted())
                    .isTrue();
        }
    }

    @Test
    void aHoldThatIsMissingIsNotFound() {
        try (World world = World.with(MESSAGES)) {
            OperationId none = OperationId.parse("acme/019c8f2e-1234-7abc-8def-0123456789ab");
            for (Consumer<Quotas> call : List.<Consumer<Quotas>>of(
                    q -> q.settle(none, Map.of()),
                    q -> q.release(none),
                    q -> q.extend(none, Map.of(), Duration.ofMinutes(1), "k"))) {
                QuotaException.NotFound e = assertThrows(
                        QuotaException.NotFound.class, () -> call.accept(world.quotas()));
                assertThat(e.what() + " " + e.id()).isEqualTo("hold " + none);
            }
            assertThat(world.rows("select * from pgquota.operation_key")).isEmpty();
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
