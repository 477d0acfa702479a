package io.github.pgquota.tool.fault;

import io.github.pgquota.Limit;
import io.github.pgquota.Plan;
import io.github.pgquota.Pools;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Quotas;
import io.github.pgquota.Request;
import io.github.pgquota.Schema;
import io.github.pgquota.Window;
import io.github.pgquota.tool.Proxy;
import java.io.IOException;
import java.nio.file.Path;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;

/** A server, a bad network before it, processes that use it, and who makes trouble. */
final class Scene implements AutoCloseable {

    private static final int PROCESSES = 3;
    private static final String PROBE = "probe";

    private final Server server;
    private final Pair pair;
    private final List<Proxy> proxies = new ArrayList<>();
    private final Path folder;
    private final Random random;
    private final List<Process> customers = new ArrayList<>();
    private final Pools.Pool pool;
    private final Quotas quotas;
    private int started;

    Scene(Server server, Path folder, long seed) throws IOException, SQLException {
        this.server = server;
        this.folder = folder;
        this.random = new Random(seed);
        Schema.of(server.postgres().dataSource(server.database())).migrate();
        server.execute(Checker.resource("kept.sql"));
        this.pair = new Pair(server);
        pair.nodes().forEach(node -> proxies.add(Proxy.to(node.url(server.database()))));
        this.pool = Pools.create(url(), server.postgres().user(), server.postgres().password(), 4);
        this.quotas = Quotas.on(pool).build();
        publish(40);
        quotas.plans().publish(Plan.named("FREE").limit(
                Limit.named("all").on("requests").unlimited().billed(true).alertAt(10)).limit(
                Limit.named("tokens").on("tokens").level(1).capacity(1L << 40).billed(true)));
        quotas.plans().publish(Plan.named("LAST").limit(
                Limit.named("few").on("requests").capacity(5).billed(true).alertAt(50, 100)
                        .per(Window.fixed(Duration.ofSeconds(1)))).limit(
                Limit.named("tokens").on("tokens").level(1).capacity(1L << 40).billed(true)));
        quotas.plans().assign("last", "LAST");
        quotas.plans().assign("acme", "SHORT");
        quotas.plans().assign("beta", "TIGHT");
        quotas.plans().assign("free", "FREE");
        quotas.plans().assign(PROBE, "FREE");
        pair.makeStandby();
    }

    /** Short windows, and a plan that fills up; a new version of both. */
    void publish(long capacity) {
        Window second = Window.aligned(Duration.ofSeconds(1));
        quotas.plans().publish(Plan.named("SHORT")
                .limit(Limit.named("second").on("requests").level(1).capacity(capacity).per(second)
                        .billed(true).alertAt(50, 100))
                .limit(Limit.named("user").on("requests").level(2).capacity(capacity / 2)
                        .per(Window.fixed(Duration.ofSeconds(1))))
                .limit(Limit.named("all").on("requests").unlimited().billed(true))
                .limit(Limit.named("tokens").on("tokens").level(1).capacity(1L << 40)
                        .billed(true)));
        quotas.plans().publish(Plan.named("TIGHT")
                .limit(Limit.named("all").on("requests").capacity(10 * capacity).billed(true)
                        .alertAt(25, 50, 100)
                        .per(Window.fixed(Duration.ofSeconds(10))))
                .limit(Limit.named("user").on("requests").level(2).capacity(capacity * 3)
                        .per(Window.fixed(Duration.ofSeconds(7))).billed(true))
                .limit(Limit.named("tokens").on("tokens").capacity(50 * capacity).billed(true)
                        .per(Window.fixed(Duration.ofSeconds(10)))));
    }

    Server server() {
        return server;
    }

    Pair pair() {
        return pair;
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

    /** Through the bad network, to the primary and its standby, whichever is which. */
    private String url() {
        return "jdbc:postgresql://" + proxies.stream().map(proxy -> "127.0.0.1:" + proxy.port())
                .collect(Collectors.joining(",")) + "/" + server.database()
                + "?sslmode=disable&socketTimeout=5&connectTimeout=1&loginTimeout=2";
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
                "-cp", System.getProperty("java.class.path"), Customer.class.getName(), url(),
                server.postgres().user(), server.postgres().password(), "p" + started,
                Long.toString(random.nextInt(1 << 30)), folder.toString())
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("p" + started + ".log").toFile()).start());
    }

    /** Kills a process in the midst of what it does; another takes its place. */
    void killOne() throws IOException {
        Process victim = customers.remove(random.nextInt(customers.size()));
        victim.destroyForcibly();
        startOne();
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

    /** Lets the customers finish what they have begun. */
    void finish() throws IOException, InterruptedException {
        for (Process customer : customers) {
            customer.getOutputStream().close();
        }
        for (Process customer : customers) {
            if (!customer.waitFor(120, TimeUnit.SECONDS)) {
                throw new IllegalStateException("a process does not end: see " + folder);
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
    public void close() throws SQLException {
        customers.forEach(Process::destroyForcibly);
        quotas.close();
        pool.close();
        proxies.forEach(Proxy::close);
        pair.close();
        server.close();
    }
}
