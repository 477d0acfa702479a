package io.github.pgquota.tool.fault;

import io.github.pgquota.Away;
import io.github.pgquota.Pools;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Quotas;
import io.github.pgquota.Request;
import io.github.pgquota.Schema;
import io.github.pgquota.tool.NextVersion;
import io.github.pgquota.tool.PgBouncer;
import io.github.pgquota.tool.Proxy;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** A server, a bad network before it, processes that use it, and who makes trouble. */
final class Scene implements AutoCloseable {

    private static final int PROCESSES = 3;
    private static final String PROBE = "probe";
    private static final String TIMEOUTS = "&connectTimeout=1&loginTimeout=4";

    private final Server server;
    private final Pair pair;
    private final List<Proxy> proxies = new ArrayList<>();
    private final @Nullable PgBouncer bouncer;
    private final Path folder;
    private final Random random;
    private final List<Process> customers = new ArrayList<>();
    private final Pools.Pool pool;
    private final Quotas quotas;
    private final List<String> releases = new ArrayList<>();
    private final Rules rules;
    private @Nullable FutureTask<?> beside;
    private int started;
    private volatile int interrupted;

    Scene(Server server, Path folder, long seed) throws IOException, SQLException {
        this.server = server;
        this.folder = folder;
        this.random = new Random(seed);
        Schema.of(server.postgres().dataSource(server.database())).migrate();
        server.execute(Checker.resource("kept.sql"));
        server.execute("update pgquota.setting set window_retention = '20 s',"
                + " key_retention = '5 min'");
        this.pair = new Pair(server);
        pair.nodes().forEach(node -> proxies.add(Proxy.to(node.url(server.database()))));
        this.bouncer = PgBouncer.installed().isEmpty() ? null : PgBouncer.to(proxy().port(),
                server.postgres().user(), server.postgres().password());
        this.pool = Pools.create(url(), server.postgres().user(), server.postgres().password(), 4);
        this.quotas = Quotas.on(pool).build();
        this.rules = new Rules(quotas.plans());
        rules.begin();
        quotas.plans().assign(PROBE, "FREE");
        pair.makeStandby();
    }

    Server server() {
        return server;
    }

    Pair pair() {
        return pair;
    }

    /** The primary is lost; what is asked to follow to the new one does so. */
    void failOver() throws IOException, SQLException {
        pair.failOver(random.nextBoolean());
        if (bouncer != null) {
            bouncer.pointTo(proxy().port());
        }
    }

    /** What stands between some of the processes and the server. */
    String between() {
        return bouncer == null ? PgBouncer.NOT_INSTALLED
                : "every third process goes through " + bouncer.version();
    }

    /** The way to the primary. */
    Proxy proxy() {
        return proxies.get(pair.nodes().indexOf(server.primary()));
    }

    Random random() {
        return random;
    }

    Quotas quotas() {
        return quotas;
    }

    Rules rules() {
        return rules;
    }

    /** Through the bad network, to the primary and its standby, whichever is which. */
    private String url() {
        return "jdbc:postgresql://" + proxies.stream().map(proxy -> "127.0.0.1:" + proxy.port())
                .collect(Collectors.joining(",")) + "/" + server.database()
                + "?sslmode=disable" + TIMEOUTS;
    }

    /** A pooler knows which server is the primary; most processes find out for themselves. */
    private String nextUrl() {
        return bouncer == null || started % PROCESSES != 0 ? url()
                : bouncer.url(server.database()) + TIMEOUTS;
    }

    void start() throws IOException {
        while (customers.size() < PROCESSES) {
            startOne();
        }
    }

    private void startOne() throws IOException {
        started++;
        customers.add(new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
                "-cp", System.getProperty("java.class.path"), Customer.class.getName(), nextUrl(),
                server.postgres().user(), server.postgres().password(), "p" + started,
                Long.toString(random.nextInt(1 << 30)), folder.toString())
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("p" + started + ".log").toFile()).start());
    }

    /** Kills a process in the midst of what it does; another takes its place. */
    void killOne() throws IOException {
        Process victim = customers.remove(random.nextInt(customers.size()));
        victim.destroyForcibly();
        tell(Customer.GO_ON);
        startOne();
    }

    /** What goes on while the next trouble is made. */
    interface Work {
        void run() throws Exception;
    }

    /** Begins it, when the one before it has ended. */
    void beside(Work work) throws Exception {
        join();
        beside = new FutureTask<>(() -> {
            work.run();
            return null;
        });
        new Thread(beside, "beside").start();
    }

    private void join() throws Exception {
        if (beside != null) {
            beside.get();
        }
    }

    void upkeep() {
        try {
            quotas.upkeep().runOnce(Duration.ofSeconds(1));
        } catch (QuotaException.Unavailable | QuotaException.OutcomeUnknown e) {
            interrupted++;
        }
    }

    /**
     * Migrates to a later version, and each time to a further one; all others stay today's. Calls
     * that are long and never pause may keep it out, and other troubles may end it.
     */
    void migrate() throws IOException, InterruptedException {
        try {
            migrateOnce();
        } catch (IllegalStateException e) {
            releases.remove(releases.size() - 1);
            interrupted++;
            Files.writeString(folder.resolve("migration-" + interrupted + ".log"), e.getMessage());
        }
    }

    private void migrateOnce() throws IOException, InterruptedException {
        releases.add(NextVersion.script(NextVersion.today() + releases.size() + 1));
        String next = NextVersion.build(
                folder.resolve("next-" + releases.size() + "-" + interrupted), releases);
        NextVersion.migrate(next, server.url(), server.postgres().user(),
                server.postgres().password());
    }

    /** How many migrations and rounds of upkeep did not come to their end. */
    int interrupted() {
        return interrupted;
    }

    /** From now on all processes keep the holds that they get; see {@link #killOne}. */
    void holdAll() throws IOException {
        tell(Customer.HOLD);
    }

    private void tell(int what) throws IOException {
        for (Process customer : customers) {
            customer.getOutputStream().write(what);
            customer.getOutputStream().flush();
        }
    }

    /** How many died by themselves: that should not be. */
    long died() {
        return customers.stream().filter(process -> !process.isAlive()).count();
    }

    /** Nanoseconds until a new call of ours is answered. */
    long untilAnswered() {
        long begin = System.nanoTime();
        long deadline = begin + TimeUnit.SECONDS.toNanos(90);
        while (true) {
            try {
                quotas.consume(Request.of(PROBE).take("requests", 1));
                return System.nanoTime() - begin;
            } catch (QuotaException e) {
                if (System.nanoTime() > deadline) {
                    throw e;
                }
                LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(5));
            }
        }
    }

    /** Nothing is broken any longer, and the customers finish what they have begun. */
    void finish() throws Exception {
        for (Proxy proxy : proxies) {
            proxy.loseReplies(0);
            proxy.loseRequests(0);
            proxy.delay(Duration.ZERO);
            proxy.throttle(0);
        }
        for (Process customer : customers) {
            customer.getOutputStream().close();
        }
        for (Process customer : customers) {
            if (!customer.waitFor(120, TimeUnit.SECONDS)) {
                customer.destroyForcibly();
                throw new IllegalStateException("a process does not end: see " + folder);
            }
        }
        join();
        migrateOnce(); // whatever became of those before it
        chargeLetThrough();
    }

    /** Until every hold has ended. */
    void endHolds() throws SQLException {
        while (!server.ask("select count(*) from pgquota.hold where state = 'open'"
                + " and expires_at > clock_timestamp()").equals("0")) {
            last(100); // holds live for seconds
        }
        // what has expired is given back when a counter is next asked for, or now
        if (!quotas.upkeep().runOnce(Duration.ofMinutes(5)).finished()) {
            throw new IllegalStateException("upkeep does not end");
        }
    }

    /** The deadlocks that the servers found; all that they said is kept with the history. */
    List<String> deadlocks() throws IOException {
        List<String> found = new ArrayList<>();
        for (Node node : pair.nodes()) {
            found.addAll(node.deadlocks());
            if (Files.exists(node.log())) {
                Files.copy(node.log(), folder.resolve("server-" + node.port() + ".log"));
            }
        }
        return found;
    }

    /** Charges what processes have left in their files, those that were killed too. */
    private void chargeLetThrough() throws IOException {
        try (DirectoryStream<Path> files = Files.newDirectoryStream(folder, "*.away")) {
            for (Path file : files) {
                try (Away.Gate gate = quotas.away(Customer.away(file))) {
                    // refused: keys that are older than they are kept here; they are checked later
                    if (!gate.charge()) {
                        throw new IllegalStateException(file + " waits: " + gate.report());
                    }
                }
            }
        }
    }

    /** Lets trouble last. */
    static void last(long millis) {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis);
        for (long left = millis; left > 0; left = (end - System.nanoTime()) / 1_000_000) {
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(left));
        }
    }

    @Override
    public void close() throws IOException, SQLException {
        customers.forEach(Process::destroyForcibly);
        quotas.close();
        pool.close();
        if (bouncer != null) {
            bouncer.close();
        }
        proxies.forEach(Proxy::close);
        pair.close();
        server.close();
    }
}
