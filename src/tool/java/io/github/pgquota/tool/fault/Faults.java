package io.github.pgquota.tool.fault;

import io.github.pgquota.Schema;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Breaks everything around the library, and checks that nothing was lost: {@code -Pfaults}. */
@Command(
        name = "faults",
        description = "Several processes use quotas while network, server and processes fail; then"
                + " what they were told is compared with what the database holds. Exit status: 0,"
                + " 1 if something was lost or charged twice, 2 for bad usage.",
        sortOptions = false)
public final class Faults implements Callable<Integer> {

    static final List<String> TENANTS =
            Stream.concat(Customer.TENANTS.stream(), Stream.of(Customer.GATE)).toList();
    private static final long FIRST = 2_000;
    private static final int REST = 1_500;

    @Spec
    private CommandSpec spec;

    @Option(names = "--minutes", paramLabel = "N", defaultValue = "5",
            description = "How long (default: ${DEFAULT-VALUE}).")
    private double minutes;

    @Option(names = "--seed", paramLabel = "S",
            description = "What happens, and in which order, as far as that can be repeated.")
    private @Nullable Long seed;

    @Option(names = "--json", paramLabel = "OUT", description = "A file for the figures.")
    private @Nullable Path json;

    @Option(names = "--check", paramLabel = "FOLDER",
            description = "No run: the checks again, on the history of one that is kept there.")
    private @Nullable Path again;

    @Option(names = {"-h", "--help"}, usageHelp = true, description = "Says this.")
    private boolean help;

    private final Map<Trouble, List<Double>> recovery = new EnumMap<>(Trouble.class);

    /** Runs it. */
    public static void main(String[] args) {
        System.exit(new CommandLine(new Faults()).execute(args));
    }

    @Override
    public Integer call() throws Exception {
        if (!(minutes > 0)) {
            throw new ParameterException(spec.commandLine(), "minutes are above 0");
        }
        if (!Server.canBreak()) {
            throw new ParameterException(spec.commandLine(), Server.NEEDS);
        }
        if (again != null) {
            return check(again);
        }
        long used = seed == null ? System.nanoTime() : seed;
        Path folder = Files.createTempDirectory("pgquota-faults");
        say("seed %d, history in %s", used, folder);
        Server server = new Server("faults");
        try (Scene scene = new Scene(server, folder, used)) {
            List<String> stopped = new ArrayList<>();
            attempt(stopped, () -> {
                scene.start();
                trouble(scene);
            });
            attempt(stopped, scene::finish);
            return report(scene, server, folder, used, stopped);
        }
    }

    /** A run that fails is checked all the same, up to there. */
    private void attempt(List<String> stopped, Scene.Work work) {
        try {
            work.run();
        } catch (Exception e) {
            e.printStackTrace(spec.commandLine().getErr());
            stopped.add(e.toString());
        }
    }

    private int check(Path folder) throws IOException, SQLException {
        try (Server server = new Server("checked")) {
            Schema.of(server.postgres().dataSource("checked")).migrate();
            server.execute(Checker.resource("kept.sql"));
            try (Connection connection = server.connection()) {
                Kept.read(connection, folder);
            }
            Checker checker = new Checker(server);
            checker.load(folder);
            Map<String, Checker.Found> found = checker.check();
            Figures.print(found, spec.commandLine().getOut());
            return found.isEmpty() ? 0 : 1;
        }
    }

    private void trouble(Scene scene) throws Exception {
        long end = System.nanoTime() + (long) (minutes * TimeUnit.MINUTES.toNanos(1));
        List<Trouble> next = new ArrayList<>();
        Scene.last(FIRST);
        while (System.nanoTime() < end) {
            if (next.isEmpty()) {
                next.addAll(Arrays.asList(Trouble.values()));
                Collections.shuffle(next, scene.random());
            }
            Trouble trouble = next.remove(0);
            trouble.make(scene);
            double seconds = scene.untilAnswered() / 1e9;
            recovery.computeIfAbsent(trouble, t -> new ArrayList<>()).add(seconds);
            say("%-20s answered %.2f s after it", trouble, seconds);
            scene.pair().mend();
            if (scene.died() > 0) {
                throw new IllegalStateException("a process died by itself: see its log");
            }
            Scene.last(scene.random().nextInt(REST));
        }
    }

    private int report(Scene scene, Server server, Path folder, long used, List<String> stopped)
            throws IOException, SQLException {
        Checker checker = new Checker(server);
        checker.load(folder);
        checker.resolve(scene.quotas(), folder);
        scene.endHolds();
        try (Connection connection = server.connection()) {
            Kept.write(connection, folder);
        }
        Map<String, Checker.Found> found = checker.check();
        for (String tenant : TENANTS) {
            add(found, "ledger_differences: reconcile of " + tenant,
                    scene.quotas().reports().reconcile(tenant));
        }
        List<String> deadlocks = scene.deadlocks();
        add(found, "broken_promises: deadlocks, of which the servers' logs tell", deadlocks);
        add(found, "broken_promises: the run did not come to its end", stopped);
        Figures figures = new Figures(used, minutes,
                number(server, "select count(*) from history.asked"),
                number(server, "select count(*) from history.told where outcome = 'granted'"),
                number(server, "select count(*) from history.told where outcome = 'denied'"),
                checker.resolved(), recovery, deadlocks.size(), found);
        PrintWriter out = spec.commandLine().getOut();
        figures.print(out);
        out.printf(Locale.ROOT, "%,d calls were let through while the database was away%n",
                number(server, "select count(*) from history.told where outcome = 'away'"));
        out.printf(Locale.ROOT, "%d migrations and rounds of upkeep did not come to their end, as"
                + " calls or troubles kept them from it%n", scene.interrupted());
        out.println(scene.between());
        out.flush();
        if (json != null) {
            try (OutputStream file = Files.newOutputStream(json)) {
                figures.write(file);
            }
        }
        return found.isEmpty() ? 0 : 1;
    }

    private static void add(Map<String, Checker.Found> found, String what, List<?> rows) {
        if (!rows.isEmpty()) {
            found.put(what, new Checker.Found(rows.size(),
                    rows.stream().limit(Checker.SHOWN).map(Object::toString).toList()));
        }
    }

    private static long number(Server server, String sql) throws SQLException {
        return Long.parseLong(server.ask(sql));
    }

    private void say(String format, Object... values) {
        spec.commandLine().getErr().printf(Locale.ROOT, format + "%n", values);
        spec.commandLine().getErr().flush();
    }
}
