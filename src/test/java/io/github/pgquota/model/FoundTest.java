package io.github.pgquota.model;

import static org.assertj.core.api.Assertions.assertThat;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.Limit;
import io.github.pgquota.Quotas;
import io.github.pgquota.Request;
import io.github.pgquota.TestDatabase;
import io.github.pgquota.Window;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What {@link ModelTest} found in lists, made small. */
class FoundTest {

    private static final Instant START = Instant.parse("2027-01-20T02:32:42Z");
    private static final Duration HOUR = Duration.ofHours(1);
    /** Has the default plan, for longer than the clock goes back. */
    private static final Request OTHER = Request.of("C/x/u");
    private static TestDatabase database;
    private static HikariDataSource one;
    private static HikariDataSource other;
    private static Quotas quotas;

    private final List<Step> steps = new ArrayList<>();

    @BeforeAll
    static void open() throws Exception {
        database = TestDatabase.create();
        SqlAdministration.prepare(database);
        one = database.pool(1);
        other = database.pool(1);
        quotas = Quotas.on(one).build();
    }

    @AfterAll
    static void close() {
        quotas.close();
        one.close();
        other.close();
        database.close();
    }

    private void plan(Limit... limits) {
        steps.add(new Step.Publish("P", List.of(limits)));
        steps.add(new Step.Settings("A", "P", null, null));
    }

    private static Step.Call call(String verb, Request request) {
        return new Step.Take(verb, request, verb.equals("reserve") ? HOUR : null);
    }

    private static Step.Call refund(int operation, Map<String, Long> amounts, String key) {
        return new Step.Refund(operation, amounts, key);
    }

    private static Request m(long units) {
        return Request.of("A/x").take("m", units);
    }

    private static Step.Mixed list(Step.Call... calls) {
        return new Step.Mixed(Arrays.stream(calls).map(c -> new Step.Repeated(c, 1)).toList(),
                Step.Way.ALONE);
    }

    private void assertSame() throws Exception {
        assertThat(Program.difference(new Program.Session(one, other, quotas), START, steps))
                .isNull();
    }

    /** The sum fitted beside a rival, but the first of the two did not. */
    @Test
    void whatALaterCallGivesBackIsNotThereForAnEarlierOne() throws Exception {
        plan(Limit.named("l").on("m").capacity(28));
        steps.add(call("consume", m(6)));
        steps.add(call("reserve", m(10)));
        steps.add(new Step.Race(list(call("consume", m(6))),
                list(call("reserve", m(7)), new Step.Settle(0, Map.of("m", 5L)))));
        assertSame();
    }

    /** Shares of several refunds in a list were mixed up, where nothing else told their order. */
    @Test
    void refundsInAListAreToldApart() throws Exception {
        plan(Limit.named("l").on("m").level(1).capacity(12),
                Limit.named("k").on("m").level(1).capacity(10));
        steps.add(call("consume", m(5)));
        steps.add(call("record", OTHER.take("n", 2)));
        steps.add(list(refund(1, Map.of(), null), refund(0, Map.of("n", 4L), null),
                call("consume", OTHER.take("m", 0)), call("consume", m(4))));
        assertSame();
    }

    @Test
    void aRefundOfNothingDoesNotKeepItsKey() throws Exception {
        plan(Limit.named("l").on("m").capacity(12));
        steps.add(call("consume", m(1)));
        steps.add(list(refund(-1, Map.of(), "k"), refund(0, Map.of(), "k")));
        assertSame();
    }

    @Test
    void aRefundThatIsTooLargeNamesTheFirstMeterOfThePlan() throws Exception {
        plan(Limit.named("n").on("n").capacity(12), Limit.named("m").on("m").capacity(12));
        steps.add(call("consume", m(5).take("n", 1)));
        steps.add(refund(0, Map.of(), null));
        steps.add(refund(0, Map.of("m", 3L, "n", 1L), null));
        steps.add(refund(0, Map.of("o", 3L, "x", 1L), null));
        assertSame();
    }

    /** After a reset a counter may have less than its operations charged. */
    @Test
    void refundsInAListGiveNoMoreThanIsThere() throws Exception {
        plan(Limit.named("l").on("m").capacity(12));
        steps.add(call("consume", m(2)));
        steps.add(call("consume", m(2)));
        steps.add(new Step.Reset("A", false));
        steps.add(call("consume", m(3)));
        steps.add(list(refund(0, Map.of(), null), refund(1, Map.of(), null)));
        steps.add(list(call("record", m(2)), refund(2, Map.of("m", 3L), null)));
        assertSame();
    }

    /** A limit that refuses nothing was told to be exceeded, though a rival had given back. */
    @Test
    void whatFitsIsToldAsItIsCharged() throws Exception {
        plan(Limit.named("l").on("m").capacity(11).mode(Limit.Mode.OBSERVE));
        steps.add(call("consume", m(6)));
        steps.add(call("consume", m(6)));
        steps.add(new Step.Race(list(refund(0, Map.of(), null)), list(call("consume", m(5)))));
        assertSame();
    }

    @Test
    void limitsThatThePlanNoLongerHasComeInOneOrder() throws Exception {
        plan(Limit.named("a").on("m").level(1).capacity(9).per(Window.hour()).billed(true),
                Limit.named("b").on("m").capacity(9).per(Window.month()),
                Limit.named("c").on("m").level(1).capacity(9).per(Window.day()),
                Limit.named("d").on("m").capacity(9).per(Window.aligned(HOUR)).billed(true));
        steps.add(call("consume", m(2)));
        steps.add(call("reserve", m(2)));
        steps.add(new Step.Publish("P", List.of(Limit.named("n").on("n").capacity(9))));
        steps.add(list(new Step.Settle(0, Map.of()), refund(0, Map.of(), null)));
        assertSame();
    }

    /** Alone and in a list alike. */
    @Test
    void theEndOfAnEmptyHoldIsNoOperationOfItsCounter() throws Exception {
        for (boolean alone : List.of(true, false)) {
            steps.clear();
            steps.add(call("reserve", OTHER.take("n", 0)));
            Step.Call settle = new Step.Settle(0, Map.of());
            steps.add(alone ? settle : list(settle));
            steps.add(new Step.Clock(Duration.ofDays(-9), -1, false));
            steps.add(list(call("consume", OTHER.take("n", 2))));
            assertSame();
        }
    }
}
