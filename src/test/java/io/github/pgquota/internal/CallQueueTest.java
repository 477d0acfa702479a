package io.github.pgquota.internal;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.pgquota.OperationId;
import io.github.pgquota.Request;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Order, turns, runs and bounds of calls that wait. */
class CallQueueTest {

    private static final OperationId HOLD = new OperationId("acme", new UUID(1, 2));

    private final CallQueue queue = new CallQueue(100, 1);

    private static Change consume(String tenant, long amount) {
        return Change.consume(Request.of(tenant).take("m", amount));
    }

    private Call add(Change change) {
        Call call = new Call(change, 0);
        assertThat(queue.add(call)).isTrue();
        return call;
    }

    private void add(String tenant, long... amounts) {
        for (long amount : amounts) {
            add(consume(tenant, amount));
        }
    }

    /** Runs as words: verb if it is none of consume, tenant, amount and number. */
    private List<String> take(int most) {
        List<Run> runs = queue.take(most);
        runs.forEach(run -> queue.release(run.change().scope().tenant()));
        return runs.stream().map(run -> {
            Change change = run.change();
            String verb = change.verb().equals("consume") ? "" : change.verb() + " ";
            int calls = run.calls().size();
            return verb + change.scope() + " " + change.largest() + (calls > 1 ? "*" + calls : "");
        }).toList();
    }

    @Test
    void aTenantIsInOneStatementAtATime() {
        CallQueue two = new CallQueue(1_000, 2);
        for (String tenant : List.of("acme", "beta", "gamma")) {
            two.add(new Call(consume(tenant, 1), 0));
        }
        assertThat(two.take(9)).extracting(run -> run.change().scope().path())
                .as("half of the tenants").containsExactly("acme", "beta");
        two.add(new Call(consume("acme", 2), 0));
        assertThat(two.isBusy("acme")).isTrue();
        assertThat(two.take(9)).extracting(run -> run.change().scope().path())
                .containsExactly("gamma");
        assertThat(two.isEmpty()).as("acme is not to be taken").isTrue();
        assertThat(two.size()).isEqualTo(1);
        assertThat(two.occupy("beta")).isFalse();
        two.release("beta");
        assertThat(two.occupy("beta")).isTrue();
        two.release("acme");
        assertThat(two.isEmpty()).isFalse();
        assertThat(two.occupy("acme")).as("its call comes first").isFalse();
        assertThat(two.take(9)).extracting(Run::change).containsExactly(consume("acme", 2));
    }

    @Test
    void aTenantsCallsKeepTheirOrder() {
        add("acme", 1, 2, 3, 2, 1);
        assertThat(take(3)).containsExactly("acme 1", "acme 2", "acme 3");
        add("acme", 4);
        assertThat(take(9)).containsExactly("acme 2", "acme 1", "acme 4");
        assertThat(take(9)).isEmpty();
    }

    @Test
    void tenantsTakeTurnsAndWhoHadOneGoesToTheEnd() {
        add("acme", 1, 2, 3, 4, 5);
        add("beta", 1, 2);
        add("gamma", 1);
        assertThat(take(2)).containsExactly("acme 1", "beta 1");
        add("delta", 1);
        assertThat(take(4)).containsExactly("gamma 1", "acme 2", "beta 2", "delta 1");
        assertThat(take(9)).containsExactly("acme 3", "acme 4", "acme 5");
        assertThat(queue.isEmpty()).isTrue();
        assertThat(queue.size()).isZero();
    }

    @Test
    void equalCallsThatFollowOneAnotherAreOneRun() {
        add("acme", 1, 1, 2, 1, 1, 1);
        add("beta", 1, 1);
        assertThat(take(9)).containsExactly("acme 1*2", "beta 1*2", "acme 2", "acme 1*3");
        add(Change.record(Request.of("acme").take("m", 1)));
        add(Change.record(Request.of("acme").take("m", 1)));
        add("acme", 1);
        add(consume("acme/a", 1));
        assertThat(take(9)).containsExactly("record acme 1*2", "acme 1", "acme/a 1");
    }

    @Test
    void whatHasAKeyOrIsNoPlainChargeGoesByItself() {
        Request keyed = Request.of("acme").take("m", 1).key("k");
        List<Change> alone = List.of(Change.consume(keyed), Change.record(keyed),
                Change.consumeUpTo(keyed.key(null)), Change.check(keyed.key(null)),
                Change.reserve(keyed.key(null), Duration.ofMinutes(1)));
        alone.forEach(change -> {
            add(change);
            add(change);
        });
        assertThat(take(99)).hasSize(2 * alone.size()).noneMatch(run -> run.contains("*"));
    }

    @Test
    void aRunHasNoMoreUnitsThanACounter() {
        long third = (1L << 62) / 3;
        add("acme", third, third, third, third);
        add("acme", 1L << 62, 1L << 62);
        assertThat(take(9)).containsExactly("acme " + third + "*3", "acme " + third,
                "acme " + (1L << 62), "acme " + (1L << 62));
    }

    @Test
    void aHoldIsOnceInABatchAndWhatFollowsItWaits() {
        add(Change.settle(HOLD, Map.of("m", 1L)));
        add("acme", 7);
        add(Change.release(HOLD));
        add("acme", 8);
        add("beta", 1, 2);
        assertThat(take(9)).containsExactly("settle acme 1", "beta 1", "acme 7", "beta 2");
        assertThat(queue.isEmpty()).isFalse();
        assertThat(take(9)).containsExactly("release acme 1", "acme 8");
        assertThat(queue.isEmpty()).isTrue();
    }

    @Test
    void aTenantMayHaveAsManyPlacesAsAreFree() {
        CallQueue ten = new CallQueue(10, 1);
        assertThat(IntStream.range(0, 9).filter(i -> ten.add(new Call(consume("acme", i), 0))))
                .hasSize(5);
        assertThat(IntStream.range(0, 9).filter(i -> ten.add(new Call(consume("beta", i), 0))))
                .hasSize(3);
        assertThat(ten.size()).isEqualTo(8);
        assertThat(ten.add(new Call(consume("gamma", 1), 0))).isTrue();
        assertThat(ten.add(new Call(consume("delta", 1), 0))).isTrue();
        assertThat(ten.add(new Call(consume("epsilon", 1), 0))).as("none are left").isFalse();
        assertThat(ten.size()).isEqualTo(10);
        assertThat(ten.take(99)).hasSize(10);
        assertThat(ten.size()).isZero();
        CallQueue one = new CallQueue(1, 1);
        assertThat(one.add(new Call(consume("acme", 1), 0))).isTrue();
        assertThat(one.add(new Call(consume("beta", 1), 0))).isFalse();
    }

    @Test
    void whatIsWithdrawnIsNotSentAndGivesItsPlaceBack() {
        Call first = add(consume("acme", 1));
        Call second = add(consume("acme", 1));
        add("acme", 1);
        Call only = add(consume("beta", 1));
        assertThat(first.withdraw()).isTrue();
        assertThat(only.withdraw()).isTrue();
        assertThat(queue.size()).isEqualTo(4);
        assertThat(take(9)).containsExactly("acme 1*2");
        assertThat(queue.size()).isZero();
        assertThat(queue.isEmpty()).isTrue();
        assertThat(second.withdraw()).as("it is sent").isFalse();
        assertThat(first.send()).isFalse();
        assertThat(first.withdraw()).as("only once").isFalse();
    }

    @Test
    void whoseTimeIsOverIsRefusedAndTheNextOnesTimeIsTold() {
        List<Call> calls = new ArrayList<>();
        for (int deadline : new int[] {10, 20, 30}) {
            for (String tenant : List.of("acme", "beta")) {
                Call call = new Call(consume(tenant, deadline), deadline);
                assertThat(queue.add(call)).isTrue();
                calls.add(call);
            }
        }
        calls.get(2).withdraw();
        List<Call> late = new ArrayList<>();
        assertThat(queue.expire(9, IllegalStateException::new, late)).isEqualTo(10);
        assertThat(late).isEmpty();
        assertThat(queue.expire(20, IllegalStateException::new, late)).isEqualTo(30);
        assertThat(late).containsExactly(calls.get(0), calls.get(1), calls.get(3))
                .allMatch(Call::isAnswered);
        assertThat(queue.size()).isEqualTo(2);
        assertThat(queue.isEmpty()).isFalse();
        assertThat(take(1)).containsExactly("acme 30");
        assertThat(queue.expire(99, IllegalStateException::new, late)).isNull();
        assertThat(late).endsWith(calls.get(5)).doesNotContain(calls.get(2), calls.get(4));
        assertThat(queue.isEmpty()).isTrue();
        assertThat(queue.size()).isZero();
    }

    /** Nanoseconds begin anywhere, and may pass the largest number. */
    @Test
    void timesAreComparedAcrossTheEndOfNumbers() {
        Call call = new Call(consume("acme", 1), Long.MIN_VALUE + 5);
        queue.add(call);
        List<Call> late = new ArrayList<>();
        assertThat(queue.expire(Long.MAX_VALUE, IllegalStateException::new, late))
                .isEqualTo(Long.MIN_VALUE + 5);
        assertThat(queue.expire(Long.MIN_VALUE + 5, IllegalStateException::new, late)).isNull();
        assertThat(late).containsExactly(call);
    }

    /** Each is taken once, in its adder's order, or withdrawn, or late, or refused; never two. */
    @Test
    void everyCallOfManyThreadsHasOneEnd() throws Exception {
        int adders = 4;
        int each = 20_000;
        CallQueue busy = new CallQueue(300, 1);
        ConcurrentLinkedQueue<Call> waiting = new ConcurrentLinkedQueue<>();
        AtomicInteger refused = new AtomicInteger();
        AtomicInteger withdrawn = new AtomicInteger();
        CountDownLatch adding = new CountDownLatch(adders);
        List<Thread> threads = new ArrayList<>();
        ConcurrentLinkedQueue<String> faults = new ConcurrentLinkedQueue<>();
        for (int a = 0; a < adders; a++) {
            String tenant = "t" + a % 3;
            String scope = tenant + "/" + a;
            threads.add(new Thread(() -> {
                for (int i = 0; i < each; i++) {
                    Call call = new Call(consume(scope, i), i);
                    if (!busy.add(call)) {
                        refused.incrementAndGet();
                    } else if (i % 7 == 0) {
                        withdrawn.addAndGet(call.withdraw() ? 1 : 0);
                    } else {
                        waiting.add(call);
                    }
                }
                adding.countDown();
            }));
        }
        List<Call> late = new ArrayList<>();
        threads.add(new Thread(() -> {
            while (adding.getCount() > 0) {
                busy.expire(each / 2, IllegalStateException::new, late);
            }
        }));
        AtomicInteger sent = new AtomicInteger();
        Thread taker = new Thread(() -> {
            Map<String, Long> last = new java.util.HashMap<>();
            while (adding.getCount() > 0 || !busy.isEmpty()) {
                for (Run run : busy.take(10)) {
                    busy.release(run.change().scope().tenant());
                    sent.addAndGet(run.calls().size());
                    long amount = run.change().amounts().get("m");
                    Long before = last.put(run.change().scope().path(), amount);
                    if (before != null && before >= amount) {
                        faults.add(run.change() + " after " + before);
                    }
                }
            }
        });
        threads.add(taker);
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            thread.join(60_000);
            assertThat(thread.isAlive()).isFalse();
        }
        assertThat(faults).isEmpty();
        assertThat(sent.get() + late.size() + refused.get() + withdrawn.get())
                .isEqualTo(adders * each);
        assertThat(busy.size()).isZero();
        assertThat(late).allMatch(Call::isAnswered).doesNotHaveDuplicates();
        assertThat(waiting).noneMatch(Call::withdraw);
    }
}
