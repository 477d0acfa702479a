package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.tool.PostgresServer;
import io.github.pgquota.tool.Proxy;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.postgresql.ds.PGSimpleDataSource;

/** What arrives while a statement is under way forms the next one, and is decided exactly. */
class CombinerTest {

    private static final Limit MESSAGES =
            Limit.named("messages").on("requests").capacity(10).per(Window.month());
    private static final Duration MINUTE = Duration.ofMinutes(1);

    private final World world = World.create();
    private final Gate gate = new Gate(world.pool());
    private final Quotas quotas = gate.quotas();

    @BeforeEach
    void plans() {
        world.plan("P", MESSAGES, Limit.named("tokens")).tenant(World.TENANT, "P")
                .tenant("beta", "P")
                .plan("COMPANY", Limit.named("company")).tenant(World.BYSTANDER, "COMPANY");
    }

    @AfterEach
    void proof() {
        gate.open();
        world.proof();
        quotas.close();
        world.close();
    }

    private static Request take(String scope, long requests) {
        return Request.of(scope).take("requests", requests);
    }

    private static <T> T get(CompletableFuture<T> future) throws Exception {
        return future.get(30, TimeUnit.SECONDS);
    }

    /** What a future fails with. */
    private static <E extends Throwable> E failure(Class<E> kind, CompletableFuture<?> future) {
        return kind.cast(assertThrows(ExecutionException.class, () -> get(future)).getCause());
    }

    private List<String> used() {
        return world.rows("select scope, used, held from pgquota.counter where tenant <> ? "
                + "order by scope, meter, start_at", World.BYSTANDER);
    }

    @Test
    void anIdleCallGoesAloneOnItsCallersThread() {
        for (int i = 0; i < 3; i++) {
            quotas.consume(take("acme", 1)).orThrow();
        }
        assertThat(gate.statements()).containsExactly("consume", "consume", "consume");
        assertThat(gate.threads()).containsOnly(Thread.currentThread());
        assertThat(used()).containsExactly("acme 3 0");
    }

    @Test
    void whatArrivesWhileAStatementIsUnderWayGoesInOne() throws Exception {
        CompletableFuture<Decision> blocker = gate.block(quotas);
        Gate.Caller first = Gate.call(quotas, take("acme/a", 1));
        CompletableFuture<Decision> second = quotas.async().consume(take("acme/b", 1));
        Gate.Caller third = Gate.call(quotas, take("acme/c", 20));
        CompletableFuture<Granted> fourth = quotas.async().record(take("acme/d", 20));
        gate.open();
        assertThat(first.get().isGranted() && get(second).isGranted()).isTrue();
        assertThat(third.get().isGranted()).isFalse();
        assertThat(get(fourth).limits().get(0).overage()).isEqualTo(12);
        assertThat(get(blocker).isGranted()).isTrue();
        assertThat(gate.statements()).containsExactly("consume", "consume consume consume record");
        assertThat(gate.threads()).doesNotContain(Thread.currentThread());
        assertThat(used()).containsExactly("acme 22 0");
    }

    @Test
    void aCallersOwnStatementIsFollowedByWhatArrivedMeanwhile() throws Exception {
        gate.shut();
        FutureTask<Decision> idle = new FutureTask<>(() -> quotas.consume(take("acme", 1)));
        new Thread(idle, "idle").start();
        gate.awaitHeld();
        Gate.Caller waits = Gate.call(quotas, take("acme", 1));
        gate.open();
        assertThat(waits.get(30, TimeUnit.SECONDS).isGranted()).isTrue();
        assertThat(idle.get().isGranted()).isTrue();
        assertThat(gate.threads()).extracting(Thread::getName)
                .containsExactly("idle", "pgquota-combiner");
    }

    @Test
    void oneStatementIsFilledWhileAnotherIsUnderWay() throws Exception {
        try (Quotas two = gate.quotas(Combining.standard())) {
            CompletableFuture<Decision> blocker = gate.block(two);
            CompletableFuture<Decision> other = two.async().consume(take("acme", 1));
            Gate.await().until(() -> gate.statements().size() == 2);
            List<CompletableFuture<Decision>> third = List.of(two.async().consume(take("acme", 2)),
                    two.async().consume(take("acme", 3)));
            assertThat(gate.statements()).as("no more than two at once").hasSize(2);
            gate.open();
            assertThat(Gate.outcomes(third)).containsOnly("Granted");
            assertThat(get(blocker).isGranted() && get(other).isGranted()).isTrue();
            assertThat(gate.statements()).containsExactly("consume", "consume", "consume consume");
        }
    }

    @Test
    void amountsOnOneScopeAreDecidedInOrderOfArrival() throws Exception {
        gate.block(quotas);
        List<CompletableFuture<Decision>> calls = new ArrayList<>();
        for (long amount : new long[] {5, 6, 3, 3, 2, 1}) {
            calls.add(quotas.async().consume(take("acme", amount)));
        }
        gate.open();
        assertThat(Gate.outcomes(calls)).containsExactly(
                "Granted", "Denied", "Granted", "Denied", "Granted", "Denied");
        assertThat(gate.statements()).containsExactly("consume",
                "consume consume consume*2 consume consume");
        assertThat(used()).containsExactly("acme 10 0");
    }

    @Test
    void theFirstOfEqualCallsAreGrantedAndTheRestDenied() throws Exception {
        gate.block(quotas);
        List<CompletableFuture<Decision>> calls = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            calls.add(quotas.async().consume(take("acme/a", 3)));
        }
        gate.open();
        assertThat(Gate.outcomes(calls)).containsExactly(
                "Granted", "Granted", "Granted", "Denied", "Denied");
        assertThat(gate.statements()).containsExactly("consume", "consume*5");
        assertThat(calls).extracting(c -> get(c).limits().get(0).balance().used())
                .containsExactly(3L, 6L, 9L, 9L, 9L);
        assertThat(world.rows("select operation, amount, used_after, entry from pgquota.ledger "
                + "where tenant = 'acme' order by entry")).containsExactly(
                get(calls.get(0)).orThrow().operation().uuid() + " 3 3 1",
                get(calls.get(1)).orThrow().operation().uuid() + " 3 6 2",
                get(calls.get(2)).orThrow().operation().uuid() + " 3 9 3");
    }

    @Test
    void tenantsMetersAndKeysShareAStatement() throws Exception {
        gate.block(quotas);
        AsyncOperations async = quotas.async();
        Request keyed = take("acme/a", 2).key("k");
        List<CompletableFuture<Decision>> calls = List.of(
                async.consume(keyed),
                async.consume(take("beta/x", 1).take("tokens", 5)),
                async.consume(keyed),
                async.consume(take("acme/a", 3).key("k")),
                async.consume(Request.of("acme/b").take("tokens", 7)),
                async.consume(Request.of("acme/b").take("bytes", 7)),
                async.consume(take("nobody", 1)));
        gate.open();
        assertThat(Gate.outcomes(calls)).containsExactly("Granted", "Granted", "Granted",
                "KeyConflict", "Granted", "UnknownMeter", "UnknownTenant");
        Granted first = get(calls.get(0)).orThrow();
        Granted again = get(calls.get(2)).orThrow();
        assertThat(first.replayed()).isFalse();
        assertThat(again.replayed()).isTrue();
        assertThat(again.operation()).isEqualTo(first.operation());
        assertThat(gate.statements()).containsExactly("consume",
                "consume" + " consume".repeat(6));
        assertThat(used()).containsExactly("acme 2 0", "acme 7 0", "beta 1 0", "beta 5 0");
    }

    @Test
    void holdsAreTakenAndEndedInOneStatementEachOnce() throws Exception {
        OperationId one = quotas.reserve(take("acme", 2), MINUTE).orThrow().operation();
        OperationId two = quotas.reserve(take("acme", 3), MINUTE).orThrow().operation();
        gate.block(quotas);
        AsyncOperations async = quotas.async();
        CompletableFuture<Granted> settled = async.settle(one, Map.of("requests", 1L));
        CompletableFuture<Granted> again = async.settle(one, Map.of("requests", 2L));
        CompletableFuture<Granted> released = async.release(two);
        CompletableFuture<Decision> reserved = async.reserve(take("beta", 4), MINUTE);
        gate.open();
        assertThat(get(settled).granted()).isEqualTo(Map.of("requests", 1L));
        assertThat(get(again).granted()).as("the first outcome").isEqualTo(get(settled).granted());
        assertThat(get(again).replayed()).isTrue();
        assertThat(get(released).hold().orElseThrow().state()).isEqualTo(Hold.State.RELEASED);
        assertThat(get(reserved).isGranted()).isTrue();
        assertThat(gate.statements()).as("in order, one hold once a statement")
                .containsExactly("consume", "settle reserve", "settle release");
        assertThat(used()).containsExactly("acme 1 0", "beta 0 4");
    }

    /** No constraint of the engine is in a call's reach: an operator's own is. */
    private void refuse(String scope) {
        world.execute("""
                create function public.refuse() returns trigger language plpgsql as $$
                begin
                  raise exception 'not here' using errcode = '23514';
                end $$
                """);
        world.execute("create trigger refuse before update on pgquota.counter for each row "
                + "when (new.scope = '" + scope + "') execute function public.refuse()");
    }

    @Test
    void aPoisonousCallFailsAlone() throws Exception {
        world.plan("P", MESSAGES, Limit.named("users").on("requests").level(1).unlimited());
        for (String scope : List.of("a", "b", "poison")) {
            quotas.consume(take("acme/" + scope, 0)).orThrow();
            quotas.record(take("acme/" + scope, 1));
        }
        refuse("acme/poison");
        gate.block(quotas);
        List<CompletableFuture<Decision>> calls = new ArrayList<>();
        for (String scope : List.of("a", "a", "b", "poison", "a", "poison", "poison", "b", "b")) {
            calls.add(quotas.async().consume(take("acme/" + scope, 1)));
        }
        calls.add(quotas.async().consume(take("beta", 1)));
        gate.open();
        assertThat(Gate.outcomes(calls)).containsExactly("Granted", "Granted", "Granted", "Invalid",
                "Granted", "Invalid", "Invalid", "Granted", "Granted", "Granted");
        assertThat(world.rows("select scope, used, entries from pgquota.counter "
                + "where tenant in ('acme', 'beta') order by scope")).containsExactly(
                "acme 9 9", "acme/a 4 4", "acme/b 4 4", "acme/poison 1 1", "beta 1 1");
        assertThat(calls).filteredOn(CompletableFuture::isCompletedExceptionally)
                .extracting(c -> failure(QuotaException.Invalid.class, c)).doesNotHaveDuplicates();
    }

    @Test
    void equalCallsThatTheCounterCannotHoldAllAreTakenAsFarAsItCan() throws Exception {
        world.plan("P", Limit.named("messages").on("requests").unlimited());
        quotas.record(take("acme", 1L << 62));
        quotas.record(take("acme", (1L << 62) - 4));
        gate.block(quotas);
        List<CompletableFuture<?>> calls = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            calls.add(quotas.async().record(take("acme", 1)));
        }
        calls.add(quotas.async().consume(take("beta", 1)));
        gate.open();
        assertThat(Gate.outcomes(calls)).containsExactly(
                "Granted", "Granted", "Granted", "Invalid", "Invalid", "Granted");
        assertThat(used()).containsExactly("acme 9223372036854775807 0", "beta 1 0");
    }

    private static PGSimpleDataSource through(Proxy proxy, World world) {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(proxy.url(world.database().url()));
        source.setUser(TestDatabase.server().user());
        source.setPassword(TestDatabase.server().password());
        return source;
    }

    /** What is lost is a reply if the statement was executed, else the request. */
    private void lost(boolean executed, Consumer<Proxy> lose) throws Exception {
        try (Proxy proxy = Proxy.to(world.database().url());
                HikariDataSource pool = PostgresServer.pool(through(proxy, world), 2)) {
            Gate far = new Gate(pool);
            try (Quotas remote = far.quotas()) {
                far.block(remote);
                List<Request> requests = List.of(take("acme", 1).key("k1"), take("acme", 1),
                        take("acme", 1), take("beta", 2).key("k2"), take("beta", 20).key("k3"));
                List<CompletableFuture<Decision>> calls =
                        requests.stream().map(r -> remote.async().consume(r)).toList();
                Gate.Caller blocking = Gate.call(remote, take("acme", 3).key("k4"));
                far.letOne();
                Gate.await().until(() -> far.statements().size() == 2);
                far.awaitHeld();
                lose.accept(proxy);
                far.open();
                assertThat(Gate.outcomes(calls)).containsOnly("OutcomeUnknown");
                assertThat(assertThrows(ExecutionException.class, blocking::get).getCause())
                        .isInstanceOf(QuotaException.OutcomeUnknown.class);
                assertThat(used()).isEqualTo(
                        executed ? List.of("acme 6 0", "beta 2 0") : List.of());
                List<Boolean> replayed = new ArrayList<>();
                for (Request keyed : List.of(requests.get(0), requests.get(3),
                        take("acme", 3).key("k4"))) {
                    replayed.add(remote.consume(keyed).orThrow().replayed());
                }
                assertThat(remote.consume(requests.get(4)).isGranted()).as("denied").isFalse();
                assertThat(replayed).containsOnly(executed);
                assertThat(used()).containsExactly(executed ? "acme 6 0" : "acme 4 0", "beta 2 0");
            }
        }
    }

    @Test
    void aLostReplyIsUnknownToEveryCallOfTheStatementAndKeysTell() throws Exception {
        lost(true, proxy -> proxy.loseReplies(1));
    }

    @Test
    void aLostRequestIsUnknownToEveryCallOfTheStatementAndKeysTell() throws Exception {
        lost(false, proxy -> proxy.loseRequests(1));
    }

    /** The merged and the single calls of two tenants, under one clock, have the same answers. */
    @Test
    void equalCallsHaveTheAnswersThatTheyWouldHaveOneByOne() throws Exception {
        long seed = System.nanoTime();
        System.out.println("CombinerTest: seed " + seed);
        java.util.Random random = new java.util.Random(seed);
        for (int round = 0; round < 25; round++) {
            world.clear().clock("2026-03-10T12:00:00Z");
            world.plan("P", limits(random)).tenant(World.TENANT, "P").tenant("beta", "P")
                    .plan("COMPANY", Limit.named("company")).tenant(World.BYSTANDER, "COMPANY");
            for (int turn = 0; turn < 3; turn++) {
                long amount = random.nextInt(4);
                boolean record = random.nextBoolean();
                int calls = 2 + random.nextInt(6);
                Request call = take("acme/a", amount).take("tokens", random.nextInt(3));
                List<String> single = new ArrayList<>();
                Request twin = new Request(Scope.of("beta/a"), call.amounts(), null);
                for (int i = 0; i < calls; i++) {
                    single.add(text(record ? quotas.record(twin) : quotas.consume(twin)));
                }
                gate.block(quotas);
                List<CompletableFuture<? extends Decision>> merged = new ArrayList<>();
                for (int i = 0; i < calls; i++) {
                    merged.add(record ? quotas.async().record(call)
                            : quotas.async().consume(call));
                }
                gate.open();
                List<String> together = new ArrayList<>();
                for (CompletableFuture<? extends Decision> each : merged) {
                    together.add(text(get(each)));
                }
                assertThat(together).as("seed " + seed).containsExactlyElementsOf(single);
                assertThat(gate.statements()).element(1)
                        .isEqualTo((record ? "record*" : "consume*") + calls);
                assertSameBooks();
            }
            world.proof();
        }
    }

    private static Limit[] limits(java.util.Random random) {
        Limit org = Limit.named("org").on("requests").capacity(5 + random.nextInt(40))
                .alertAt(10, 50, 80, 100, 150);
        Limit team = Limit.named("team").on("requests").level(1).capacity(random.nextInt(30))
                .per(Window.day()).alertAt(25, 75);
        Limit soft = Limit.named("soft").on("tokens").capacity(10).alertAt(50, 100);
        Limit.Mode[] modes = Limit.Mode.values();
        return new Limit[] {
            random.nextBoolean() ? org.per(Window.month()) : org.allowOverage(4),
            team.mode(modes[random.nextInt(modes.length)]),
            random.nextBoolean() ? soft : soft.mode(Limit.Mode.OBSERVE),
            Limit.named("hour").on("tokens").level(1).capacity(25).per(Window.hour())};
    }

    /** All of an answer but the ids. */
    private static String text(Decision decision) {
        return decision.toString().replace("beta", "acme").replaceAll("acme/0[0-9a-f-]{35}", "id");
    }

    private void assertSameBooks() {
        List<List<String>> books = new ArrayList<>();
        for (String tenant : List.of("acme", "beta")) {
            List<String> book = new ArrayList<>(world.rows("""
                    select replace(scope, tenant, ''), meter, per, used, held, entries
                      from pgquota.counter where tenant = ? order by scope, meter, per""", tenant));
            book.addAll(world.rows("""
                    select replace(c.scope, c.tenant, ''), c.meter, c.per, l.entry, l.amount,
                           l.used_after, l.verb, l.at,
                           (select count(*) from pgquota.ledger o
                             where o.tenant = l.tenant and o.operation = l.operation)
                      from pgquota.ledger l
                      join pgquota.counter c on c.tenant = l.tenant and c.id = l.counter
                     where l.tenant = ? order by c.scope, c.meter, c.per, l.entry""", tenant));
            book.addAll(world.rows("""
                    select a.percent, a.used, replace(c.scope, c.tenant, ''), c.meter, c.per
                      from pgquota.alert a
                      join pgquota.counter c on c.tenant = a.tenant and c.id = a.counter
                     where a.tenant = ? order by 3, 4, 5, 1""", tenant));
            books.add(book);
        }
        assertThat(books.get(0)).isEqualTo(books.get(1)).isNotEmpty();
    }
}
