package io.github.pgquota.tool.bench;

import io.github.pgquota.tool.PostgresServer;
import io.github.pgquota.tool.bench.Series.Spread;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Measures the library beside the plain UPDATE, as docs/performance.md says: {@code -Pbench}. */
@Command(
        name = "bench",
        description = "Measures the library beside a plain UPDATE, through the same pool, in the"
                + " same run. Exit status: 0, 1 if a round was void, 2 for bad usage.",
        sortOptions = false)
public final class Bench implements Callable<Integer> {

    /** What can be asked for. */
    enum Workload { hot, spread, keyed, reserve, denied, rtt, ledger, memory }

    private static final List<Long> LEDGERS = List.of(100_000L, 1_000_000L);
    private static final long LONG_LEDGER = 10_000_000L;
    private static final double MOST_GROWTH = 2;

    @Spec
    private CommandSpec spec;

    @Option(names = "--workloads", split = ",", paramLabel = "NAME", description =
            "Any of ${COMPLETION-CANDIDATES}, with a comma between; all by default. What a workload"
                    + " is compared with is measured too.")
    private Set<Workload> workloads = EnumSet.allOf(Workload.class);

    @Option(names = "--callers", paramLabel = "N", defaultValue = "64",
            description = "How many call at once (default: ${DEFAULT-VALUE}).")
    private int callers;

    @Option(names = "--seconds", paramLabel = "S", defaultValue = "1",
            description = "Length of a path's slice of a round (default: ${DEFAULT-VALUE}).")
    private double seconds;

    @Option(names = "--rounds", paramLabel = "N", defaultValue = "15",
            description = "Rounds that count (default: ${DEFAULT-VALUE}).")
    private int rounds;

    @Option(names = "--scopes", paramLabel = "N", defaultValue = "100000",
            description = "Scopes of the spread workloads (default: ${DEFAULT-VALUE}).")
    private int scopes;

    @Option(names = "--rtt", paramLabel = "MS", defaultValue = "20",
            description = "Network time that workload rtt adds (default: ${DEFAULT-VALUE}).")
    private double rtt;

    @Option(names = "--calls", paramLabel = "N", defaultValue = "1000000",
            description = "Calls of workload memory (default: ${DEFAULT-VALUE}).")
    private long calls;

    @Option(names = "--long", description = "Adds a ledger of 10 million rows.")
    private boolean longRun;

    @Option(names = "--out", paramLabel = "FILE", defaultValue = "target/bench/results.json",
            description = "Where the figures go (default: ${DEFAULT-VALUE}).")
    private Path out;

    @Option(names = {"-h", "--help"}, usageHelp = true, description = "Says this.")
    private boolean help;

    private final Map<Line, Series> lines = new LinkedHashMap<>();
    private final List<Target> targets = new ArrayList<>();

    /** Measures, prints a table, writes the results. */
    public static void main(String[] args) {
        System.exit(new CommandLine(new Bench()).execute(args));
    }

    @Override
    public Integer call() throws Exception {
        if (callers < 1 || rounds < 1 || scopes < Stage.TENANTS || calls < 10
                || !(seconds > 0) || !(rtt >= 0)) {
            throw new ParameterException(spec.commandLine(), "callers and rounds are at least 1,"
                    + " scopes at least " + Stage.TENANTS
                    + ", calls at least 10, seconds above 0, rtt not below 0");
        }
        String server = System.getProperty("pgquota.test.postgres", "embedded");
        try (PostgresServer postgres = PostgresServer.start(server);
                Stage stage = Stage.create(postgres, "main", scopes)) {
            return measure(stage);
        }
    }

    /** Measures on a stage that is ready. Returns the exit status. */
    int measure(Stage stage) throws Exception {
        PrintWriter output = spec.commandLine().getOut();
        output.println(Machine.describe(stage));
        try {
            oneScope(stage);
            manyScopes(stage);
            roundTrips(stage);
            ledger(stage);
            memory(stage);
        } catch (VoidRoundException e) {
            spec.commandLine().getErr().println("A round is void, so nothing was written. "
                    + e.getMessage());
            return 1;
        }
        Results.table(output, lines.values());
        output.println();
        Results.targets(output, targets);
        output.flush();
        Results.write(out, lines.values());
        return 0;
    }

    private void oneScope(Stage stage) throws Exception {
        List<Contender> contenders = new ArrayList<>();
        Line direct = Line.of("hot", "direct", callers);
        Line bare = Line.of("hot", "bare", callers);
        Line denied = Line.of("denied", "direct", callers);
        if (asked(Workload.hot)) {
            contenders.add(Contenders.bareHot(bare, stage, stage.pool()));
        }
        if (asked(Workload.hot, Workload.denied)) {
            contenders.add(Contenders.hot(direct, stage, stage.quotas()));
        }
        if (asked(Workload.denied)) {
            contenders.add(Contenders.denied(denied, stage));
        }
        run(contenders);
        target(0.9, direct, bare);
        target(5, denied, direct);
    }

    private void manyScopes(Stage stage) throws Exception {
        List<Contender> contenders = new ArrayList<>();
        Line bare = Line.of("spread", "bare", callers);
        Line direct = Line.of("spread", "direct", callers);
        Line keyed = Line.of("keyed", "direct", callers);
        Line reserve = Line.of("reserve", "direct", callers);
        if (asked(Workload.spread, Workload.keyed, Workload.reserve)) {
            contenders.add(Contenders.bareSpread(bare, stage));
        }
        if (asked(Workload.spread)) {
            contenders.add(Contenders.spread(direct, stage));
        }
        if (asked(Workload.keyed)) {
            contenders.add(Contenders.keyed(keyed, stage));
        }
        if (asked(Workload.reserve)) {
            contenders.add(Contenders.reserve(reserve, stage));
        }
        run(contenders);
        target(0.7, direct, bare);
        target(0.5, keyed, bare);
        target(0.3, reserve, bare);
    }

    private void roundTrips(Stage stage) throws Exception {
        if (!asked(Workload.rtt)) {
            return;
        }
        try (RoundTrips slow = new RoundTrips(stage, rtt)) {
            run(slow.contenders());
            for (Contender contender : slow.contenders()) {
                Line line = contender.line();
                targets.add(Target.between(rtt, 2 * rtt, "p50 ms of " + line,
                        lines.get(line).millis(50)));
            }
            targets.add(Target.between(1, 1, "round trips of a call", Spread.of(slow.perCall())));
        }
    }

    private void ledger(Stage stage) throws Exception {
        if (!asked(Workload.ledger)) {
            return;
        }
        List<Long> sizes = new ArrayList<>(LEDGERS);
        if (longRun) {
            sizes.add(LONG_LEDGER);
        }
        say("filling ledgers");
        try (Ledger ledger = new Ledger(stage.server(), scopes, callers, sizes)) {
            run(ledger.contenders());
            Line smallest = ledger.contenders().get(0).line();
            for (Contender larger : ledger.contenders().subList(1, sizes.size())) {
                target(0.9, larger.line(), smallest);
            }
        }
    }

    private void memory(Stage stage) throws Exception {
        if (!asked(Workload.memory)) {
            return;
        }
        say("calling, to see what memory is kept");
        stage.stopFlushing();
        List<Memory.Reading> readings = Memory.measure(stage, calls / 10, calls / 2, calls);
        String words = readings.stream().map(Memory.Reading::toString)
                .collect(Collectors.joining(", "));
        double growth = readings.get(2).megabytes() - readings.get(0).megabytes();
        targets.add(Target.atMost(MOST_GROWTH, "MB more heap; " + words, Spread.of(growth)));
    }

    private boolean asked(Workload... any) {
        return List.of(any).stream().anyMatch(workloads::contains);
    }

    private void run(List<Contender> contenders) throws Exception {
        PrintWriter log = spec.commandLine().getErr();
        Duration slice = Duration.ofNanos(Math.round(seconds * 1e9));
        lines.putAll(new Match(contenders, 2, rounds, slice, log).run());
    }

    /** Both were measured in the same match, or nothing is said. */
    private void target(double least, Line line, Line against) {
        if (lines.containsKey(line) && lines.containsKey(against)) {
            targets.add(Target.atLeast(least, line + " : " + against,
                    lines.get(line).ratioTo(lines.get(against))));
        }
    }

    private void say(String words) {
        spec.commandLine().getErr().printf(Locale.ROOT, "%s%n", words);
        spec.commandLine().getErr().flush();
    }
}
