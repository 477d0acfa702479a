package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.time.Duration;
import java.time.Instant;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.function.Function;
import org.junit.jupiter.api.Test;

/** What cannot be done is told with a type and fields, and leaves nothing behind. */
interface RefusalContract extends Contract {

    /** Something bad that is given, and the field and value that must be told. */
    record Bad(String field, String value, Runnable given) {

        void isTold() {
            QuotaException.Invalid e =
                    catchThrowableOfType(QuotaException.Invalid.class, given::run);
            assertThat(e).as("%s \"%s\"", field, value).isNotNull();
            assertThat(e.field() + "=" + e.value()).isEqualTo(field + "=" + value);
            assertThat(e.getMessage()).startsWith(field).hasSizeGreaterThan(20);
        }
    }

    private static Runnable scope(Operations q, String path) {
        return () -> q.consume(Request.of(path).take("requests", 1));
    }

    private static Runnable meter(Operations q, String meter) {
        return () -> q.consume(Request.of("acme").take(meter, 1));
    }

    private static Runnable amount(Operations q, long amount) {
        return () -> q.consume(Request.of("acme").take("requests", amount));
    }

    private static Map<String, Long> meters(int n) {
        Map<String, Long> meters = new TreeMap<>();
        for (int i = 0; i < n; i++) {
            meters.put("m" + i, 1L);
        }
        return meters;
    }

    private static List<Bad> badInput(
            Operations q, OperationId hold, OperationId operation) {
        String long129 = "x".repeat(129);
        Duration none = Duration.ZERO;
        return List.of(
                new Bad("scope", "", scope(q, "")),
                new Bad("scope", "null", () -> q.consume(Request.of((String) null))),
                new Bad("scope", "acme//a", scope(q, "acme//a")),
                new Bad("scope", "/acme", scope(q, "/acme")),
                new Bad("scope", "acme/", scope(q, "acme/")),
                new Bad("scope", "acme/ a", scope(q, "acme/ a")),
                new Bad("scope", "acme/a\u00a0\u2003", scope(q, "acme/a\u00a0\u2003")),
                new Bad("scope", "acme/a\tb", scope(q, "acme/a\tb")),
                new Bad("scope", "acme/a\0b", scope(q, "acme/a\0b")),
                new Bad("scope", "acme/a\ud800b", scope(q, "acme/a\ud800b")),
                new Bad("scope", "acme/" + long129, scope(q, "acme/" + long129)),
                new Bad("scope", "0/1/2/3/4/5/6/7/8/9", scope(q, "0/1/2/3/4/5/6/7/8/9")),
                new Bad("meter", "", meter(q, "")),
                new Bad("meter", "null", meter(q, null)),
                new Bad("meter", "null", () -> CALL.take(null, 1)),
                new Bad("meter", " x", meter(q, " x")),
                new Bad("meter", "a\nb", meter(q, "a\nb")),
                new Bad("meter", long129, meter(q, long129)),
                new Bad("meter", "requests", () -> q.consume(CALL.take("requests", 1))),
                new Bad("amount of requests", "-1", amount(q, -1)),
                new Bad("amount of requests", "-9223372036854775808", amount(q, Long.MIN_VALUE)),
                new Bad("amount of requests", "4611686018427387905", amount(q, (1L << 62) + 1)),
                new Bad("amounts", "17", () -> q.consume(
                        new Request(Scope.of("acme"), meters(17), null))),
                new Bad("amounts", Request.of("acme").toString(),
                        () -> q.consume(Request.of("acme"))),
                new Bad("key", "", () -> q.consume(CALL.key(""))),
                new Bad("key", "k".repeat(201), () -> q.consume(CALL.key("k".repeat(201)))),
                new Bad("key", "k\0", () -> q.consume(CALL.key("k\0"))),
                new Bad("key", "k\ud800", () -> q.consume(CALL.key("k\ud800"))),
                new Bad("timeToLive", "PT0S", () -> q.reserve(CALL, none)),
                new Bad("timeToLive", "PT-1S", () -> q.reserve(CALL, Duration.ofSeconds(-1))),
                new Bad("timeToLive", "PT0S", () -> q.extend(hold, Map.of(), none, null)),
                new Bad("amount of requests", "-1",
                        () -> q.settle(hold, Map.of("requests", -1L))),
                new Bad("meter", "bytes", () -> q.settle(hold, Map.of("bytes", 1L))),
                new Bad("amount of requests", "-1",
                        () -> q.refund(operation, Map.of("requests", -1L), null)),
                new Bad("key", "", () -> q.refund(operation, Map.of(), "")),
                new Bad("operation", "acme", () -> q.release(OperationId.parse("acme"))),
                new Bad("tenant", "a/b", () -> q.release(new OperationId("a/b", hold.uuid()))));
    }

    @Test
    default void badInputIsRefusedWithFieldAndValueBeforeAnythingIsWritten() {
        World world = world(MESSAGES, Limit.named("bytes"));
        OperationId operation = quotas().consume(CALL).orThrow().operation();
        OperationId hold = quotas().reserve(CALL, Duration.ofHours(1)).orThrow().operation();
        List<String> before = world.written();
        badInput(quotas(), hold, operation).forEach(Bad::isTold);
        assertThat(world.written()).isEqualTo(before);
    }

    /** What is just not bad input: the table above must not win by refusing everything. */
    @Test
    default void theBoundsThemselvesAreGood() {
        String long128 = "\ud83d\ude80".repeat(128); // characters, not Java's halves of them
        world(MESSAGES.capacity(1L << 62), Limit.named(long128), Limit.named("m n/o"));
        Operations quotas = quotas();
        assertThat(List.of(
                quotas.consume(Request.of("acme/1/2/3/4/5/6/7/8").take("requests", 0)),
                quotas.consume(Request.of("acme/" + long128).take(long128, 1)),
                quotas.consume(Request.of("acme/a b\u00e9'\"\\;--").take("m n/o", 1)),
                quotas.consume(CALL.key("k".repeat(200))),
                quotas.reserve(CALL.key("' \" \\ {} , \u00e9"), Duration.ofMillis(1)),
                quotas.reserve(CALL, Duration.ofSeconds(Long.MAX_VALUE)),
                quotas.record(Request.of("acme").take("requests", 1L << 62))))
                .allMatch(Decision::isGranted);
    }

    @Test
    default void aRequestMayNameSixteenMeters() {
        world(meters(16).keySet().stream().map(Limit::named).toArray(Limit[]::new));
        assertThat(quotas().consume(new Request(Scope.of("acme"), meters(16), null)).isGranted())
                .isTrue();
    }

    @Test
    default void whatMustNotBeNullIsNamed() {
        world(MESSAGES);
        Operations quotas = quotas();
        OperationId id = OperationId.parse("acme/019c8f2e-1234-7abc-8def-0123456789ab");
        Map<Consumer<Operations>, String> calls = Map.of(
                q -> q.consume(null), "request",
                q -> q.consumeAll(null), "requests",
                q -> q.consumeAll(Collections.singletonList(null)), "request",
                q -> q.reserve(CALL, null), "timeToLive",
                q -> q.settle(null, Map.of()), "hold",
                q -> q.settle(id, null), "amounts",
                q -> q.release(null), "hold",
                q -> q.extend(null, Map.of(), MINUTE, null), "hold",
                q -> q.refund(null, Map.of(), null), "operation",
                q -> q.balances(null), "scope");
        calls.forEach((call, name) -> assertThat(
                assertThrows(NullPointerException.class, () -> call.accept(quotas)))
                .as(name).hasMessage(name));
    }

    @Test
    default void whoOrWhatIsNotKnownIsToldApart() {
        World world = world(MESSAGES,
                Limit.named("deep").on("steps").level(2).capacity(9));
        world.planFrom("LATER", Instant.parse("2099-01-01T00:00:00Z"), MESSAGES)
                .tenant("early", "LATER");
        List<String> before = world.written();
        Operations quotas = quotas();
        Map<String, Class<? extends QuotaException>> cases = new TreeMap<>(Map.of(
                "nobody requests has no plan", QuotaException.UnknownTenant.class,
                "early requests no version", QuotaException.UnknownTenant.class,
                "acme bytes no limit", QuotaException.UnknownMeter.class,
                "acme/a steps deeper levels", QuotaException.UnknownMeter.class));
        cases.forEach((text, kind) -> {
            String[] words = text.split(" ", 3);
            for (Function<Request, Object> verb : List.<Function<Request, Object>>of(
                    quotas::consume, quotas::consumeUpTo, quotas::record, quotas::check,
                    r -> quotas.reserve(r, MINUTE))) {
                Throwable e = assertThrows(kind, () -> verb.apply(
                        Request.of(words[0]).take(words[1], 1).key("k")));
                assertThat(e).hasMessageContaining(words[2]);
            }
        });
        assertThat(world.written()).isEqualTo(before);
        world.execute("update pgquota.setting set default_plan = 'P'");
        assertThat(quotas.consume(Request.of("nobody").take("requests", 1)).isGranted())
                .isTrue();
    }
}
