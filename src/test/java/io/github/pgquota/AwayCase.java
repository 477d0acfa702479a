package io.github.pgquota;

import io.github.pgquota.tool.Proxy;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.io.TempDir;
import org.postgresql.ds.PGSimpleDataSource;

/** A database that goes away and comes back, and a gate's file. */
abstract class AwayCase {

    static final Request CALL = Request.of("acme/search").take("requests", 1);

    @TempDir
    Path folder;

    World world;
    Proxy proxy;
    Quotas quotas;

    @BeforeEach
    void open() {
        world = World.with(
                Limit.named("requests").capacity(10).per(Window.month()).billed(true),
                Limit.named("tokens").capacity(1_000).per(Window.month()).billed(true));
        world.tenant("other", "P");
        proxy = Proxy.to(world.database().url());
        quotas = Quotas.on(source()).build();
    }

    @AfterEach
    void close() {
        quotas.close();
        proxy.close();
        world.close();
    }

    /** Logs in for each call. */
    PGSimpleDataSource source() {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(proxy.url(world.database().url()));
        source.setUser(TestDatabase.server().user());
        source.setPassword(TestDatabase.server().password());
        return source;
    }

    Pools.Pool pool() {
        return Pools.create(proxy.url(world.database().url()), TestDatabase.server().user(),
                TestDatabase.server().password(), 1);
    }

    Away policy() {
        return Away.keptIn(folder.resolve("away")).open("requests", 0, 4);
    }

    void away() {
        proxy.loseRequests(Integer.MAX_VALUE);
    }

    void back() {
        proxy.loseRequests(0);
    }

    static void awaitCharged(Away.Gate gate) {
        Gate.await().until(() -> gate.report().waiting() == 0);
    }

    List<String> used() {
        return world.rows("select used from pgquota.counter");
    }
}
