package io.github.pgquota.tool.demo;

import io.github.pgquota.Plan;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Quotas;
import io.github.pgquota.Schema;
import io.github.pgquota.Scope;
import io.github.pgquota.tool.demo.Job.Holds;
import io.github.pgquota.tool.demo.NaiveWays.Way;
import java.io.IOException;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Replays a trace of LLM calls under quotas, and proves that none was exceeded. */
@Command(
        name = "replay",
        sortOptions = false,
        usageHelpAutoWidth = true,
        description = {
            "Replays a trace of LLM calls under quotas, from many callers at once, and proves that"
                + " no limit was exceeded and no call lost.",
            "Exit status: 0 if all promises were kept, 1 if one was broken, 2 for bad usage or a"
                + " bad file, 3 if it could not be finished."
        })
public final class Replay implements Callable<Integer> {

    /** Neither a broken promise nor the user's fault: the server went away, for example. */
    private static final int UNFINISHED = 3;

    private static final int MOST_CONNECTIONS = 32;
    private static final int MOST_CALLERS = 5_000;
    private static final int MOST_TENANTS = 100_000;

    @Spec
    @SuppressWarnings("NullAway")
    private CommandSpec spec;

    @Parameters(
            paramLabel = "FILE",
            arity = "0..1",
            description = "A CSV file: TIMESTAMP,ContextTokens,GeneratedTokens[,tenant]."
                    + " Without it, a sample is made.")
    private @Nullable Path file;

    @Option(names = "--tenants", paramLabel = "N", defaultValue = "8",
            description = "Deals the calls to so many tenants in turn (${DEFAULT-VALUE}),"
                    + " if the trace names none.")
    private int tenants;

    @Option(names = "--callers", paramLabel = "N", defaultValue = "64",
            description = "Callers at the same time (${DEFAULT-VALUE}).")
    private int callers;

    @Option(names = "--plan", paramLabel = "NAME", defaultValue = PlanBook.MIX,
            description = "The plan of all tenants: FREE, STARTER, PRO, UNLIMITED or one of"
                    + " --plans; mix gives them out in turn (${DEFAULT-VALUE}).")
    private String plan = PlanBook.MIX;

    @Option(names = "--plans", paramLabel = "YAML", description = "Takes the plans from a file.")
    private @Nullable Path plans;

    @Option(names = "--reserve",
            description = "Calls hold an estimate, and settle what they really took.")
    private boolean reserve;

    @Option(names = "--ceiling", paramLabel = "N", defaultValue = "2048",
            description = "With --reserve: tokens that an answer is expected to have at most"
                    + " (${DEFAULT-VALUE}). What goes above it may be overage.")
    private long ceiling;

    @Option(names = "--killed", paramLabel = "PERCENT", defaultValue = "2",
            description = "With --reserve: callers that die before they settle"
                    + " (${DEFAULT-VALUE}).")
    private int killed;

    @Option(names = "--ttl", paramLabel = "SECONDS", defaultValue = "5",
            description = "With --reserve: how long a hold lives (${DEFAULT-VALUE}).")
    private int seconds;

    @Option(names = "--no-naive",
            description = "Leaves out the two ways of counting that fail.")
    private boolean noNaive;

    @Option(names = "--url", paramLabel = "JDBC",
            description = "Uses this database instead of a server of its own. Makes the schema"
                    + " pgquota and its roles if they are missing; this run's plans and tenants"
                    + " (replay-...) stay in it.")
    private @Nullable String url;

    @Option(names = "--user", paramLabel = "NAME", description = "Of the database at --url.")
    private @Nullable String user;

    @Option(names = "--password", paramLabel = "WORD",
            description = "Of that user; the environment's PGPASSWORD by default.")
    private @Nullable String password;

    @Option(names = "--json", paramLabel = "OUT", description = "Writes the figures to a file.")
    private @Nullable Path json;

    @Option(names = {"-h", "--help"}, usageHelp = true, description = "Shows this.")
    private boolean help;

    /** Runs it and ends the JVM with its status. */
    public static void main(String[] args) {
        Charset charset = System.console() == null
                ? StandardCharsets.UTF_8 : System.console().charset();
        System.exit(run(args,
                new PrintWriter(new OutputStreamWriter(System.out, charset), true),
                new PrintWriter(new OutputStreamWriter(System.err, charset), true)));
    }

    /** Runs it: {@code replay FILE --option …}, or nothing for the sample. Returns the status. */
    static int run(String[] args, PrintWriter out, PrintWriter err) {
        String[] rest = args.length > 0 && args[0].equals("replay")
                ? Arrays.copyOfRange(args, 1, args.length) : args;
        return new CommandLine(new Replay())
                .setOut(out)
                .setErr(err)
                .setExpandAtFiles(false)
                .setParameterExceptionHandler((e, wrong) -> misused(e.getMessage(), err))
                .setExecutionExceptionHandler((e, command, parsed) -> failed(e, err))
                .execute(rest);
    }

    private static int failed(Exception e, PrintWriter err) {
        if (e instanceof BadInput || e instanceof QuotaException.InvalidFile
                || e instanceof QuotaException.SchemaMismatch
                || e instanceof QuotaException.Forbidden) {
            err.println("replay: " + BadInput.shown(e.getMessage()));
            return CommandLine.ExitCode.USAGE;
        }
        err.println("replay: could not be finished: " + e.getMessage());
        for (Throwable cause = e.getCause(); cause != null; cause = cause.getCause()) {
            err.println("  because: " + cause.getMessage());
        }
        return UNFINISHED;
    }

    private static int misused(String message, PrintWriter err) {
        err.println("replay: " + BadInput.shown(message));
        err.println("(replay --help lists the options)");
        return CommandLine.ExitCode.USAGE;
    }

    @Override
    public Integer call() throws Exception {
        checkOptions();
        PlanBook book = plans == null ? PlanBook.builtIn() : PlanBook.read(plans);
        List<Plan> chosen = book.chosen(plan);
        if (file != null) {
            return replay(TraceReader.read(file), book, chosen);
        }
        Path sample = Files.createTempFile("sample-trace", ".csv");
        try {
            Sample.write(sample, Sample.CALLS);
            Trace trace = TraceReader.read(sample);
            return replay(new Trace("sample", trace.calls(), false), book, chosen);
        } finally {
            Files.delete(sample);
        }
    }

    private void checkOptions() {
        range("--tenants", tenants, 1, MOST_TENANTS);
        range("--callers", callers, 1, MOST_CALLERS);
        range("--ceiling", ceiling, 0, 1L << 62);
        range("--killed", killed, 0, 100);
        range("--ttl", seconds, 1, 3_600);
        if (url == null && (user != null || password != null)) {
            throw new BadInput("--user and --password belong to --url");
        }
        for (String option : List.of("--ceiling", "--killed", "--ttl")) {
            if (!reserve && given(option)) {
                throw new BadInput(option + " belongs to --reserve");
            }
        }
        if (json != null) {
            checkWritable(json, file);
        }
    }

    private boolean given(String option) {
        return spec.commandLine().getParseResult().hasMatchedOption(option);
    }

    private static void range(String option, long value, long least, long most) {
        if (value < least || value > most) {
            throw new BadInput(option + " " + value + " must be between " + least + " and " + most);
        }
    }

    /** Better now than after the replay. */
    private static void checkWritable(Path out, @Nullable Path trace) {
        boolean there = Files.exists(out);
        try {
            if (there && trace != null && Files.exists(trace) && Files.isSameFile(out, trace)) {
                throw new BadInput("--json " + out + " is the trace itself");
            }
            Files.newOutputStream(out, StandardOpenOption.CREATE, StandardOpenOption.APPEND)
                    .close();
            if (!there) {
                Files.delete(out);
            }
        } catch (IOException e) {
            throw new BadInput("--json " + out + " cannot be written: " + e);
        }
    }

    private int replay(Trace trace, PlanBook book, List<Plan> chosen) throws Exception {
        chosen.forEach(p -> PlanBook.notes(p).forEach(this::say));
        say("trace " + trace.name() + ": " + Screen.count(trace.calls().size(), "call"));
        int connections = Math.min(callers, MOST_CONNECTIONS);
        String word = password == null ? System.getenv("PGPASSWORD") : password;
        try (Target target = url == null
                ? Target.own(connections) : Target.of(url, user, word, connections)) {
            say(target.description());
            Job job = job(trace, book, chosen, target.prefix());
            ReplayReport report = run(job, target);
            Screen.print(spec.commandLine().getOut(), report);
            if (json != null) {
                write(report, json);
            }
            report.proof().broken().forEach(b -> say("BROKEN: " + b));
            return report.proof().broken().isEmpty() ? 0 : 1;
        }
    }

    private static void write(ReplayReport report, Path out) {
        try {
            Json.write(report, Files.newOutputStream(out));
        } catch (IOException | tools.jackson.core.JacksonException e) {
            throw new BadInput("--json " + out + " cannot be written: " + e.getMessage());
        }
    }

    private Job job(Trace trace, PlanBook book, List<Plan> chosen, String prefix) {
        List<String> names = names(trace);
        // A plan that was asked for by name is everybody's.
        boolean asked = given("--plan");
        List<Tenant> all = new ArrayList<>();
        int assigned = 0;
        for (int i = 0; i < names.size(); i++) {
            String name = prefix + names.get(i);
            try {
                Scope.of(name);
            } catch (QuotaException.Invalid e) {
                throw new BadInput("tenant \"" + names.get(i) + "\": with this run's prefix, "
                        + e.getMessage());
            }
            Optional<Plan> own = asked ? Optional.empty() : book.assignedTo(names.get(i));
            assigned += own.isPresent() ? 1 : 0;
            all.add(new Tenant(name, own.orElse(chosen.get(i % chosen.size()))));
        }
        if (book.hasMore()) {
            say(plans + ": only its plans are used" + (assigned == 0 ? ""
                    : ", and the plan it gives to " + Screen.count(assigned, "tenant")));
        }
        Holds holds = reserve ? new Holds(ceiling, Duration.ofSeconds(seconds), killed) : null;
        return new Job(trace, all, Job.deal(trace, names), callers, holds);
    }

    private List<String> names(Trace trace) {
        if (trace.namesTenants()) {
            LinkedHashSet<String> names = new LinkedHashSet<>();
            trace.calls().forEach(c -> names.add(c.tenantOrNull()));
            if (given("--tenants")) {
                say("--tenants is not used: the trace names " + names.size());
            }
            return List.copyOf(names);
        }
        int width = String.valueOf(tenants).length();
        List<String> names = new ArrayList<>();
        for (int i = 1; i <= tenants; i++) {
            names.add("tenant-" + "0".repeat(width - String.valueOf(i).length()) + i);
        }
        return names;
    }

    private ReplayReport run(Job job, Target target) throws Exception {
        Schema.of(target.pool()).migrate();
        int calls = job.trace().calls().size();
        Statements statements = new Statements(target.pool());
        try (Quotas quotas = Quotas.on(statements.counted()).build()) {
            Setup.run(quotas.plans("replay", null), job.tenants(), target.prefix(),
                    Math.min(job.callers(), MOST_CONNECTIONS));
            Instant since = Holding.now(target.pool()).minus(Duration.ofHours(1));
            Duration duration;
            long before = statements.number().get();
            try (Progress progress = Progress.of("replay", calls)) {
                duration = Replayer.run(job, quotas, progress);
            }
            long sent = statements.number().get() - before;
            if (job.holdsOrNull() != null) {
                say("waiting for the holds of killed callers to expire");
                Holding.awaitExpiry(target.pool(), job);
                Holding.clearUp(quotas);
            }
            Figures figures = Figures.read(target.pool(), job.tenants(), since);
            Proof proof = Proof.of(job, figures);
            Long naive = null;
            Long transaction = null;
            if (!noNaive) {
                naive = naive(job, target, Way.CHECK_THEN_INCREMENT);
                transaction = naive(job, target, Way.TRANSACTION);
            }
            return new ReplayReport(job, proof, duration, sent, naive, transaction,
                    figures.holds(), figures.held());
        }
    }

    private static long naive(Job job, Target target, Way way) throws Exception {
        int calls = job.trace().calls().size();
        return target.inOwnSchema(schema -> {
            try (Progress progress = Progress.of(way.task, calls)) {
                return NaiveWays.run(job, target.pool(), schema, way, progress);
            }
        });
    }

    private void say(String message) {
        spec.commandLine().getErr().println(message);
    }
}
