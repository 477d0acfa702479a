package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.sql.Connection;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** A transaction of the application keeps a tenant's counter locked: nobody else waits with it. */
class LockedTenantTest {

    private World world;
    private Connection transaction;

    @BeforeEach
    void open() throws Exception {
        world = World.with(Limit.named("requests").capacity(1_000));
        world.quotas().consume(Request.of("acme").take("requests", 1));
        String plan = world.rows("select plan from pgquota.tenant").get(0);
        for (int i = 0; i < 20; i++) {
            world.quotas().plans().assign("other" + i, plan);
        }
        transaction = world.database().dataSource().getConnection();
        transaction.setAutoCommit(false);
        world.quotas().within(transaction).consume(Request.of("acme").take("requests", 1));
    }

    @AfterEach
    void close() throws Exception {
        transaction.close();
        world.proof();
        world.close();
    }

    private static Request ask(String tenant) {
        return Request.of(tenant).take("requests", 1);
    }

    @Test
    void othersOfItsBatchAreDecidedWithoutIt() throws Exception {
        List<CompletableFuture<Decision>> locked = new ArrayList<>();
        List<CompletableFuture<Decision>> others = new ArrayList<>();
        AsyncOperations async = world.quotas().async();
        for (int i = 0; i < 20; i++) {
            locked.add(async.consume(ask("acme")));
            others.add(async.consume(ask("other" + i)));
        }
        for (CompletableFuture<Decision> other : others) {
            assertThat(other.get(20, TimeUnit.SECONDS).isGranted()).isTrue();
        }
        assertThat(locked).noneMatch(CompletableFuture::isDone);
        assertThat(world.rows("select sum(used) from pgquota.counter where tenant <> 'acme'"))
                .containsExactly("20");
        transaction.commit();
        for (CompletableFuture<Decision> call : locked) {
            assertThat(call.get(20, TimeUnit.SECONDS).isGranted()).isTrue();
        }
        assertThat(world.rows("select used from pgquota.counter where tenant = 'acme'"))
                .containsExactly("22");
    }

    /** More than may wait for locks at once: the rest waits for a place, and is not refused. */
    @Test
    void manyLockedTenantsAreAllAnswered() throws Exception {
        for (int i = 0; i < 6; i++) {
            world.quotas().consume(ask("other" + i));
            world.quotas().within(transaction).consume(ask("other" + i));
        }
        List<CompletableFuture<Decision>> locked = new ArrayList<>();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 6; i++) {
            String tenant = "other" + i;
            locked.add(world.quotas().async().consume(ask(tenant)));
            threads.add(new Thread(() -> world.quotas().consume(ask(tenant))));
        }
        threads.forEach(Thread::start);
        for (int i = 6; i < 20; i++) {
            assertThat(world.quotas().async().consume(ask("other" + i)).get(20, TimeUnit.SECONDS)
                    .isGranted()).isTrue();
        }
        assertThat(locked).noneMatch(CompletableFuture::isDone);
        transaction.commit();
        for (CompletableFuture<Decision> call : locked) {
            assertThat(call.get(20, TimeUnit.SECONDS).isGranted()).isTrue();
        }
        for (Thread thread : threads) {
            thread.join(20_000);
            assertThat(thread.isAlive()).isFalse();
        }
        assertThat(world.rows("select distinct used from pgquota.counter "
                + "where tenant in ('other0', 'other1', 'other2', 'other3', 'other4', 'other5')"))
                .containsExactly("4");
    }

    @Test
    void whoComesWhileItsTenantWaitsByItselfIsSentAfterwards() throws Exception {
        AsyncOperations async = world.quotas().async();
        CompletableFuture<Decision> first = async.consume(ask("acme"));
        // longer than it waits in company
        Gate.await().until(() -> world.rows("select 1 from pg_stat_activity where wait_event_type"
                + " = 'Lock' and clock_timestamp() - query_start > interval '0.5 second'")
                .size() == 1);
        CompletableFuture<Decision> second = async.consume(ask("acme"));
        transaction.commit();
        assertThat(first.get(20, TimeUnit.SECONDS).isGranted()).isTrue();
        assertThat(second.get(20, TimeUnit.SECONDS).isGranted()).isTrue();
        assertThat(world.rows("select used from pgquota.counter where tenant = 'acme'"))
                .containsExactly("4");
    }

    @Test
    void callersThatFoundAnIdleSystemLeaveRoomForOthers() throws Exception {
        List<Thread> waiting = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            Thread thread = new Thread(() -> world.quotas().consume(ask("acme")));
            thread.start();
            waiting.add(thread);
        }
        for (int i = 0; i < 20; i++) {
            int number = i;
            assertThat(CompletableFuture.supplyAsync(
                    () -> world.quotas().consume(ask("other" + number)))
                    .get(20, TimeUnit.SECONDS).isGranted()).isTrue();
        }
        assertThat(waiting).allMatch(Thread::isAlive);
        transaction.commit();
        for (Thread thread : waiting) {
            thread.join(20_000);
            assertThat(thread.isAlive()).isFalse();
        }
        assertThat(world.rows("select used from pgquota.counter where tenant = 'acme'"))
                .containsExactly("10");
    }
}
