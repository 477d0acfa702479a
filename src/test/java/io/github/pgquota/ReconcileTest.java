package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Counters, holds and ledger agree after every verb; what is done behind the library's back is
 * told.
 */
class ReconcileTest {

    private static final Room ROOM = new Room();
    private static final Duration MINUTES = Duration.ofMinutes(9);
    private static int number;

    private String tenant;
    private Reports reports;

    @AfterAll
    static void close() {
        ROOM.close();
    }

    /**
     * A tenant that has used every verb: billed x (used 14, held 3, entries 1 to 5) and unbilled y.
     */
    @BeforeEach
    void use() {
        tenant = "t" + ++number;
        reports = ROOM.quotas.reports();
        ROOM.tenant(tenant, Limit.named("x").capacity(100), Limit.named("y").per(Window.hour()));
        Quotas quotas = ROOM.quotas;
        OperationId first = quotas.consume(request(5)).orThrow().operation();
        quotas.record(request(7));
        quotas.refund(first, Map.of("x", 2L), null);
        quotas.settle(quotas.reserve(request(4), MINUTES).orThrow().operation(), Map.of("x", 3L));
        quotas.release(quotas.reserve(request(6), MINUTES).orThrow().operation());
        quotas.consume(request(1)).orThrow();
        quotas.reserve(request(3), MINUTES).orThrow();
    }

    private Request request(long x) {
        return Request.of(tenant).take("x", x).take("y", 1);
    }

    private List<String> problems() {
        return reports.reconcile(tenant).stream()
                .map(d -> d.meter() + ": " + d.problem().replaceAll("[0-9a-f]{8}-[-0-9a-f]{27}",
                "h") + ", "
                        + d.expected().orElse(-1) + " " + d.found().orElse(-1))
                .toList();
    }

    private int tamper(String sql) {
        return ROOM.run(sql.replace("$c", "(select id from pgquota.counter where tenant = '"
                + tenant
                + "' and meter = 'x')").replace("$t", "tenant = '" + tenant + "'"));
    }

    @Test
    void allVerbsAgree() {
        assertThat(problems()).isEmpty();
        assertThat(ROOM.rows(
                "select meter, used, held, entries from pgquota.counter where tenant = ? "
                + "order by meter", tenant)).containsExactly("x 14 3 5", "y 4 1 0");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            update pgquota.counter set used = 20 where $t and meter = 'x' | x: used is not the sum of the ledger, 14 20 |
            update pgquota.counter set used = 9 where $t and meter = 'x'  | x: used is not the sum of the ledger, 14 9 |
            update pgquota.counter set held = 5 where $t and meter = 'x'  | x: held is not the sum of its holds, 3 5 |
            update pgquota.counter set held = 0 where $t and meter = 'y'  | y: held is not the sum of its holds, 1 0 |
            update pgquota.counter set entries = 4 where $t and meter = 'x' | x: the ledger ends before or after the counter's last entry, 4 5 |
            delete from pgquota.hold where $t and state = 'open' | x: hold h does not exist, but holds, 0 3; y: hold h does not exist, but holds, 0 1 |
            update pgquota.hold set state = 'settled' where $t and state = 'open' | x: hold h is settled, but holds, 0 3; y: hold h is settled, but holds, 0 1 |
            delete from pgquota.hold_item where $t and counter = $c | x: held is not the sum of its holds, 0 3; x: hold h is open, but holds nothing here, 3 0 |
            update pgquota.hold_item set amount = 2 where $t and counter = $c | x: held is not the sum of its holds, 2 3; x: hold h holds another amount, or for another time, than it says, 3 2 |
            """)
    void aDifferenceIsToldAndRepaired(String sql, String expected) {
        assertThat(tamper(sql)).isPositive();
        assertThat(String.join("; ", problems())).isEqualTo(expected);
        List<Reports.Difference> before = reports.reconcile(tenant);
        assertThat(ROOM.plans.repair(tenant)).containsExactlyInAnyOrderElementsOf(before);
        assertThat(problems()).isEmpty();
        assertThat(ROOM.rows("select used from pgquota.counter where tenant = ? and meter = 'x'",
                tenant))
                .containsExactly("14");
        assertThat(ROOM.plans.repair(tenant)).isEmpty();
    }

    @Test
    void aRepairIsVisible() {
        tamper("update pgquota.counter set used = 20 where $t and meter = 'x'");
        ROOM.quotas.plans("ada", "looked odd").repair(tenant);
        assertThat(ROOM.rows("select entry, amount, used_after from pgquota.ledger_line "
                + "where tenant = ? and verb = 'repair' order by entry", tenant))
                .containsExactly("6 6 20", "7 -6 14");
        assertThat(ROOM.rows("select who, why, before->'used', after->'used' from pgquota.audit "
                + "where tenant = ? and what = 'repair'", tenant))
                .containsExactly("ada looked odd 20 14");
        ROOM.quotas.consume(request(1)).orThrow();
        assertThat(problems()).isEmpty();
        OperationId repair = new OperationId(tenant, java.util.UUID.fromString(ROOM.rows(
                "select distinct operation from pgquota.ledger "
                + "where tenant = ? and verb = 'repair'", tenant).get(0)));
        assertThatThrownBy(() -> ROOM.quotas.refund(repair, java.util.Map.of(), null))
                .isInstanceOf(QuotaException.NotFound.class);
    }

    /** It proves that rows were lost or changed, so nothing hides it. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            delete from pgquota.ledger where $t and counter = $c and entry = 3 | x: entry 4 does not follow the one before, 3 4; x: used after entry 4 is not that before plus its amount, 15 13; x: used is not the sum of the ledger, 16 14 |
            delete from pgquota.ledger where $t and counter = $c and entry = 1 | x: the first entries of the ledger are missing, 1 2 |
            delete from pgquota.ledger where $t and counter = $c and entry = 5 | x: the ledger ends before or after the counter's last entry, 5 4; x: used is not the sum of the ledger, 13 14 |
            delete from pgquota.ledger where $t and counter = $c               | x: the ledger ends before or after the counter's last entry, 5 0; x: used is not the sum of the ledger, 0 14 |
            update pgquota.ledger set amount = 8 where $t and counter = $c and entry = 2 | x: used after entry 2 is not that before plus its amount, 13 12; x: used is not the sum of the ledger, 15 14 |
            """)
    void aBrokenLedgerIsToldAndNotMended(String sql, String expected) {
        assertThat(tamper(sql)).isPositive();
        assertThat(String.join("; ", problems())).isEqualTo(expected);
        assertThat(ROOM.plans.repair(tenant)).isEmpty();
        assertThat(String.join("; ", problems())).isEqualTo(expected);
    }

    @Test
    void entriesOfNoCounterAreTold() {
        tamper("delete from pgquota.counter where $t and meter = 'y' and held >= 0");
        tamper("update pgquota.ledger set counter = -1 where $t and entry = 5");
        assertThat(problems()).anyMatch(p -> p.contains("entries of a counter that does not exist"))
                .anyMatch(p -> p.contains("holds of a counter that does not exist"));
    }
}
