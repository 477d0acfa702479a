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
    private static final long SEED = Long.getLong("pgquota.model.seed", 20_261_124);
    /** A session has its own clock and a program its own tenants, so two can run at once. */
    private static final int SESSIONS = 2;

    private final AtomicInteger next = new AtomicInteger();

    @Test
    void engineDoesWhatTheModelDoes() throws Exception {
        System.out.println("ModelTest: " + PROGRAMS + " programs from seed " + SEED);
        ExecutorService threads = Executors.newFixedThreadPool(SESSIONS);
        try (TestDatabase database = TestDatabase.create()) {
            try (Connection connection = database.connection()) {
                SqlAdministration.prepare(connection);
            }
            Callable<@Nullable String> session = () -> session(database);
            List<Future<@Nullable String>> sessions =
                    threads.invokeAll(java.util.Collections.nCopies(SESSIONS, session));
            for (Future<@Nullable String> failure : sessions) {
                assertThat(failure.get()).isNull();
            }
            assertThat(next).hasValueGreaterThanOrEqualTo(PROGRAMS);
        } finally {
            threads.shutdownNow();
        }
    }

    /** Runs programs until there are no more, or one fails; then tells which and how. */
    private @Nullable String session(TestDatabase database) throws Exception {
        try (HikariDataSource one = database.pool(1);
                Quotas quotas = Quotas.on(one).build()) {
            try (Connection connection = one.getConnection();
                    var statement = connection.createStatement()) {
                statement.execute("set statement_timeout = '10s'");
            }
            for (int i = next.getAndIncrement(); i < PROGRAMS; i = next.getAndIncrement()) {
                Generator generator = new Generator(SEED + i);
                Instant start = generator.start();
                List<Step> steps = generator.program();
                if (Program.difference(one, quotas, start, steps) != null) {
                    next.set(PROGRAMS);
                    List<Step> few = shrink(one, quotas, start, steps);
                    return "seed " + (SEED + i) + ", from " + start + "\n"
                            + few.stream().map(s -> "  " + s).collect(Collectors.joining("\n"))
                            + "\n"
                            + Program.difference(one, quotas, start, few);
                }
            }
            return null;
        }
    }

    /** Drops steps and parts of steps for as long as the program still fails. */
    private static List<Step> shrink(HikariDataSource one, Quotas quotas, Instant start,
            List<Step> steps)
            throws Exception {
        List<Step> best = steps;
        for (boolean smaller = true; smaller; ) {
            smaller = false;
            for (List<Step> candidate : smaller(best)) {
                if (fails(one, quotas, start, candidate)) {
                    best = candidate;
                    smaller = true;
                    break;
                }
            }
        }
        return best;
    }

    private static boolean fails(HikariDataSource one, Quotas quotas, Instant start,
            List<Step> steps) {
        try {
            return Program.difference(one, quotas, start, steps) != null;
        } catch (Exception e) {
            return false; // it makes no sense any longer: a tenant of a plan that is not published
        }
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
