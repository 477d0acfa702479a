package io.github.pgquota.tool.bench;

import static java.util.stream.Collectors.joining;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.pgquota.TestDatabase;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.json.JsonFactory;

/** The benchmark's machinery, for a moment: not what it measures, but that it measures that. */
class BenchTest {

    private static final AtomicInteger NUMBER = new AtomicInteger();

    @TempDir
    private Path folder;

    private final StringWriter output = new StringWriter();
    private final StringWriter errors = new StringWriter();

    private CommandLine command() {
        return new CommandLine(new Bench())
                .setOut(new PrintWriter(output, true))
                .setErr(new PrintWriter(errors, true));
    }

    private Path results() {
        return folder.resolve("results.json");
    }

    /** Runs rows on a stage that may have been tampered with. Returns the exit status. */
    private int measure(String arguments, String... tampering) throws Exception {
        CommandLine command = command();
        String all = "--rounds 2 --out " + results() + " " + arguments
                + (arguments.contains("--seconds") ? "" : " --seconds 0.02");
        command.parseArgs(all.split(" "));
        try (Stage stage = Stage.create(
                TestDatabase.server(), "test" + NUMBER.incrementAndGet(), Stage.TENANTS)) {
            stage.execute(tampering);
            return command.<Bench>getCommand().measure(stage);
        }
    }

    @Test
    void everyPathLeavesItsLine() throws Exception {
        assertThat(measure("--rows hot-64 --callers 3 --paths bare,direct,combined,bucket4j-update,"
                + "bucket4j-advisory,bucket4j-batching,bare@2")).isZero();
        List<Map<String, Object>> rows = rows();
        assertThat(rows).extracting(BenchTest::name).containsExactly(
                "hot bare 3 platform 0.0",
                "hot direct 3 platform 0.0",
                "hot combined 3 platform 0.0",
                "hot bucket4j-update 3 platform 0.0",
                "hot bucket4j-advisory 3 platform 0.0",
                "hot bucket4j-batching 3 platform 0.0",
                "hot bare 2 platform 0.0");
        assertThat(rows).allSatisfy(row -> {
            assertThat(row.keySet()).containsExactly("workload", "path", "callers", "kind",
                    "rtt_ms", "per_second", "p50_ms", "p99_ms", "p999_ms", "rounds");
            assertThat((double) row.get("per_second")).isPositive();
            assertThat((double) row.get("p50_ms")).isPositive()
                    .isLessThanOrEqualTo((double) row.get("p99_ms"));
            assertThat((double) row.get("p99_ms")).isLessThanOrEqualTo((double) row.get("p999_ms"));
            assertThat(row.get("rounds")).isEqualTo(2);
        });
        assertThat(output.toString()).contains("fsync", "p99.9 ms").doesNotContain("target");
    }

    @Test
    void everyWorkloadLeavesItsLine() throws Exception {
        String[] workloads = {
            "hot", "spread", "zipf", "hierarchy", "keyed", "keyed-hot", "reserve", "denied"
        };
        String paths = Stream.of(workloads).map(w -> w + "/combined").collect(joining(","));
        assertThat(measure("--rows hot-64 --callers 2 --paths " + paths)).isZero();
        assertThat(rows()).extracting(row -> row.get("workload"))
                .containsExactly((Object[]) workloads);
        String async = paths.replace("combined", "async");
        assertThat(measure("--rows hot-64 --kind async --callers 20 --paths " + async)).isZero();
        assertThat(rows()).extracting(BenchTest::name)
                .contains("reserve async 20 async 0.0", "denied async 20 async 0.0");
    }

    @Test
    void aNetworkIsAdded() throws Exception {
        assertThat(measure("--rows rtt --seconds 0.2")).isZero();
        assertThat(rows()).allSatisfy(row -> {
            assertThat(row.get("rtt_ms")).isEqualTo(20.0);
            assertThat((double) row.get("p50_ms")).isBetween(20.0, 60.0);
        });
        assertThat(output.toString())
                .containsPattern("reached round trips of hot direct.* 1\\.\\d+ ");
    }

    /** Each has its pool, and what they were granted together is what is stored. */
    @Test
    void processesCallTogether() throws Exception {
        List<ProcessHandle> before = ProcessHandle.current().children().toList();
        assertThat(measure("--rows processes --callers 4 --paths combined-2jvm,combined-1jvm"))
                .isZero();
        assertThat(rows()).extracting(BenchTest::name).containsExactly(
                "hot combined-2jvm 4 platform 0.0", "hot combined-1jvm 4 platform 0.0");
        assertThat(ProcessHandle.current().children()).isSubsetOf(before);
    }

    @Test
    void halfOfTheLoadIsHalf() throws Exception {
        assertThat(measure("--rows half-load --callers 8 --seconds 0.3"
                + " --paths async,async-half,redis-half")).isZero();
        List<Map<String, Object>> rows = rows();
        assertThat((double) rows.get(1).get("per_second") / (double) rows.get(0).get("per_second"))
                .isBetween(0.2, 0.9);
        assertThat(output.toString()).contains("its whole load is not measured before");
    }

    @Test
    void whatACallCostsIsTold() throws Exception {
        assertThat(measure("--rows denied-512 --callers 4 --paths direct,hot/direct")).isZero();
        List<Map<String, Object>> costs = rows(results().resolveSibling("cost.json"));
        assertThat(costs).allSatisfy(cost -> {
            assertThat(cost.keySet()).containsExactly("workload", "path", "callers", "kind",
                    "rtt_ms", "client_cpu_us", "server_cpu_us", "wal_bytes", "allocated_bytes",
                    "round_trips");
            assertThat((double) cost.get("client_cpu_us")).isNotNegative();
            assertThat((double) cost.get("allocated_bytes")).isGreaterThan(100);
            assertThat(cost.get("round_trips")).isEqualTo("none");
        });
        assertThat((double) costs.get(0).get("wal_bytes")).isLessThan(20);
        assertThat((double) costs.get(1).get("wal_bytes")).isGreaterThan(50);
        assertThat(results().resolveSibling("throughput.svg")).exists();
    }

    @Test
    void redisIsMeasuredWhereItIs() throws Exception {
        try (RedisServer redis = RedisServer.open(null)) {
            assertThat(redis.toString()).contains("appendfsync always");
            assertThat(measure("--rows hot-64 --callers 3 --paths redis,spread/redis,denied/redis"
                    + " --rtt 1 --redis " + redis.uri().toURI())).isZero();
            assertThat(rows()).extracting(BenchTest::name).containsExactly(
                    "hot redis 3 platform 1.0", "spread redis 3 platform 1.0",
                    "denied redis 3 platform 1.0");
            assertThat(rows()).allSatisfy(row ->
                    assertThat((double) row.get("p50_ms")).isGreaterThanOrEqualTo(1));
        } catch (NotRunException e) {
            assumeTrue(false, e.getMessage());
        }
    }

    @Test
    void longRowsLeaveTheirLines() throws Exception {
        assertThat(measure("--rows soak,scopes,memory --callers 3 --minutes 0.01 --calls 160"
                + " --scopes " + Stage.TENANTS)).isZero();
        assertThat(rows()).extracting(row -> row.get("workload")).containsExactly(
                "spread-250", "spread-25000", "soak", "soak-snapshot");
        assertThat(output.toString()).contains(
                "160 calls:", "p99 of the last quarter : first", "HOT updates",
                "spread-25000 combined, 3 platform : spread-250 combined", "≥ 0.80");
    }

    @Test
    void aCrowdLeavesRoomForAGuestAndIsToldWhenThereIsNone() throws Exception {
        assertThat(measure("--rows crowd")).isZero();
        assertThat(rows()).extracting(BenchTest::name).containsExactly(
                "guest combined 1 platform 0.0", "guest-crowd combined 1 platform 0.0",
                "crowd async 10000 async 0.0");
        assertThat(output.toString())
                .contains("p50 ms of a guest beside 10000 others")
                .doesNotContain("per cent refused of 20,000 calls at once, 1,000 places 0.00");
    }

    @Test
    void targetsAreOfPairs() throws Exception {
        assertThat(measure("--rows keyed-512")).isZero();
        assertThat(output.toString())
                .containsPattern("(reached|MISSED ) keyed combined.* : spread combined.* ≥ 0.50");
    }

    @Test
    void whoCannotRunIsNamed() throws Exception {
        assertThat(measure("--rows hot-64 --callers 2 --paths bare,redis,keyed/bare,quick"
                + " --redis redis://127.0.0.1:1")).isZero();
        assertThat(rows()).extracting(BenchTest::name).containsExactly("hot bare 2 platform 0.0");
        assertThat(output.toString()).contains(
                "not run hot redis, 2 platform: no Redis answers",
                "not run keyed bare, 2 platform: bare has no such thing",
                "not run hot quick, 2 platform: no path quick");
    }

    private static String name(Map<String, Object> row) {
        return row.get("workload") + " " + row.get("path") + " " + row.get("callers") + " "
                + row.get("kind") + " " + row.get("rtt_ms");
    }

    /** Bugs of a database that acknowledges one thing and stores another. */
    @ParameterizedTest
    @ValueSource(strings = {
        // counts twice what it grants
        "hot/combined | create function twice() returns trigger language plpgsql as $$ begin"
                + " new.used := new.used + 1; return new; end $$;"
                + " create trigger twice before update on pgquota.counter"
                + " for each row execute function twice()",
        // the same with the table that the library is compared with
        "hot/bare | create function twice() returns trigger language plpgsql as $$ begin"
                + " new.used := new.used + 1; return new; end $$;"
                + " create trigger twice before update on bare"
                + " for each row execute function twice()",
        // counts what nobody was told of, on one level of three
        "hierarchy/combined | create function twice() returns trigger language plpgsql as $$ begin"
                + " new.used := new.used + 1; return new; end $$;"
                + " create trigger twice before update on pgquota.counter for each row"
                + " when (new.scope not like '%/%') execute function twice()",
        // refuses where nothing is to be refused
        "spread/direct | alter table pgquota.plan_limit disable trigger user;"
                + " update pgquota.plan_limit set capacity = 1 where meter = 'requests'",
        // grants where all is to be refused
        "denied/combined | alter table pgquota.plan_limit disable trigger user;"
                + " update pgquota.plan_limit set capacity = 1000000 where meter = 'scarce'"
    })
    void aRoundThatDoesNotAddUpIsVoid(String tampering) throws Exception {
        String[] parts = tampering.split(" \\| ", 2);
        assertThat(measure("--rows hot-64 --callers 3 --paths " + parts[0], parts[1]))
                .isEqualTo(1);
        assertThat(errors.toString()).contains("A round is void");
        assertThat(results()).doesNotExist();
    }

    @Test
    void ledgersAreFilledAsTheEngineWouldHave() throws Exception {
        long rows = Stage.TENANTS * 2 + 7;
        try (Sizes ledgers = Sizes.ledgers(
                TestDatabase.server(), Stage.TENANTS, 2, "combined", List.of(rows, 10L))) {
            assertThat(ledgers.contenders()).extracting(c -> c.line().workload())
                    .containsExactly("ledger-" + rows, "ledger-10");
            Contender contender = ledgers.contenders().get(0);
            assertThat(contender.stored()).isEqualTo(rows);
            Slice slice = contender.run(Duration.ofMillis(1));
            assertThat(contender.stored()).isEqualTo(rows + slice.granted());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "--rows cold", "--kind slow", "--rounds 0", "--seconds 0", "--callers 0", "--scopes 1",
        "--rtt -1", "--calls 9", "--what"
    })
    void badUsageIsTwo(String arguments) {
        assertThat(command().execute(arguments.split(" "))).isEqualTo(2);
        assertThat(errors.toString()).contains("Usage: bench");
    }

    /** The rows of the file: strings and numbers by name, nothing else is allowed. */
    private List<Map<String, Object>> rows() throws Exception {
        return rows(results());
    }

    private static List<Map<String, Object>> rows(Path file) throws Exception {
        List<Map<String, Object>> rows = new ArrayList<>();
        try (JsonParser json = new JsonFactory()
                .createParser(ObjectReadContext.empty(), Files.readString(file))) {
            assertThat(json.nextToken()).isEqualTo(JsonToken.START_ARRAY);
            while (json.nextToken() == JsonToken.START_OBJECT) {
                Map<String, Object> row = new java.util.LinkedHashMap<>();
                while (json.nextToken() == JsonToken.PROPERTY_NAME) {
                    String name = json.currentName();
                    row.put(name, switch (json.nextToken()) {
                        case VALUE_STRING -> json.getString();
                        case VALUE_NUMBER_INT -> json.getIntValue();
                        case VALUE_NULL -> "none";
                        default -> json.getDoubleValue();
                    });
                }
                rows.add(row);
            }
            assertThat(json.currentToken()).isEqualTo(JsonToken.END_ARRAY);
            assertThat(json.nextToken()).isNull();
        }
        return rows;
    }
}
