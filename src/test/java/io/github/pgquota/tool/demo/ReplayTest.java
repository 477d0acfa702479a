package io.github.pgquota.tool.demo;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.tuple;

import io.github.pgquota.TestDatabase;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.json.JsonFactory;

/** The replay as its users start it: arguments in; status, text, JSON and a database out. */
class ReplayTest {

    private static final int CALLS = 400;

    @TempDir
    Path folder;

    private TestDatabase database;
    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();

    @BeforeEach
    void start() {
        database = TestDatabase.create();
    }

    @AfterEach
    void stop() {
        database.close();
    }

    @Test
    void countsWhatItGrantsAndGrantsNoMoreThanThePlans() throws Exception {
        Map<String, Object> json = replay(0, sample(), "--tenants", "4", "--callers", "16");
        assertThat(json).containsEntry("calls", (long) CALLS)
                .containsEntry("callers", 16L)
                .containsEntry("max_over", 0L)
                .containsEntry("overage", 0L)
                .containsEntry("held_left", null)
                .containsEntry("settled_calls", null)
                .containsEntry("expired_holds", null)
                .containsEntry("broken_promises", List.of());
        assertThat(json.keySet()).containsExactly("trace", "calls", "tokens", "callers", "seconds",
                "granted_calls", "granted_tokens", "denied_calls", "max_over", "overage",
                "naive_max_over", "transaction_max_over", "held_left", "settled_calls",
                "expired_holds", "ledger_sum_tokens", "broken_promises", "tenants");
        assertThat(number(json, "granted_calls") + number(json, "denied_calls")).isEqualTo(CALLS);
        assertThat(json)
                .containsEntry("granted_calls", sum("select used from pgquota.counter"
                        + " where meter = 'requests'"))
                .containsEntry("granted_tokens", sum("select used from pgquota.counter"
                        + " where meter = 'tokens'"))
                .containsEntry("ledger_sum_tokens", sum("select l.amount from pgquota.ledger l"
                        + " join pgquota.counter c on c.id = l.counter and c.meter = 'tokens'"));
        assertThat(limits(json)).hasSize(8).allSatisfy(limit -> {
            assertThat(limit.keySet()).containsExactly("tenant", "plan", "limit", "meter",
                    "capacity", "granted", "used", "held", "over", "resets_at");
            assertThat(limit.get("used")).isEqualTo(limit.get("granted"))
                    .isEqualTo(sum("select used from pgquota.counter where tenant = '"
                            + limit.get("tenant") + "' and meter = '" + limit.get("meter") + "'"));
            assertThat(limit.get("over")).isEqualTo(0L);
        });
        // A hundred calls of a FREE tenant: either limit may be the one that stops it.
        assertThat(number(limits(json).get(0), "granted")).isBetween(20L, 50L);
        assertThat(limits(json).get(6)).containsEntry("plan", "UNLIMITED")
                .containsEntry("capacity", null)
                .containsEntry("granted", 100L);
    }

    @Test
    void theOtherWaysGoOver() throws Exception {
        long naive = 0;
        long transaction = 0;
        // Real races, so a lucky round is possible; twenty in a row are not.
        for (int round = 0; round < 20 && (naive == 0 || transaction == 0); round++) {
            Map<String, Object> json =
                    replay(0, sample(), "--tenants", "1", "--callers", "32", "--plan", "FREE");
            assertThat(number(json, "max_over")).isZero();
            naive = Math.max(naive, number(json, "naive_max_over"));
            transaction = Math.max(transaction, number(json, "transaction_max_over"));
        }
        assertThat(naive).isPositive();
        assertThat(transaction).isPositive();
        assertThat(out.toString()).containsPattern(
                "the same calls by other ways +worst limit that denies: over by \\(units\\)\\R");
        assertThat(sum("select count(*) from pg_namespace where nspname like 'pgquota_naive%'"))
                .isZero();
    }

    @Test
    void leavesThoseOutIfAskedTo() throws Exception {
        assertThat(replay(0, sample(), "--no-naive")).containsEntry("naive_max_over", null)
                .containsEntry("transaction_max_over", null);
        assertThat(out.toString()).doesNotContain("other ways");
    }

    @Test
    void aSecondRunStartsCleanAndTouchesNothing() throws Exception {
        Map<String, Object> first = replay(0, sample(), "--plan", "STARTER", "--no-naive");
        long used = sum("select used from pgquota.counter");
        Map<String, Object> second = replay(0, sample(), "--plan", "STARTER", "--no-naive");
        assertThat(second).containsEntry("granted_tokens", first.get("granted_tokens"));
        assertThat(sum("select used from pgquota.counter")).isEqualTo(2 * used);
        assertThat(sum("select count(*) from pgquota.plan_version")).isEqualTo(2);
        assertThat(sum("select count(default_plan) from pgquota.setting")).isZero();
    }

    @Test
    void traceMayNameItsTenants() throws Exception {
        Path trace = write("""
                TIMESTAMP,ContextTokens,GeneratedTokens,tenant
                2023-11-16 18:17:03,10,1,acme
                2023-11-16 18:17:04,20,2,"Zoë, Ltd"
                2023-11-16 18:17:05,30,3,acme
                """);
        Map<String, Object> json = replay(0, trace, "--plan", "PRO", "--tenants", "7");
        assertThat(limits(json)).extracting(
                        l -> l.get("tenant").toString().replaceFirst("^replay(-[^-]*){3}-", ""),
                        l -> l.get("meter"), l -> l.get("used"))
                .containsExactly(
                        tuple("acme", "requests", 2L),
                        tuple("acme", "tokens", 44L),
                        tuple("Zoë, Ltd", "requests", 1L),
                        tuple("Zoë, Ltd", "tokens", 22L));
        assertThat(err.toString()).contains("--tenants is not used: the trace names 2");
    }

    @ParameterizedTest
    @ValueSource(longs = {0, 2048})
    void holdsAreSettledOrExpireAndNothingIsLeft(long ceiling) throws Exception {
        Map<String, Object> json = replay(0, sample(), "--plan", "FREE", "--reserve", "--tenants",
                "4", "--ceiling", "" + ceiling, "--killed", "20", "--ttl", "1", "--no-naive");
        assertThat(number(json, "settled_calls"))
                .isPositive()
                .isEqualTo(sum("select 1 from pgquota.hold where state = 'settled'"));
        assertThat(number(json, "expired_holds"))
                .isPositive()
                .isEqualTo(sum("select 1 from pgquota.hold where state = 'expired'"));
        assertThat(number(json, "granted_calls"))
                .isEqualTo(number(json, "settled_calls") + number(json, "expired_holds"));
        assertThat(out.toString()).contains(" calls granted (" + json.get("expired_holds")
                + " of them never settled), with ");
        assertThat(json).containsEntry("held_left", 0L).containsEntry("max_over", 0L)
                .containsEntry("granted_tokens",
                        sum("select used from pgquota.counter where meter = 'tokens'"));
        assertThat(sum("select held from pgquota.counter")).isZero();
        assertThat(sum("select 1 from pgquota.hold_item")).isZero();
    }

    @Test
    void overageIsReportedApart() throws Exception {
        // Each call holds a token and takes a thousand: the last ones that fit go over.
        Path trace = write("TIMESTAMP,ContextTokens,GeneratedTokens\n"
                + "2023-11-16 18:17:03,1,3333\n".repeat(45));
        Map<String, Object> json = replay(0, trace, "--plan", "FREE", "--reserve", "--tenants",
                "1", "--ceiling", "0", "--killed", "0", "--ttl", "60");
        long over = sum("select used - 100000 from pgquota.counter where meter = 'tokens'");
        assertThat(over).isPositive();
        assertThat(json).containsEntry("overage", over).containsEntry("max_over", 0L);
        assertThat(limits(json).get(1)).containsEntry("over", over);
    }

    /** Limits that are no built-in ones, and what becomes of 400 calls of one tenant. */
    static Stream<Arguments> plans() {
        return Stream.of(
                Arguments.of("no tokens", "{name: requests, capacity: 7}",
                        "requests 7 0", "plan P has no limit on a tenant's tokens: its calls ask"
                                + " for requests only"),
                Arguments.of("no requests", "{name: t, meter: tokens, capacity: 0}",
                        "t 0 0", "plan P has no limit on a tenant's requests"),
                Arguments.of("another level", "{name: requests, capacity: 7},"
                                + " {name: user, meter: tokens, level: 1, capacity: 1}",
                        "requests 7 0", "limit user of plan P is not used: it is on level 1"),
                Arguments.of("another meter", "{name: requests, capacity: 7},"
                                + " {name: bytes, capacity: 1}",
                        "requests 7 0", "limit bytes of plan P is not used: a trace has the"
                                + " meters requests and tokens only"),
                Arguments.of("off", "{name: requests, capacity: 7, mode: off},"
                                + " {name: tokens, capacity: unlimited}",
                        "tokens all 0", "limit requests of plan P is not used: it is off"),
                Arguments.of("observe", "{name: requests, capacity: 7, mode: observe}",
                        "requests 400 393", "plan P has no limit on a tenant's tokens"),
                Arguments.of("overage up to", "{name: requests, capacity: 7, overage: 3}",
                        "requests 10 3", "plan P has no limit on a tenant's tokens"),
                Arguments.of("overage", "{name: requests, capacity: 7, overage: allow}",
                        "requests 400 393", "plan P has no limit on a tenant's tokens"),
                Arguments.of("two limits on one counter", "{name: soft, meter: requests,"
                                + " capacity: 5, mode: observe},"
                                + " {name: hard, meter: requests, capacity: 9}",
                        "soft 9 4 hard 9 0", "plan P has no limit on a tenant's tokens"),
                Arguments.of("two windows", "{name: d, meter: requests, window: lifetime,"
                                + " capacity: 9}, {name: h, meter: requests, window: hour,"
                                + " capacity: 11}",
                        "d 9 0 h 9 0", "plan P has no limit on a tenant's tokens"));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("plans")
    void copesWithPlansOf(String name, String limits, String outcome, String note)
            throws Exception {
        Path plans = Files.writeString(folder.resolve("plans.yaml"),
                "plans: {P: {limits: [" + limits + "]}}\n");
        Map<String, Object> json = replay(0, sample(), "--tenants", "1", "--plans",
                plans.toString(), "--no-naive");
        assertThat(limits(json).stream()
                .map(l -> l.get("limit") + " " + l.get("used") + " " + l.get("over"))
                .collect(Collectors.joining(" ")))
                .isEqualTo(outcome.replace("all", "" + json.get("tokens")));
        assertThat(err.toString()).contains(note);
        assertThat(number(json, "max_over")).isZero();
    }

    @Test
    void countsEachWindowForItself() throws Exception {
        Path plans = Files.writeString(folder.resolve("plans.yaml"), """
                plans:
                  P:
                    limits:
                      - {name: requests, window: "aligned:1", capacity: 20}
                """);
        Map<String, Object> json = replay(0, sample(), "--tenants", "1", "--plans",
                plans.toString(), "--no-naive");
        assertThat(json).containsEntry("granted_calls", sum("select used from pgquota.counter"));
        assertThat(sum("select used from pgquota.counter where used > 20")).isZero();
        assertThat(out.toString()).contains("not billed");
    }

    @Test
    void aPlanFileMayNameTenants() throws Exception {
        Path plans = Files.writeString(folder.resolve("plans.yaml"), """
                plans:
                  A: {limits: [{name: requests, capacity: 1}]}
                  B: {limits: [{name: requests, capacity: 2}]}
                tenants:
                  acme: {plan: B}
                """);
        Path trace = write("2023-11-16 18:17:03,1,1,acme\n".repeat(4)
                + "2023-11-16 18:17:03,1,1,zeta\n".repeat(4)
                + "2023-11-16 18:17:03,1,1,zorn\n".repeat(4));
        assertThat(limits(replay(0, trace, "--plans", plans.toString())))
                .extracting(l -> l.get("plan"), l -> l.get("used"))
                .containsExactly(tuple("B", 2L), tuple("B", 2L), tuple("A", 1L));
        assertThat(err.toString()).contains(
                "plans.yaml: only its plans are used, and the plan it gives to 1 tenant");
        assertThat(limits(replay(0, trace, "--plans", plans.toString(), "--plan", "A")))
                .extracting(l -> l.get("plan"), l -> l.get("used"))
                .containsExactly(tuple("A", 1L), tuple("A", 1L), tuple("A", 1L));
        assertThat(err.toString().lines())
                .anyMatch(line -> line.endsWith("plans.yaml: only its plans are used"));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', value = {
        "                            | false",
        "default_plan: A             | true",
        "default_zone: UTC           | true",
        "tenants: {zeta: {plan: A}}  | true",
    })
    void saysThatOnlyThePlansOfAFileAreUsed(@Nullable String more, boolean said) throws Exception {
        Path plans = Files.writeString(folder.resolve("plans.yaml"),
                "plans: {A: {limits: [{name: requests, capacity: 1}]}}\n"
                        + (more == null ? "" : more + "\n"));
        replay(0, sample(), "--plans", plans.toString(), "--no-naive");
        assertThat(err.toString().contains("plans.yaml: only its plans are used")).isEqualTo(said);
    }

    @Test
    void countsOneInTheSingular() throws Exception {
        Path trace = write("2023-11-16 18:17:03,1,1\n");
        replay(0, trace, "--plan", "FREE", "--tenants", "1", "--callers", "1", "--reserve",
                "--killed", "100", "--ttl", "1", "--no-naive");
        assertThat(out.toString()).contains(
                "1 call and 2 tokens of 1 tenant by 1 caller in ",
                "1 call granted (1 of them never settled), with 0 tokens; 0 denied",
                "0 holds settled (0 of them late), 1 caller killed, 1 hold expired, 0 units");
        assertThat(err.toString().lines()).anyMatch(line -> line.endsWith(": 1 call"));
    }

    @Test
    void helpSaysWhatStaysInADatabase() {
        assertThat(run(List.of("--help"))).isZero();
        assertThat(out.toString().replaceAll("\\s+", " ")).contains(
                "Makes the schema pgquota and its roles if they are missing; this run's plans"
                        + " and tenants (replay-...) stay in it.");
    }

    /** A plan file, and a part of what is said about it. */
    static Stream<Arguments> badPlans() {
        return Stream.of(
                Arguments.of("plans: {}\n", "plans.yaml: names no plans"),
                Arguments.of("plans: {P: {limits: []}}\n", "plan \"P\" has no limit on requests"),
                Arguments.of("plans:\n  P:\n    limits:\n      - {name: requests, capacity: -1}\n",
                        "plans.yaml:4: plans.P.limits[0].capacity"),
                Arguments.of("plans: [", "plans.yaml:1"));
    }

    @ParameterizedTest
    @MethodSource("badPlans")
    void refusesABadPlanFile(String yaml, String message) throws Exception {
        Path plans = Files.writeString(folder.resolve("plans.yaml"), yaml);
        assertThat(run(List.of("replay", sample().toString(), "--url", url(), "--plans",
                plans.toString(), "--plan", yaml.contains("P:") ? "P" : "mix"))).isEqualTo(2);
        assertThat(err.toString()).contains(message);
    }

    /** What is wrong in the database, and the promise that it breaks. */
    static Stream<Arguments> tampered() {
        return Stream.of(
                Arguments.of("an addition is lost", "pgquota.counter", "update",
                        "if old.used < 7 and new.used > 6 then new.used := new.used - 1; end if;",
                        "no addition is lost and none counted twice"),
                Arguments.of("an addition is counted twice", "pgquota.counter", "update",
                        "if old.used < 7 and new.used > 6 then new.used := new.used + 1; end if;",
                        "no addition is lost and none counted twice"),
                Arguments.of("the ledger misses an entry", "pgquota.ledger", "insert",
                        "if new.entry = 7 then new.amount := new.amount + 1; end if;",
                        "the ledger is the proof"),
                Arguments.of("a limit lets more through", "pgquota.plan_limit", "insert",
                        "new.capacity := new.capacity * 2;",
                        "the limit holds"));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("tampered")
    void theProofFailsIf(
            String name, String table, String event, String body, String promise) throws Exception {
        execute("create function public.tamper() returns trigger language plpgsql as $$ begin "
                + body + " return new; end $$");
        execute("create trigger tamper before " + event + " on " + table
                + " for each row execute function public.tamper()");
        Map<String, Object> json =
                replay(1, sample(), "--plan", "FREE", "--tenants", "1", "--no-naive");
        assertThat((Collection<?>) json.get("broken_promises")).isNotEmpty()
                .anySatisfy(b -> assertThat(b.toString()).startsWith(promise));
        assertThat(err.toString()).contains("BROKEN: " + promise);
        assertThat(out.toString()).contains("BROKEN");
    }

    /** Arguments, and a part of what is said about them. */
    static Stream<Arguments> badUsage() {
        return Stream.of(
                Arguments.of("--tenants 0", "--tenants 0 must be between 1 and"),
                Arguments.of("--callers -1", "--callers -1 must be between 1 and"),
                Arguments.of("--callers 0", "--callers 0 must be between 1 and"),
                Arguments.of("--callers many", "'--callers'"),
                Arguments.of("--tenants 99999999999", "'--tenants'"),
                Arguments.of("--ceiling -1", "--ceiling -1 must be between 0"),
                Arguments.of("--killed 5", "--killed belongs to --reserve"),
                Arguments.of("--ceiling 2048", "--ceiling belongs to --reserve"),
                Arguments.of("--ttl 5", "--ttl belongs to --reserve"),
                Arguments.of("--nonsense", "Unknown option: '--nonsense'"),
                Arguments.of("another.csv", "another.csv"),
                Arguments.of("--plan GOLD", "there is no plan \"GOLD\"; there are FREE, STARTER"),
                Arguments.of("--json /no/such/folder/out.json", "/no/such/folder/out.json cannot"),
                Arguments.of("--json .", "--json . cannot be written"),
                Arguments.of("--url nonsense", "--url is no URL such as jdbc:"),
                Arguments.of("--url jdbc:postgresql://127.0.0.1:1/x", "--url does not answer"));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("badUsage")
    void refusesBadUsage(String arguments, String message) throws Exception {
        Path trace = sample();
        List<String> all = new ArrayList<>(List.of("replay", trace.toString()));
        if (!arguments.contains("--url")) {
            all.addAll(List.of("--url", url()));
        }
        all.addAll(List.of(arguments.split(" ")));
        assertThat(run(all)).isEqualTo(2);
        assertThat(err.toString()).contains(message);
        assertThat(sum("select 1 from pgquota.tenant")).isZero();
    }

    @Test
    void refusesABadFileBeforeAnythingIsReplayed() throws Exception {
        Path trace = write("TIMESTAMP,ContextTokens,GeneratedTokens\n"
                + "2023-11-16 18:17:03,10,1\n2023-11-16 18:17:03,10,-1\n");
        String before = Files.readString(trace);
        assertThat(run(List.of("replay", trace.toString(), "--json", trace.toString())))
                .isEqualTo(2);
        assertThat(trace).hasContent(before);
        Path missing = folder.resolve("missing.csv");
        assertThat(run(List.of("replay", trace.toString(), "--url", url()))).isEqualTo(2);
        assertThat(run(List.of("replay", missing.toString(), "--url", url()))).isEqualTo(2);
        assertThat(run(List.of("replay", folder.toString(), "--url", url()))).isEqualTo(2);
        assertThat(err.toString()).contains(
                trace + ": line 3, field GeneratedTokens: \"-1\" is negative",
                missing + ": there is no such file",
                folder + ": is a directory");
        assertThat(out.toString()).isEmpty();
        assertThat(sum("select 1 from pgquota.tenant")).isZero();
    }

    private Path sample() throws IOException {
        Path trace = folder.resolve("sample.csv");
        Sample.write(trace, CALLS);
        return trace;
    }

    private Path write(String text) throws IOException {
        return Files.writeString(folder.resolve("trace.csv"), text);
    }

    private String url() {
        return TestDatabase.server().loginUrl(database.name());
    }

    private int run(List<String> arguments) {
        return Replay.run(arguments.toArray(String[]::new), new PrintWriter(out, true),
                new PrintWriter(err, true));
    }

    private Map<String, Object> replay(int status, Path trace, String... options) {
        Path json = folder.resolve("out.json");
        List<String> arguments = new ArrayList<>(List.of(
                "replay", trace.toString(), "--url", url(), "--json", json.toString()));
        arguments.addAll(List.of(options));
        assertThat(run(arguments)).describedAs("%s", err).isEqualTo(status);
        try (JsonParser parser = new JsonFactory().createParser(ObjectReadContext.empty(), json)) {
            parser.nextToken();
            @SuppressWarnings("unchecked")
            Map<String, Object> read = (Map<String, Object>) value(parser);
            return read;
        }
    }

    private static Object value(JsonParser parser) {
        return switch (parser.currentToken()) {
            case START_OBJECT -> {
                Map<String, Object> object = new LinkedHashMap<>();
                while (parser.nextToken() != JsonToken.END_OBJECT) {
                    String name = parser.currentName();
                    parser.nextToken();
                    object.put(name, value(parser));
                }
                yield object;
            }
            case START_ARRAY -> {
                List<Object> array = new ArrayList<>();
                while (parser.nextToken() != JsonToken.END_ARRAY) {
                    array.add(value(parser));
                }
                yield array;
            }
            case VALUE_NUMBER_INT -> parser.getLongValue();
            case VALUE_NUMBER_FLOAT -> parser.getDoubleValue();
            case VALUE_NULL -> null;
            default -> parser.getString();
        };
    }

    private static long number(Map<String, Object> object, String name) {
        return (Long) object.get(name);
    }

    @SuppressWarnings("unchecked")
    private static List<Map<String, Object>> limits(Map<String, Object> json) {
        return (List<Map<String, Object>>) json.get("tenants");
    }

    /** The sum of a query's only column. */
    private long sum(String sql) {
        try (Connection connection = database.connection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(
                        "select coalesce(sum(x), 0) from (" + sql + ") q (x)")) {
            row.next();
            return row.getLong(1);
        } catch (SQLException e) {
            throw new IllegalStateException(e);
        }
    }

    private void execute(String sql) throws SQLException {
        try (Connection connection = database.connection();
                Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }
}
