package io.github.pgquota.tool.bench;

import io.github.pgquota.tool.PostgresServer;
import io.github.pgquota.tool.bench.Series.Spread;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Measures the library beside others, as docs/performance.md says: {@code -Pbench}. */
@Command(
        name = "bench",
        description = "Measures the library beside a plain UPDATE, Bucket4j and Redis, in the same"
                + " run. Exit status: 0, 1 if a round was void, 2 for bad usage.",
        sortOptions = false)
public final class Bench implements Callable<Integer> {

    private static final List<String> SPECIAL =
            List.of("crowd", "ledger", "scopes", "memory", "soak");
    private static final List<Long> LEDGERS = List.of(100_000L, 1_000_000L);
    private static final long LONG_LEDGER = 10_000_000L;
    private static final int MORE_SCOPES = 100;
    private static final double MOST_GROWTH = 2;
    private static final int WARM_UPS = 2;
    private static final int MANY = 512;
    private static final Pattern PROCESSES = Pattern.compile("(.+)-([1-9])jvm");
    private static final String HALF = "-half";

    @Spec
    private CommandSpec spec;

    @Option(names = "--rows", split = ",", paramLabel = "NAME",
            description = "Rows to measure, with a comma between; --list tells their names.")
    private @Nullable List<String> names;

    @Option(names = "--list", description = "Tells the names of the rows, and who is in them.")
    private boolean list;

    @Option(names = "--callers", paramLabel = "N", description = "Another number of callers.")
    private @Nullable Integer callers;

    @Option(names = "--kind", paramLabel = "KIND",
            description = "Other callers: platform, virtual or async.")
    private @Nullable String kind;

    @Option(names = "--rtt", paramLabel = "MS",
            description = "Another network time that is added to each round trip.")
    private @Nullable Double rtt;

    @Option(names = "--paths", split = ",", paramLabel = "PATH",
            description = "Other paths: bare, direct, combined, async, bucket4j-update,"
                    + " bucket4j-advisory, bucket4j-batching, redis; with another workload before"
                    + " a slash, or another number of callers behind an @.")
    private @Nullable List<String> paths;

    @Option(names = "--seconds", paramLabel = "S", defaultValue = "0.6",
            description = "Length of a path's slice of a round (default: ${DEFAULT-VALUE}).")
    private double seconds;

    @Option(names = "--rounds", paramLabel = "N", defaultValue = "5",
            description = "Rounds that count (default: ${DEFAULT-VALUE}).")
    private int rounds;

    @Option(names = "--scopes", paramLabel = "N", defaultValue = "100000",
            description = "Scopes of the spread workloads (default: ${DEFAULT-VALUE}).")
    private int scopes;

    @Option(names = "--calls", paramLabel = "N", defaultValue = "1000000",
            description = "Calls of row memory (default: ${DEFAULT-VALUE}).")
    private long calls;

    @Option(names = "--minutes", paramLabel = "N", defaultValue = "20",
            description = "Length of row soak (default: ${DEFAULT-VALUE}).")
    private double minutes;

    @Option(names = "--redis", paramLabel = "URL",
            description = "A running Redis; otherwise redis-server is started.")
    private @Nullable String redisUrl;

    @Option(names = "--long", description = "All rows; ledger and scopes up to 10 million.")
    private boolean longRun;

    @Option(names = "--out", paramLabel = "FILE", defaultValue = "target/bench/results.json",
            description = "Where the figures go (default: ${DEFAULT-VALUE}); cost.json and the"
                    + " charts go beside it.")
    private Path out;

    @Option(names = {"-h", "--help"}, usageHelp = true, description = "Says this.")
    private boolean help;

    private final Map<Line, Series> lines = new LinkedHashMap<>();
    private final List<Map<Line, Series>> rows = new ArrayList<>();
    private final List<String> targets = new ArrayList<>();
    private final Map<Double, Door> doors = new LinkedHashMap<>();
    private @Nullable RedisServer redis;

    /** Measures, prints a table, writes the results. */
    public static void main(String[] args) {
        // threads of others must not keep the program alive
        System.exit(new CommandLine(new Bench()).execute(args));
    }

    @Override
    public Integer call() throws Exception {
        check();
        if (list) {
            Rows.all().forEach(row -> output().printf("%-15s %s%n", row.name(), row.lines()));
            SPECIAL.forEach(output()::println);
            return 0;
        }
        String server = System.getProperty("pgquota.test.postgres", "embedded");
        try (PostgresServer postgres = PostgresServer.start(server);
                Stage stage = Stage.create(postgres, "main", scopes)) {
            return measure(stage);
        }
    }

    private void check() {
        List<String> known = new ArrayList<>(SPECIAL);
        Rows.all().forEach(row -> known.add(row.name()));
        if (names != null && !known.containsAll(names)) {
            throw new ParameterException(spec.commandLine(), "rows are " + known);
        }
        if (kind != null && !List.of(Line.PLATFORM, Line.VIRTUAL, Line.ASYNC).contains(kind)) {
            throw new ParameterException(spec.commandLine(), "kinds are platform, virtual, async");
        }
        if (callers != null && callers < 1 || rtt != null && !(rtt >= 0)
                || rounds < 1 || scopes < Stage.TENANTS || calls < 10 || !(seconds > 0)
                || !(minutes > 0)) {
            throw new ParameterException(spec.commandLine(), "callers and rounds are at least 1,"
                    + " scopes at least " + Stage.TENANTS
                    + ", calls at least 10, seconds and minutes above 0, rtt not below 0");
        }
    }

    /** Measures on a stage that is ready. Returns the exit status. */
    int measure(Stage stage) throws Exception {
        output().println(Machine.describe(stage));
        try {
            for (Row row : Rows.all()) {
                if (asked(row.name(), row.inShortRun())) {
                    run(stage, row.with(callers, kind, rtt, paths));
                }
            }
            crowd(stage);
            ledger(stage);
            scopes(stage);
            soak(stage);
            memory(stage);
        } catch (VoidRoundException e) {
            say("A round is void, so nothing was written. " + e.getMessage());
            return 1;
        } finally {
            close();
        }
        Results.table(output(), lines.values());
        output().println();
        targets.forEach(output()::println);
        output().flush();
        Results.write(out, lines.values());
        Results.writeCost(out.resolveSibling("cost.json"), lines.values());
        Chart.write(out.toAbsolutePath().getParent(), rows);
        return 0;
    }

    private boolean asked(String name, boolean inShortRun) {
        return names == null ? inShortRun || longRun : names.contains(name);
    }

    private void run(Stage stage, Row row) throws Exception {
        Map<Line, Contender> contenders = new LinkedHashMap<>();
        for (Line line : row.lines()) {
            try {
                contenders.put(line, contender(stage, line, contenders));
            } catch (NotRunException e) {
                targets.add("not run " + line + ": " + e.getMessage());
            }
        }
        stage.settleDown();
        Map<Line, Series> measured;
        try {
            measured = run(List.copyOf(contenders.values()));
        } finally {
            contenders.values().forEach(Contender::close);
        }
        for (Row.Goal goal : row.goals()) {
            Target target = goal.target(row, measured);
            if (target != null) {
                targets.add(target.toString());
            }
        }
    }

    /** A path's name may end in how it is called, if not by all callers of this process. */
    private Contender contender(Stage stage, Line line, Map<Line, Contender> before)
            throws Exception {
        Matcher processes = PROCESSES.matcher(line.path());
        Door door = door(stage, line.rttMillis());
        if (processes.matches()) {
            Contender.Local here = door.contender(line.path(processes.group(1)));
            Children children =
                    new Children(line, here, stage, Integer.parseInt(processes.group(2)));
            children.warmUp(slice());
            return children;
        }
        if (line.path().endsWith(HALF)) {
            Line whole = line.path(line.path().replace(HALF, ""));
            if (before.get(whole) instanceof Contender.Local closed) {
                return closed.half(line);
            }
            throw new NotRunException("its whole load is not measured before");
        }
        return door.contender(line);
    }

    private Door door(Stage stage, double rttMillis) throws Exception {
        Door door = doors.get(rttMillis);
        if (door == null) {
            door = new Door(stage, this::redis, rttMillis);
            doors.put(rttMillis, door);
        }
        return door;
    }

    private RedisServer redis() {
        if (redis == null) {
            redis = RedisServer.open(redisUrl);
            output().println(redis);
        }
        return redis;
    }

    private void close() {
        doors.values().forEach(Door::close);
        if (redis != null) {
            redis.close();
        }
    }

    private void ledger(Stage stage) throws Exception {
        if (asked("ledger", false)) {
            List<Long> sizes = new ArrayList<>(LEDGERS);
            if (longRun) {
                sizes.add(LONG_LEDGER);
            }
            say("filling ledgers");
            try (Sizes ledgers = Sizes.ledgers(
                    stage.server(), scopes, callers(), path(), sizes)) {
                compare(0.9, ledgers);
            }
        }
    }

    private void scopes(Stage stage) throws Exception {
        if (asked("scopes", false)) {
            say("opening windows");
            try (Sizes sizes = Sizes.scopes(stage.server(), callers(), path(),
                    List.of(scopes, scopes * MORE_SCOPES))) {
                compare(0.8, sizes);
            }
        }
    }

    /** Every size against the smallest. */
    private void compare(double least, Sizes sizes) throws Exception {
        Map<Line, Series> measured = run(sizes.contenders());
        Series smallest = measured.values().iterator().next();
        measured.values().stream().skip(1).forEach(larger -> targets.add(Target.atLeast(
                least, larger.line() + " : " + smallest.line(),
                larger.ratio(Figure.RATE, smallest, Figure.RATE)).toString()));
    }

    private void memory(Stage stage) throws Exception {
        if (!asked("memory", false)) {
            return;
        }
        say("calling, to see what memory is kept");
        stage.stopFlushing();
        try (Door door = new Door(stage, this::redis, 0)) {
            List<Memory.Reading> readings = Memory.measure(door, calls / 10, calls / 2, calls);
            String words = readings.stream().map(Memory.Reading::toString)
                    .collect(Collectors.joining(", "));
            double growth = readings.get(2).megabytes() - readings.get(0).megabytes();
            targets.add(Target.atMost(MOST_GROWTH, "MB more heap; " + words, Spread.of(growth))
                    .toString());
        }
    }

    private void crowd(Stage stage) throws Exception {
        if (asked("crowd", true)) {
            List<Series> parts = new ArrayList<>();
            add(Crowd.run(door(stage, 0), rounds, slice(), spec.commandLine().getErr(), parts),
                    parts);
        }
    }

    private void soak(Stage stage) throws Exception {
        if (asked("soak", false)) {
            List<Series> parts = new ArrayList<>();
            add(Soak.run(stage.server(), callers(), path(), Duration.ofNanos(
                            Math.round(minutes * 60e9)), spec.commandLine().getErr(), parts),
                    parts);
        }
    }

    private void add(List<Target> figures, List<Series> parts) {
        figures.forEach(figure -> targets.add(figure.toString()));
        parts.forEach(part -> lines.put(part.line(), part));
    }

    private int callers() {
        return callers == null ? MANY : callers;
    }

    private String path() {
        return paths == null ? "combined" : paths.get(0);
    }

    private Map<Line, Series> run(List<? extends Contender> contenders) throws Exception {
        Map<Line, Series> measured = Match.run(
                contenders, WARM_UPS, rounds, slice(), spec.commandLine().getErr());
        rows.add(measured);
        // who is in several rows has a line of all his rounds
        measured.forEach((line, series) -> lines.computeIfAbsent(line, Series::new)
                .rounds().addAll(series.rounds()));
        return measured;
    }

    private Duration slice() {
        return Duration.ofNanos(Math.round(seconds * 1e9));
    }

    private PrintWriter output() {
        return spec.commandLine().getOut();
    }

    private void say(String words) {
        spec.commandLine().getErr().println(words);
        spec.commandLine().getErr().flush();
    }
}
