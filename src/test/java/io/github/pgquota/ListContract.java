package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Several requests in one call, and how all limits of a scope stand. */
interface ListContract extends Contract {

    @Test
    default void aListIsDecidedOneByOneInItsOrder() {
        World world = world(MESSAGES, Limit.named("tokens").capacity(10));
        Request r60 = Request.of("acme/a").take("requests", 60);
        Request t5 = Request.of("acme/b").take("tokens", 5);
        List<Decision> decisions = quotas().consumeAll(List.of(r60, r60, t5,
                Request.of("acme").take("requests", 40), t5, t5));
        assertThat(decisions).extracting(Decision::isGranted)
                .containsExactly(true, false, true, true, true, false);
        assertThat(counters(world, "meter, used")).containsExactly("requests 100", "tokens 10");
        assertThat(quotas().consumeAll(List.of())).isEmpty();
    }

    @Test
    default void anErrorInAListLeavesTheOthersDecided() {
        World world = world(MESSAGES);
        Request good = Request.of("acme").take("requests", 60);
        Request bad = Request.of("acme").take("bytes", 1);
        QuotaException.Partial partial = assertThrows(QuotaException.Partial.class,
                () -> quotas().consumeAll(List.of(good, bad, good)));
        assertThat(partial).hasCauseInstanceOf(QuotaException.UnknownMeter.class)
                .hasMessageStartingWith("the request at index 1 of the list failed: meter");
        assertThat(partial.outcomes()).satisfiesExactly(
                o -> assertThat(o).isInstanceOf(Granted.class),
                o -> assertThat(o).isInstanceOf(QuotaException.UnknownMeter.class),
                o -> assertThat(o).isInstanceOf(Denied.class));
        assertThat(counters(world, "used")).containsExactly("60");
    }

    @Test
    default void duplicatesInOneListAreOneCharge() {
        World world = world(MESSAGES);
        Request call = Request.of("acme").take("requests", 60).key("k");
        Request other = Request.of("acme").take("requests", 10).key("other");
        List<Decision> decisions =
                quotas().consumeAll(List.of(call, other, call, call, other));
        assertThat(decisions).extracting(d -> ((Granted) d).replayed())
                .containsExactly(false, false, true, true, true);
        assertThat(((Granted) decisions.get(2)).operation())
                .isEqualTo(((Granted) decisions.get(0)).operation());
        assertThat(counters(world, "used")).containsExactly("70");
        assertThatThrownBy(() -> quotas().consumeAll(List.of(
                Request.of("acme").take("requests", 1).key("new"),
                Request.of("acme").take("requests", 2).key("new"))))
                .isInstanceOf(QuotaException.Partial.class)
                .cause().isInstanceOfSatisfying(QuotaException.KeyConflict.class,
                        e -> assertThat(e.field()).isEqualTo("amounts"));
        assertThat(counters(world, "used")).containsExactly("71");
    }

    @Test
    default void balancesListEveryLimitThatApplies() {
        World world = world(MESSAGES,
                Limit.named("user").on("requests").level(1).capacity(20).per(Window.day()),
                Limit.named("deep").on("requests").level(2).capacity(5),
                Limit.named("all").on("tokens").unlimited().per(Window.lifetime()));
        world.clock(MARCH);
        quotas().consume(Request.of("acme/a").take("requests", 7));
        quotas().reserve(Request.of("acme/a").take("requests", 2), MINUTE);
        assertThat(quotas().balances(Scope.of("acme/a"))).containsExactly(
                new Balance("messages", "requests", Scope.of("acme"), Limit.Mode.ENFORCE, 100L,
                        7, 2, Instant.parse("2026-03-01T00:00:00Z"), Instant.parse(APRIL)),
                new Balance("user", "requests", Scope.of("acme/a"), Limit.Mode.ENFORCE, 20L,
                        7, 2, Instant.parse("2026-03-10T00:00:00Z"),
                        Instant.parse("2026-03-11T00:00:00Z")),
                new Balance("all", "tokens", Scope.of("acme"), Limit.Mode.ENFORCE, null,
                        0, 0, null, null));
    }

    @Test
    default void eachOfAListIsChargedAtAllItsLevelsOrNowhere() {
        World world = world(MESSAGES,
                Limit.named("team").on("requests").level(1).capacity(30).per(Window.day()),
                Limit.named("user").on("requests").level(2).capacity(20).per(Window.hour()),
                TOKENS.alertAt(50)).clock(MARCH);
        Request ann = Request.of("acme/red/ann").take("requests", 15).take("tokens", 500);
        Request bob = Request.of("acme/red/bob").take("requests", 15).take("tokens", 1);
        Request eve = Request.of("acme/blue/eve").take("requests", 20).take("tokens", 499);
        List<Decision> decisions = quotas().consumeAll(List.of(ann, ann.key("k"), bob,
                Request.of("acme/red/bob").take("requests", 1).key("k"), eve,
                Request.of("acme").take("requests", 50), Request.of("acme").take("tokens", 1)));
        assertThat(decisions).extracting(d -> d instanceof Denied denied
                ? denied.refusing().stream().map(v -> v.balance().limit()).toList().toString()
                : "granted").containsExactly("granted", "[user]", "granted", "[team]", "granted",
                "granted", "[tokens]");
        assertThat(decisions).extracting(d -> d.limits().get(0).balance().used()).containsExactly(
                15L, 15L, 30L, 30L, 50L, 100L, 1000L);
        assertThat(counters(world, "scope, meter, used")).containsExactly("acme requests 100",
                "acme tokens 1000", "acme/blue requests 20", "acme/blue/eve requests 20",
                "acme/red requests 30", "acme/red/ann requests 15", "acme/red/bob requests 15");
        assertThat(world.rows("select percent, used from pgquota.alert where tenant = 'acme'"))
                .containsExactly("50 500");
        assertThat(world.rows("select key from pgquota.operation_key where tenant = 'acme'"))
                .as("denied").isEmpty();
    }

    @Test
    default void errorsInAListAreToldEachInItsPlace() {
        World world = world(MESSAGES, Limit.named("deep").on("steps").level(2).capacity(9));
        Request good = Request.of("acme/a").take("requests", 10);
        quotas().consume(good.key("k")).orThrow();
        Request stranger = Request.of("nobody").take("requests", 1);
        Request shallow = Request.of("acme").take("requests", 1).take("steps", 1);
        Request conflict = Request.of("acme/a").take("requests", 11).key("k");
        QuotaException.Partial partial = assertThrows(QuotaException.Partial.class,
                () -> quotas().consumeAll(List.of(stranger, good, shallow, good.key("k"),
                        conflict, Request.of("acme").take("requests", 81), good.key("new"))));
        assertThat(partial).hasCauseInstanceOf(QuotaException.UnknownTenant.class);
        assertThat(partial.outcomes()).extracting(o -> o.getClass().getSimpleName())
                .containsExactly("UnknownTenant", "Granted", "UnknownMeter", "Granted",
                        "KeyConflict", "Denied", "Granted");
        assertThat(partial.outcomes()).element(3).isInstanceOfSatisfying(Granted.class,
                granted -> assertThat(granted.replayed()).isTrue());
        assertThat(counters(world, "used, entries")).containsExactly("30 3");
        assertThat(world.rows("select key from pgquota.operation_key where tenant = 'acme' "
                + "order by key")).containsExactly("k", "new");
        List<String> before = world.written();
        assertThat(assertThrows(QuotaException.Partial.class,
                () -> quotas().consumeAll(List.of(shallow, stranger, conflict))).outcomes())
                .hasSize(3).allMatch(QuotaException.class::isInstance);
        assertThat(world.written()).isEqualTo(before);
    }

    @Test
    default void balancesShowWhatHoldsNow() {
        World world = world(MESSAGES,
                Limit.named("none").on("blocked").capacity(0),
                Limit.named("off").on("steps").capacity(5).mode(Limit.Mode.OFF),
                Limit.named("soft").on("requests").level(1).capacity(5).per(Window.day())
                        .mode(Limit.Mode.OBSERVE)).clock(MARCH);
        quotas().consume(Request.of("acme/a").take("requests", 7)).orThrow();
        quotas().record(Request.of("acme/a").take("blocked", 3).take("steps", 9));
        quotas().reserve(Request.of("acme/a").take("requests", 2), MINUTE).orThrow();
        assertThat(balances("acme/a")).containsExactly("messages 100 7 2 91",
                "none 0 3 0 0", "off 5 0 0 5", "soft 5 7 2 0");
        world.later(MINUTE);
        assertThat(balances("acme/a")).containsExactly("messages 100 7 0 93",
                "none 0 3 0 0", "off 5 0 0 5", "soft 5 7 0 0");
        world.clock("2026-03-11T00:00:00Z");
        assertThat(balances("acme/a")).containsExactly("messages 100 7 0 93",
                "none 0 3 0 0", "off 5 0 0 5", "soft 5 0 0 5");
        assertThat(balances("acme")).containsExactly("messages 100 7 0 93", "none 0 3 0 0",
                "off 5 0 0 5");
        world.quotas().plans().boost(Scope.of("acme"), "messages", 11, Instant.EPOCH, null, "x");
        assertThat(balances("acme")).contains("messages 111 7 0 104");
        assertThat(balances("nobody")).isEmpty();
        assertThat(counters(world, "scope, meter, used, held")).as("as they were")
                .containsExactly("acme blocked 3 0", "acme requests 7 2", "acme/a requests 7 2");
    }

    private List<String> balances(String scope) {
        return quotas().balances(Scope.of(scope)).stream().map(b -> b.limit() + " "
                + b.capacity().getAsLong() + " " + b.used() + " " + b.held() + " "
                + b.remaining().getAsLong()).toList();
    }
}
