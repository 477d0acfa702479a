package io.github.pgquota.tool.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.IntSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** How calls are made, timed and counted: on somebody who answers as a test wants. */
class CallersTest {

    private static final long SOME = Duration.ofMillis(50).toNanos();

    private final AtomicInteger calls = new AtomicInteger();
    private final AtomicInteger calling = new AtomicInteger();
    private final AtomicInteger mostCalling = new AtomicInteger();

    /** Grants two units a call, after so many milliseconds. */
    private Callers.Job slow(int millis) {
        return new Callers.Job() {
            @Override
            public long call() {
                return start().toCompletableFuture().join();
            }

            @Override
            public CompletionStage<Long> start() {
                calls.incrementAndGet();
                mostCalling.accumulateAndGet(calling.incrementAndGet(), Math::max);
                CompletableFuture<Long> answer = new CompletableFuture<>();
                if (millis == 0) {
                    answer.complete(2L);
                } else {
                    answer.completeOnTimeout(2L, millis, TimeUnit.MILLISECONDS);
                }
                return answer.whenComplete((units, error) -> calling.decrementAndGet());
            }
        };
    }

    private Slice closed(Callers.Job job, int callers, String kind) throws Exception {
        return Callers.closed(job, callers, kind, SOME);
    }

    @ParameterizedTest
    @ValueSource(strings = {Line.PLATFORM, Line.VIRTUAL, Line.ASYNC})
    void asManyAreOpenAsThereAreCallers(String kind) throws Exception {
        assumeTrue(!kind.equals(Line.VIRTUAL) || Client.hasVirtualThreads());
        Slice slice = closed(slow(10), 20, kind);
        assertThat(slice.calls()).isEqualTo(calls.get()).isGreaterThanOrEqualTo(20);
        assertThat(slice.granted()).isEqualTo(2 * slice.calls());
        assertThat(mostCalling).hasValue(20);
        assertThat(slice.millis(50)).isGreaterThanOrEqualTo(9.9);
        assertThat(slice.seconds()).isGreaterThanOrEqualTo(0.05);
        assertThat(slice.perSecond()).isCloseTo(slice.calls() / slice.seconds(), within(1e-6));
        assertThat(slice.cost().allocatedBytes()).isPositive();
        assertThat(slice.cost().clientNanos()).isNotNegative(); // counted in hundredths of a second
    }

    /** The stack does not grow with them. */
    @Test
    void answersMayBeThereAtOnce() throws Exception {
        Slice slice = closed(slow(0), 1, Line.ASYNC);
        assertThat(slice.calls()).isEqualTo(calls.get()).isGreaterThan(1000);
    }

    @ParameterizedTest
    @ValueSource(strings = {Line.PLATFORM, Line.ASYNC})
    void aCallThatFailsIsToldOf(String kind) {
        Callers.Job broken = new Callers.Job() {
            @Override
            public long call() {
                throw new ArithmeticException("broken");
            }

            @Override
            public CompletionStage<Long> start() {
                return CompletableFuture.failedFuture(new ArithmeticException("broken"));
            }
        };
        assertThatThrownBy(() -> closed(broken, 3, kind))
                .hasRootCauseInstanceOf(ArithmeticException.class);
        assertThatThrownBy(() -> Callers.open(broken, 1000, SOME))
                .hasRootCauseInstanceOf(ArithmeticException.class);
    }

    @Test
    void anOpenLoopCallsAtItsOwnPace() throws Exception {
        Slice slice = Callers.open(slow(20), 2000, Duration.ofMillis(500).toNanos());
        assertThat(slice.calls()).isBetween(800L, 1200L);
        assertThat(slice.millis(50)).isGreaterThanOrEqualTo(19.9);
        assertThat(slice.granted()).isEqualTo(2 * slice.calls());
    }

    /** Who is held up once makes all wait who were due meanwhile: here half of all. */
    @Test
    void nothingIsOmittedWhenCallsAreHeldUp() throws Exception {
        AtomicLong until = new AtomicLong();
        Callers.Job stalling = new Callers.Job() {
            @Override
            public long call() {
                throw new UnsupportedOperationException();
            }

            @Override
            public CompletionStage<Long> start() {
                until.compareAndSet(0, System.nanoTime() + SOME);
                while (System.nanoTime() < until.get()) {
                    Thread.onSpinWait();
                }
                return CompletableFuture.completedFuture(1L);
            }
        };
        Slice slice = Callers.open(stalling, 10_000, 2 * SOME);
        assertThat(slice.millis(25)).isLessThan(slice.millis(99));
        assertThat(slice.millis(75)).isBetween(15.0, 50.0);
    }

    @Test
    void aSliceTravelsAsText() throws Exception {
        Slice slice = closed(slow(1), 3, Line.ASYNC);
        Slice copy = Slice.decode(slice.encode());
        assertThat(copy.encode()).isEqualTo(slice.encode());
        assertThat(copy.latency()).isEqualTo(slice.latency());
        Slice both = slice.plus(copy);
        assertThat(both.calls()).isEqualTo(2 * slice.calls());
        assertThat(both.granted()).isEqualTo(2 * slice.granted());
        assertThat(both.latency().getTotalCount()).isEqualTo(both.calls());
        assertThat(both.seconds()).isEqualTo(slice.seconds());
    }

    @Test
    void zipfPrefersSome() {
        int scopes = 1000;
        int[] found = new int[scopes];
        IntSupplier zipf = Workload.ZIPF.scopes(scopes);
        for (int i = 0; i < 100_000; i++) {
            found[zipf.getAsInt()]++;
        }
        int[] sorted = java.util.Arrays.stream(found).sorted().toArray();
        double first = sorted[scopes - 1] / 1e5;
        assertThat(first).isCloseTo(1 / 7.485, within(0.01)); // the sum of 1/n up to 1000
        assertThat((double) sorted[scopes - 1] / sorted[scopes - 2]).isBetween(1.7, 2.3);
    }
}
