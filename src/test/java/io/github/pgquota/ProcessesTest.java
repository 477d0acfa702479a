package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * Three processes at once, each with hundreds of calls under way that are combined: all verbs, the
 * same tenants, tight limits, short windows. What must hold whoever came first.
 *
 * <p>{@code -Dpgquota.processes.bursts=N} lets each call sixty times as often, and
 * {@code -Dpgquota.processes.seed=S} something else.
 */
class ProcessesTest {

    private static final int PROCESSES = 3;
    private static final String BURSTS = System.getProperty("pgquota.processes.bursts", "60");
    private static final String SEED = System.getProperty("pgquota.processes.seed",
            String.valueOf(System.nanoTime()));

    private static World world;

    @BeforeAll
    static void call() throws Exception {
        System.out.println("ProcessesTest: seed " + SEED);
        world = World.create();
        Limit second = Limit.named("second").on("requests").level(1).capacity(40)
                .per(Window.aligned(Duration.ofSeconds(1))).billed(true).alertAt(50, 100);
        world.plan("short", second,
                Limit.named("user").on("requests").level(2).capacity(25)
                        .per(Window.fixed(Duration.ofSeconds(1))),
                Limit.named("all").on("requests").unlimited(),
                Limit.named("seen").on("requests").level(1).capacity(30)
                        .per(second.window()).mode(Limit.Mode.OBSERVE).alertAt(100),
                Limit.named("off").on("tokens").capacity(1).mode(Limit.Mode.OFF),
                Limit.named("tokens").on("tokens").level(1).capacity(3000).alertAt(1, 10, 50, 90));
        world.plan("tight", Limit.named("all").on("requests").capacity(300).alertAt(25, 50, 100),
                Limit.named("user").on("requests").level(2).capacity(45),
                Limit.named("tokens").on("tokens").capacity(2000).per(Window.month()));
        world.tenant("acme", "short").tenant("free", "short").tenant("beta", "tight");
        world.execute(Traffic.SAID);
        // sooner than a call gives up waiting for a lock, or the server would not look
        world.execute("alter database " + world.database().name()
                + " set deadlock_timeout = '20ms'");
        List<Process> processes = new ArrayList<>();
        for (int i = 1; i <= PROCESSES; i++) {
            processes.add(process(i));
        }
        for (Process process : processes) {
            assertThat(process.inputReader().readLine()).isEqualTo("ready");
        }
        for (Process process : processes) {
            process.getOutputStream().write('\n');
            process.getOutputStream().flush();
        }
        for (Process process : processes) {
            List<String> said = process.inputReader(StandardCharsets.UTF_8).lines().toList();
            assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
            assertThat(said).containsExactly("done");
        }
        // some counters of expired holds were asked by nobody since
        assertThat(world.quotas().upkeep().runOnce(Duration.ofMinutes(1)).finished()).isTrue();
    }

    private static Process process(int number) throws IOException {
        return new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp", System.getProperty("java.class.path"), Traffic.class.getName(),
                world.database().url(), TestDatabase.server().user(),
                TestDatabase.server().password(), String.valueOf(number), BURSTS, SEED)
                .redirectErrorStream(true).start();
    }

    @AfterAll
    static void close() {
        world.close();
    }

    @Test
    void allThatCanHappenHappened() {
        assertThat(world.rows("select distinct outcome from public.said order by 1"))
                .containsExactlyInAnyOrder("granted", "denied", "HoldEnded", "RefundTooLarge");
        assertThat(world.rows("select distinct verb from public.said where outcome = 'granted' "
                + "and not replayed order by 1")).containsExactly("check", "consume",
                "consume_up_to", "extend", "record", "refund", "release", "reserve", "settle");
        assertThat(world.count("select count(*) from public.said where replayed and key is "
                + "not null")).as("answers to keys that were answered").isPositive();
        assertThat(world.count("select count(*) from public.said where replayed and key is null"))
                .as("holds ended again").isPositive();
        assertThat(world.count("select count(*) from public.said where tenant = 'beta' "
                + "and limit_name = 'all' and used + held = capacity")).isPositive();
        assertThat(world.count("select count(distinct start_at) from pgquota.counter "
                + "where per = 'aligned:1'")).isGreaterThan(1);
    }

    @Test
    void limitsHold() {
        assertThat(world.rows("""
                select c.*, l.capacity from pgquota.counter c
                  join pgquota.tenant t using (tenant)
                  join pgquota.plan_limit l on l.plan = t.plan and l.meter = c.meter
                   and l.per = c.per and cardinality(string_to_array(c.scope, '/')) = l.level + 1
                 where c.tenant <> 'free' and l.mode = 'enforce' and c.used + c.held > l.capacity
                """)).as("counters").isEmpty();
        assertThat(world.rows("""
                select * from public.said s
                 where tenant <> 'free' and limit_name <> 'seen' and not replayed
                   and used + held > capacity
                """)).as("answers").isEmpty();
    }

    @Test
    void whatWasAcknowledgedIsWhatIsUsed() {
        assertThat(world.rows("""
                select c.scope, c.meter, c.per, c.start_at, l.name, c.used, sum(s.added)
                  from pgquota.counter c
                  join pgquota.tenant t using (tenant)
                  join pgquota.plan_limit l on l.plan = t.plan and l.meter = c.meter
                   and l.per = c.per and cardinality(string_to_array(c.scope, '/')) = l.level + 1
                   and l.mode <> 'off'
                  left join public.said s
                    on s.scope = c.scope and s.limit_name = l.name and s.outcome = 'granted'
                   and coalesce(s.start_at, '-infinity') = c.start_at and not s.replayed
                 group by c.tenant, c.id, l.name
                having c.used <> coalesce(sum(s.added), 0)
                """)).isEmpty();
        assertThat(world.rows("""
                select operation, count(*), count(distinct (process, call)) from public.said
                 where outcome = 'granted' and not replayed and verb <> 'check'
                 group by operation having count(distinct (process, call)) > 1
                """)).as("operations that were told twice").isEmpty();
        assertThat(world.rows("""
                select l.* from pgquota.ledger l
                 where not exists (select from public.said s
                                    where s.operation = l.operation and s.verb = l.verb)
                """)).as("entries of operations that nobody was told of").isEmpty();
        for (String tenant : List.of("acme", "beta", "free")) {
            assertThat(world.quotas().reports().reconcile(tenant)).isEmpty();
        }
        world.proof();
    }

    @Test
    void aKeyIsChargedOnceAndAHoldEndsOnce() {
        assertThat(world.rows("""
                select tenant, key, count(distinct operation), count(distinct (process, call))
                         filter (where not replayed)
                  from public.said where key is not null and outcome = 'granted'
                 group by tenant, key
                having count(distinct operation) > 1
                    or count(distinct (process, call)) filter (where not replayed) <> 1
                """)).as("keys").isEmpty();
        assertThat(world.rows("""
                select tenant, key from pgquota.operation_key
                except select tenant, key from public.said
                 where key is not null and outcome = 'granted'
                """)).as("keys that nobody was told of").isEmpty();
        assertThat(world.rows("""
                select about, count(distinct operation)
                  from public.said where verb in ('settle', 'release') and outcome = 'granted'
                 group by about
                having count(distinct operation) > 1
                    or count(distinct (process, call)) filter (where not replayed) <> 1
                """)).as("holds").isEmpty();
        assertThat(world.rows("""
                select ref, counter, count(*) from pgquota.ledger where verb = 'settle'
                 group by ref, counter having count(*) > 1
                """)).isEmpty();
    }

    @Test
    void aThresholdIsToldOnce() {
        String told = """
                select scope, limit_name, coalesce(start_at, '-infinity'), percent, operation
                  from public.said, unnest(crossed) percent where not replayed
                 order by 1, 2, 3, 4, 5
                """;
        assertThat(world.rows(told)).isNotEmpty().isEqualTo(world.rows("""
                select c.scope, a.limit_name, c.start_at, a.percent, a.operation
                  from pgquota.alert a join pgquota.counter c
                    on c.tenant = a.tenant and c.id = a.counter
                 order by 1, 2, 3, 4, 5
                """));
    }

    /** What fails by a deadlock is called again, so only the server tells. */
    @Test
    void nobodyWasInADeadlock() {
        assertThat(world.count("select deadlocks from pg_stat_database where datname = ?",
                world.database().name())).isZero();
    }
}
