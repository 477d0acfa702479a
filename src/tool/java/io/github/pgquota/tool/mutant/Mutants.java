package io.github.pgquota.tool.mutant;

import io.github.pgquota.tool.PostgresServer;
import io.github.pgquota.tool.PostgresServer.Durability;
import io.github.pgquota.tool.mutant.Mutant.BrokenException;
import io.github.pgquota.tool.mutant.Suite.End;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/** Takes the library's guards away, one at a time, and runs the tests: {@code -Pmutants}. */
@Command(
        name = "mutants",
        description = "Takes each guard of engine and client away, one at a time, and shows that a"
                + " test fails. Exit status: 0, 1 if one was missed by all tests, 2 for bad usage,"
                + " for tests that fail without any, and for one that proves nothing.",
        sortOptions = false)
public final class Mutants implements Callable<Integer> {

    private static final Duration LONG_LIMIT = Duration.ofMinutes(40);

    /** They compare texts with what was generated, or say how it looks: any change is one. */
    private static final Set<String> OF_TEXTS = Set.of("GeneratedTest", "SchemaDumpTest",
            "TidyTest", "HouseTest", "ReadmeTest");

    /** Lincheck wants a JVM of its own; who needs it names it. */
    private static final String LINCHECK = "CallQueueModelTest";

    @Spec
    private CommandSpec spec;

    @Option(names = "--only", paramLabel = "NAME", split = ",",
            description = "Only these, by their names or how those begin.")
    private List<String> only = List.of();

    @Option(names = "--named", description = "Only the tests that the list names for each.")
    private boolean named;

    @Option(names = "--json", paramLabel = "OUT", description = "A file for what came of each.")
    private @Nullable Path json;

    @Option(names = {"-h", "--help"}, usageHelp = true, description = "Says this.")
    private boolean help;

    private final List<Outcome> outcomes = new ArrayList<>();

    /** What became of a mutant. Hung is not seen: its tests had no end in their time. */
    private enum Verdict { SEEN, HUNG, MISSED, BROKEN }

    private record Outcome(Mutant mutant, Verdict verdict, @Nullable String test,
            @Nullable String said, double seconds) {}

    /** Runs it. */
    public static void main(String[] args) {
        System.exit(new CommandLine(new Mutants()).execute(args));
    }

    @Override
    public Integer call() throws Exception {
        List<Mutant> mutants = Mutant.all().stream()
                .filter(m -> only.isEmpty() || only.stream().anyMatch(m.name()::startsWith))
                .toList();
        if (mutants.isEmpty()) {
            throw new ParameterException(spec.commandLine(), "no mutant has such a name");
        }
        Path folder = Files.createTempDirectory("pgquota-mutants");
        say("%d mutants in %s", mutants.size(), folder);
        Tree tree = new Tree(Path.of(""), folder);
        String kind = System.getProperty("pgquota.test.postgres", "embedded");
        try (PostgresServer server = PostgresServer.start(kind, Durability.FAST)) {
            Suite suite = new Suite(tree, server.loginUrl("postgres"));
            Set<String> tests = new LinkedHashSet<>();
            mutants.forEach(m -> tests.addAll(m.tests()));
            Suite.Result whole = suite.run(tests, LONG_LIMIT,
                    folder.resolve("unchanged.log"));
            if (whole.end() != End.PASSED) {
                say("the tests fail without a mutant: %s: %s", whole.test(), whole.said());
                return 2;
            }
            say("without a mutant %d tests pass", whole.tests());
            for (Mutant mutant : mutants) {
                // what tests share, such as a start, is in no test's time
                Duration limit = Duration.ofMinutes(1)
                        .plusSeconds((long) (3 * whole.seconds(mutant.tests())));
                outcomes.add(tried(mutant, limit, tree, suite, server));
                say("%s", line(outcomes.get(outcomes.size() - 1)));
            }
        }
        return report();
    }

    private Outcome tried(Mutant mutant, Duration limit, Tree tree, Suite suite,
            PostgresServer server) throws IOException, InterruptedException {
        long start = System.nanoTime();
        Verdict verdict;
        Suite.Result result = null;
        try {
            tree.make(mutant);
            if (mutant.isSql()) {
                tree.migrate(server, "pgquota_mutant");
            }
            Path log = tree.folder().resolve(mutant.name() + ".log");
            result = suite.run(mutant.tests(), limit, log);
            if (result.end() == End.PASSED && !named) {
                say("%s is not seen by %s: all tests now", mutant.name(), mutant.tests());
                result = suite.run(others(tree), LONG_LIMIT, log);
            }
            verdict = switch (result.end()) {
                case PASSED -> Verdict.MISSED;
                case FAILED -> Verdict.SEEN;
                case HUNG -> Verdict.HUNG;
            };
        } catch (BrokenException e) {
            verdict = Verdict.BROKEN;
            result = new Suite.Result(End.FAILED, 0, null, e.getMessage(), Map.of());
        }
        return new Outcome(mutant, verdict, result.test(), result.said(),
                (System.nanoTime() - start) / 1e9);
    }

    /** All tests but those that prove nothing. */
    private static List<String> others(Tree tree) throws IOException {
        return tree.tests().stream()
                .filter(name -> !OF_TEXTS.contains(name) && !name.equals(LINCHECK)).toList();
    }

    private int report() throws IOException {
        for (Verdict verdict : Verdict.values()) {
            List<Outcome> such = outcomes.stream().filter(o -> o.verdict() == verdict).toList();
            say("%s: %d", word(verdict), such.size());
            if (verdict != Verdict.SEEN) {
                such.forEach(o -> say("  %s: %s", o.mutant().name(), o.mutant().guard()));
            }
        }
        if (json != null) {
            try (OutputStream out = Files.newOutputStream(json)) {
                write(out);
            }
        }
        return has(Verdict.MISSED) ? 1 : has(Verdict.BROKEN) ? 2 : 0;
    }

    private boolean has(Verdict verdict) {
        return outcomes.stream().anyMatch(o -> o.verdict() == verdict);
    }

    private static String line(Outcome o) {
        return String.format(Locale.ROOT, "%-7s %-36s %5.0f s  %s", word(o.verdict()),
                o.mutant().name(), o.seconds(), o.verdict() == Verdict.MISSED ? ""
                : o.test() == null ? o.said() : o.test() + ": " + o.said());
    }

    private static String word(Verdict verdict) {
        return verdict.name().toLowerCase(Locale.ROOT);
    }

    private void write(OutputStream out) {
        try (JsonGenerator json = new JsonFactory().createGenerator(
                ObjectWriteContext.empty(), out)) {
            json.writeStartArray();
            for (Outcome outcome : outcomes) {
                json.writeStartObject();
                json.writeStringProperty("name", outcome.mutant().name());
                json.writeStringProperty("guard", outcome.mutant().guard());
                json.writeStringProperty("file", outcome.mutant().file());
                json.writeStringProperty("verdict", word(outcome.verdict()));
                json.writeStringProperty("test", outcome.test());
                json.writeStringProperty("said", outcome.said());
                json.writeNumberProperty("seconds", outcome.seconds());
                json.writeEndObject();
            }
            json.writeEndArray();
        }
    }

    private void say(String format, @Nullable Object... values) {
        spec.commandLine().getErr().printf(Locale.ROOT, format + "%n", values);
        spec.commandLine().getErr().flush();
    }
}
