package io.github.pgquota.model;

import static org.assertj.core.api.Assertions.assertThat;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.Quotas;
import io.github.pgquota.TestDatabase;
import java.sql.Connection;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/**
 * Random programs of all verbs, plan changes and clock steps, on the engine and on a model in
 * memory: all answers and errors must be the same, and at the end all rows.
 *
 * <p>{@code -Dpgquota.model.programs=N} runs that many; {@code -Dpgquota.model.seed=S} begins with
 * that one, so with {@code programs=1} it runs again what has failed.
 */
class ModelTest {

    private static final int PROGRAMS = Integer.getInteger("pgquota.model.programs", 1000);
    private static final int LISTS = Integer.getInteger("pgquota.model.programs", 250);
    private static final long SEED = Long.getLong("pgquota.model.seed", 20_261_124);
    /** A session has its own clock and a program its own tenants, so two can run at once. */
    private static final int SESSIONS = 2;

    @Test
    void engineDoesWhatTheModelDoes() throws Exception {
        run(PROGRAMS, Generator::program);
    }

    /** Each program is about ten lists of up to thirty calls of all verbs. */
    @Test
    void engineDecidesListsAsTheModelDoes() throws Exception {
        run(LISTS, Generator::lists);
    }

    private static void run(int programs, Function<Generator, List<Step>> kind) throws Exception {
        System.out.println("ModelTest: " + programs + " programs from seed " + SEED);
        AtomicInteger next = new AtomicInteger();
        ExecutorService threads = Executors.newFixedThreadPool(SESSIONS);
        try (TestDatabase database = TestDatabase.create()) {
            SqlAdministration.prepare(database);
            Callable<@Nullable String> session = () -> session(database, programs, next, kind);
            List<Future<@Nullable String>> sessions =
                    threads.invokeAll(java.util.Collections.nCopies(SESSIONS, session));
            for (Future<@Nullable String> failure : sessions) {
                assertThat(failure.get()).isNull();
            }
            assertThat(next).hasValueGreaterThanOrEqualTo(programs);
        } finally {
            threads.shutdownNow();
        }
    }

    /** Runs programs until there are no more, or one fails; then tells which and how. */
    private static @Nullable String session(TestDatabase database, int programs,
            AtomicInteger next, Function<Generator, List<Step>> kind)
            throws Exception {
        try (HikariDataSource one = database.pool(1);
                HikariDataSource other = database.pool(1);
                Quotas quotas = Quotas.on(one).build()) {
            for (HikariDataSource pool : List.of(one, other)) {
                try (Connection connection = pool.getConnection();
                        var statement = connection.createStatement()) {
                    statement.execute("set statement_timeout = '10s'");
                }
            }
            Program.Session session = new Program.Session(one, other, quotas);
            for (int i = next.getAndIncrement(); i < programs; i = next.getAndIncrement()) {
                Generator generator = new Generator(SEED + i);
                Instant start = generator.start();
                List<Step> steps = kind.apply(generator);
                String difference = difference(session, start, steps);
                if (difference != null) {
                    next.set(programs);
                    List<Step> few = shrink(session, start, steps, difference);
                    return "seed " + (SEED + i) + ", from " + start + "\n"
                            + few.stream().map(s -> "  " + s).collect(Collectors.joining("\n"))
                            + "\n" + difference(session, start, few)
                            + "\nat first: " + difference;
                }
            }
            return null;
        }
    }

    /** An unexpected exception is a difference too. */
    private static @Nullable String difference(Program.Session session, Instant start,
            List<Step> steps) {
        try {
            return Program.difference(session, start, steps);
        } catch (Exception e) {
            return e.toString();
        }
    }

    /** Drops steps and parts of steps for as long as the program still fails. */
    private static List<Step> shrink(Program.Session session, Instant start, List<Step> steps,
            String difference) {
        List<Step> best = steps;
        for (boolean smaller = true; smaller; ) {
            smaller = false;
            for (List<Step> candidate : smaller(best)) {
                if (kind(difference(session, start, candidate)).equals(kind(difference))) {
                    best = candidate;
                    smaller = true;
                    break;
                }
            }
        }
        return best;
    }

    /** Not every failure is the one: a tenant of a plan that is not published makes no sense. */
    private static String kind(@Nullable String difference) {
        if (difference != null && difference.startsWith("step ")) {
            return Pattern.compile("(model|engine): +\\w+").matcher(difference).results()
                    .map(MatchResult::group).collect(Collectors.joining(", "));
        }
        return difference == null ? "none"
                : difference.substring(0, Math.min(60, difference.length()));
    }

    private static List<List<Step>> smaller(List<Step> steps) {
        List<List<Step>> candidates = new ArrayList<>();
        for (int i = steps.size() - 1; i >= 0; i--) {
            candidates.add(with(steps, i, List.of()));
        }
        IntStream.range(0, steps.size()).forEach(i -> steps.get(i).smaller()
                .forEach(step -> candidates.add(with(steps, i, List.of(step)))));
        return candidates;
    }

    private static List<Step> with(List<Step> steps, int index, List<Step> instead) {
        List<Step> changed = new ArrayList<>(steps.subList(0, index));
        changed.addAll(instead);
        changed.addAll(steps.subList(index + 1, steps.size()));
        return changed;
    }
}
