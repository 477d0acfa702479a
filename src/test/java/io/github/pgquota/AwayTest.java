package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** The database goes away and comes back: what was let through is charged, all of it, once. */
class AwayTest extends AwayCase {

    @Test
    void withoutAGateItIsClosed() {
        away();
        assertThrows(QuotaException.Unavailable.class, () -> quotas.consume(CALL));
        back();
        assertThat(used()).isEmpty();
    }

    @Test
    void whatIsLetThroughIsChargedWhenTheDatabaseIsBack() {
        try (Away.Gate gate = quotas.away(policy())) {
            assertThat(gate.consume(CALL).orThrow().isCharged()).isTrue();
            away();
            Granted granted = gate.consume(CALL).orThrow();
            assertThat(granted.isCharged()).isFalse();
            assertThat(granted.granted()).isEqualTo(Map.of("requests", 1L));
            assertThat(granted.limits()).isEmpty();
            assertThatThrownBy(granted::operation).isInstanceOf(IllegalStateException.class);
            gate.record(Request.of("acme").take("requests", 2));
            Away.Report report = gate.report();
            assertThat(report.sinceOrNull()).isNotNull();
            assertThat(report.waiting()).isEqualTo(2);
            assertThat(report.units()).isEqualTo(Map.of("requests", 3L));
            assertThat(gate.charge()).isFalse();
            back();
            awaitCharged(gate);
            assertThat(gate.report()).isEqualTo(
                    new Away.Report(null, 0, Map.of(), 2, 0, List.of()));
            assertThat(gate.consume(CALL).orThrow().isCharged()).isTrue();
        }
        assertThat(used()).containsExactly("5");
        assertThat(world.rows("select verb, amount from pgquota.ledger order by entry"))
                .containsExactly("consume 1", "consume 1", "record 2", "consume 1");
    }

    @Test
    void anAllowanceIsForEachTenantAndBounded() {
        try (Away.Gate gate = quotas.away(policy().open("requests", 1, 2))) {
            away();
            for (int i = 0; i < 2; i++) {
                gate.consume(CALL).orThrow(); // acme/search is full now
            }
            assertThrows(QuotaException.Unavailable.class, () -> gate.consume(CALL));
            gate.consume(Request.of("acme").take("requests", 2)).orThrow(); // acme is full, too
            assertThrows(QuotaException.Unavailable.class,
                    () -> gate.consume(Request.of("acme/mail").take("requests", 1)));
            gate.consume(Request.of("other/search").take("requests", 1)).orThrow();
            assertThrows(QuotaException.Unavailable.class,
                    () -> gate.consume(Request.of("other").take("requests", 1).take("tokens", 1)));
            assertThrows(QuotaException.Unavailable.class,
                    () -> gate.reserve(Request.of("other").take("requests", 1),
                            Duration.ofMinutes(1)));
            back();
            awaitCharged(gate);
            away(); // another outage, with allowances of its own
            gate.consume(CALL).orThrow();
            back();
            awaitCharged(gate);
        }
        assertThat(world.rows("select tenant, used from pgquota.counter order by tenant"))
                .containsExactly("acme 5", "other 1");
    }

    @Test
    void noMoreCallsWaitThanMay() {
        try (Away.Gate gate = quotas.away(policy().mostCalls(2))) {
            away();
            gate.consume(CALL).orThrow();
            gate.consume(CALL).orThrow();
            assertThrows(QuotaException.Unavailable.class, () -> gate.consume(CALL));
            back();
            awaitCharged(gate);
        }
        assertThat(used()).containsExactly("2");
    }

    /** What does not fit any longer has happened: it is charged, and reported. */
    @Test
    void whatIsOverALimitByThenIsReported() {
        try (Away.Gate gate = quotas.away(policy())) {
            away();
            gate.consume(Request.of("acme").take("requests", 3).key("k")).orThrow();
            world.quotas().consume(Request.of("acme").take("requests", 9)).orThrow();
            back();
            awaitCharged(gate);
            assertThat(gate.report().overage()).isEqualTo(2);
        }
        assertThat(used()).containsExactly("12");
        assertThat(world.rows("select key, verb from pgquota.operation_key"))
                .containsExactly("k record");
    }

    @Test
    void aKeyIsChargedOnceWhoeverAsksForIt() {
        try (Away.Gate gate = quotas.away(policy())) {
            Request keyed = CALL.key("k");
            away();
            assertThat(gate.consume(keyed).orThrow().replayed()).isFalse();
            assertThat(gate.consume(keyed).orThrow().replayed()).isTrue();
            assertThat(assertThrows(QuotaException.KeyConflict.class,
                    () -> gate.consume(Request.of("acme").take("requests", 1).key("k"))).field())
                    .isEqualTo("scope");
            world.quotas().consume(keyed).orThrow(); // another process, which has the database
            back();
            awaitCharged(gate);
            assertThat(gate.report().charged()).isEqualTo(1);
            assertThat(gate.consume(keyed).orThrow().replayed()).isTrue();
        }
        assertThat(used()).containsExactly("1");
    }

    /** With a key it does not matter whether it was applied; without one nobody knows. */
    @Test
    void aLostAnswerIsLetThroughByItsKey() {
        try (Pools.Pool pool = pool(); Quotas pooled = Quotas.on(pool).build();
                Away.Gate gate = pooled.away(policy())) {
            for (Request call : List.of(CALL.key("k"), CALL)) {
                gate.balances(CALL.scope());
                proxy.loseReplies(1);
                try {
                    assertThat(gate.consume(call).orThrow().isCharged()).isFalse();
                    assertThat(call.key()).isNotNull();
                } catch (QuotaException.OutcomeUnknown e) {
                    assertThat(call.key()).isNull();
                }
                awaitCharged(gate);
            }
        }
        assertThat(used()).containsExactly("2");
    }

    @Test
    void whatWaitsOutlivesTheProcess() throws Exception {
        Path file = folder.resolve("away");
        try (Away.Gate gate = quotas.away(policy())) {
            away();
            gate.consume(Request.of("acme/a b+c%").take("requests", 1).key("k \n/=,")).orThrow();
            gate.consume(CALL).orThrow();
            assertThatThrownBy(() -> quotas.away(policy()))
                    .isInstanceOf(QuotaException.Invalid.class).hasMessageContaining("is in use");
        }
        // killed in the midst of a line: that call was not let through
        Files.writeString(file, Files.readString(file) + "+ 3 consume acme");
        try (Away.Gate gate = quotas.away(policy())) {
            assertThat(gate.report().waiting()).isEqualTo(2);
            gate.consume(CALL).orThrow();
            gate.consume(CALL).orThrow();
            assertThrows(QuotaException.Unavailable.class, () -> gate.consume(CALL));
            back();
            awaitCharged(gate);
        }
        assertThat(used()).containsExactly("4");
        assertThat(world.rows("select scope from pgquota.operation_key where key like 'k%'"))
                .containsExactly("acme/a b+c%");
        assertThat(Files.size(file)).isZero();
    }

    @Test
    void whatCannotBeChargedIsReportedAndKept() throws Exception {
        try (Away.Gate gate = quotas.away(policy())) {
            away();
            gate.consume(Request.of("nobody").take("requests", 1)).orThrow();
            gate.consume(CALL).orThrow();
            back();
            awaitCharged(gate);
            assertThat(gate.report().refused()).singleElement().asString()
                    .contains("tenant \"nobody\" has no plan");
        }
        world.tenant("nobody", "P");
        try (Away.Gate gate = quotas.away(policy())) {
            awaitCharged(gate);
            assertThat(gate.report().refused()).isEmpty();
        }
        assertThat(world.rows("select tenant, used from pgquota.counter order by tenant"))
                .containsExactly("acme 1", "nobody 1");
    }

    @Test
    void aDamagedFileIsToldWithItsLine() throws Exception {
        Path file = folder.resolve("away");
        List<String> bad = new ArrayList<>(List.of("x", "+ 10 consume acme k",
                "+ 10 drop acme k a=1", "+ 10 consume acme k requests=-1",
                "+ z consume acme k requests=1", "- ", "- +9", "+ 10",
                "+ 10 consume %zz k requests=1", "+ 10 consume acme k requests",
                "+ 10 consume acme k a=1=2", "+ 10 consume acme k ,", "+ 10 consume acme k a=1,",
                "+ 10 consume acme k a=01", "+ 010 consume acme k a=1",
                "+ 9 consume acme other requests=1")); // the first would be lost
        for (String line : bad) {
            Files.writeString(file, "+ 9 consume acme k requests=1\n" + line + "\n");
            QuotaException.InvalidFile e = assertThrows(
                    QuotaException.InvalidFile.class, () -> quotas.away(policy()), line);
            assertThat(e.line()).isEqualTo(2);
        }
        for (String other : List.of("{\"my\": \"config\"}", "a=1\nb=2",
                "+ 1 consume acme k r=1,r=2\n")) {
            Files.writeString(file, other);
            assertThrows(QuotaException.InvalidFile.class, () -> quotas.away(policy()), other);
            assertThat(Files.readString(file)).isEqualTo(other);
        }
        Files.writeString(file, "+ 9 consume acme k requests=1\n- 9\n");
        try (Away.Gate gate = quotas.away(policy())) {
            assertThat(gate.report().waiting()).isZero();
        }
        assertThatThrownBy(() -> quotas.away(Away.keptIn(folder.resolve("no/where"))))
                .hasMessageContaining("cannot be opened");
        assertThat(used()).isEmpty();
    }

    /** One tenant's lock lets no other tenant's calls through. */
    @Test
    void theGateClosesWhenTheDatabaseAnswersThoughACallHasToWait() throws Exception {
        world.quotas().consume(CALL).orThrow();
        world.quotas().consume(Request.of("other").take("requests", 10)).orThrow();
        try (Quotas hasty = Quotas.on(source()).timeouts(Timeouts.standard()
                        .lock(Duration.ofMillis(200))).build();
                Away.Gate gate = hasty.away(policy());
                var blocker = world.database().connection(); var sql = blocker.createStatement()) {
            away();
            gate.consume(CALL).orThrow();
            blocker.setAutoCommit(false);
            sql.execute("select from pgquota.counter where tenant = 'acme' for update");
            back();
            Gate.await().until(() -> gate.report().sinceOrNull() == null);
            assertThat(gate.report().waiting()).isEqualTo(1);
            assertThat(gate.consume(Request.of("other").take("requests", 1)).isGranted()).isFalse();
            blocker.rollback();
            awaitCharged(gate);
        }
        assertThat(world.rows("select tenant, used from pgquota.counter order by tenant"))
                .containsExactly("acme 2", "other 10");
    }

    @Test
    void aPoolThatIsUsedUpOpensNoGate() throws Exception {
        try (Pools.Pool pool = pool(); Quotas pooled = Quotas.on(pool).build();
                Away.Gate gate = pooled.away(policy()); var busy = pool.getConnection()) {
            assertThat(busy.isValid(1)).isTrue();
            assertThrows(QuotaException.Unavailable.class, () -> gate.consume(CALL));
            assertThat(gate.report().waiting()).isZero();
        }
    }

    /** The schema or a right comes back later than the database. */
    @Test
    void whatCannotBeChargedYetWaits() {
        try (Away.Gate gate = quotas.away(policy())) {
            away();
            gate.consume(CALL).orThrow();
            world.execute("alter schema pgquota rename to elsewhere");
            back();
            Gate.await().until(() -> gate.report().sinceOrNull() == null);
            assertThat(gate.charge()).isFalse();
            assertThat(gate.report().refused()).isEmpty();
            world.execute("alter schema elsewhere rename to pgquota");
            awaitCharged(gate);
            assertThat(gate.report().charged()).isEqualTo(1);
        }
        assertThat(used()).containsExactly("1");
    }

    @Test
    void aKeyThatSomebodyElseUsedIsNotTakenForOurs() {
        try (Away.Gate gate = quotas.away(policy())) {
            away();
            gate.consume(CALL.key("k")).orThrow();
            world.quotas().reserve(CALL.key("k"), Duration.ofMinutes(1)).orThrow();
            back();
            awaitCharged(gate);
            assertThat(gate.report().charged()).isZero();
            assertThat(gate.report().refused()).singleElement().asString()
                    .contains("key \"k\" was used for another request");
        }
    }

    /** Else it might be told "denied", and be charged after that. */
    @Test
    void whatWaitsIsAnsweredAsItWas() throws Exception {
        world.quotas().consume(Request.of("acme").take("requests", 9)).orThrow();
        try (Quotas hasty = Quotas.on(source()).timeouts(Timeouts.standard()
                        .lock(Duration.ofMillis(200))).build();
                Away.Gate gate = hasty.away(policy());
                var blocker = world.database().connection(); var sql = blocker.createStatement()) {
            away();
            gate.consume(CALL.key("k")).orThrow();
            world.quotas().consume(CALL).orThrow(); // full
            blocker.setAutoCommit(false);
            sql.execute("select from pgquota.counter for update");
            back();
            Gate.await().until(() -> gate.report().sinceOrNull() == null);
            assertThat(gate.consume(CALL.key("k")).orThrow().replayed()).isTrue();
            blocker.rollback();
            awaitCharged(gate);
        }
        assertThat(used()).containsExactly("11");
    }

    /** A refused second gate leaves the first one's lock. */
    @Test
    void aFileIsOfOneProcessOnly() throws Exception {
        try (Away.Gate gate = quotas.away(policy())) {
            assertThrows(QuotaException.Invalid.class, () -> quotas.away(policy()));
            assertThat(gate.report().waiting()).isZero();
            Process other = new ProcessBuilder(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-cp",
                    System.getProperty("java.class.path"), Other.class.getName(),
                    policy().file().toString()).start();
            assertThat(other.waitFor()).isEqualTo(1);
        }
        quotas.away(policy()).close();
    }

    /** Another process: ends with 1 if it cannot have the file's lock. */
    static final class Other {
        private Other() {}

        public static void main(String[] args) throws Exception {
            try (var file = new java.io.RandomAccessFile(args[0], "rw")) {
                System.exit(file.getChannel().tryLock() == null ? 1 : 0);
            }
        }
    }

    @Test
    void whatCannotBeWrittenIsNotLetThrough() {
        Path full = Path.of("/dev/full");
        assumeTrue(Files.exists(full), "/dev/full, where every write fails, is not here");
        try (Away.Gate gate = quotas.away(Away.keptIn(full).open("requests", 0, 4))) {
            away();
            assertThrows(QuotaException.Unavailable.class, () -> gate.consume(CALL));
            assertThat(gate.report().waiting()).isZero();
            back();
        }
    }

    /** An interrupt is the caller's own matter: the gate stays open for the others. */
    @Test
    void anInterruptedCallerClosesNothing() {
        try (Away.Gate gate = quotas.away(policy())) {
            away();
            gate.consume(CALL).orThrow();
            Thread.currentThread().interrupt();
            assertThat(gate.consume(CALL).orThrow().isCharged()).isFalse();
            assertThat(Thread.interrupted()).isTrue();
            gate.consume(CALL).orThrow();
            back();
            awaitCharged(gate);
        }
        assertThat(used()).containsExactly("3");
    }

    /** The database is there: a lock, a denial or an error opens no gate. */
    @Test
    void onlyAnAbsentDatabaseOpensTheGate() throws Exception {
        try (Quotas hasty = Quotas.on(source()).timeouts(Timeouts.standard()
                        .lock(Duration.ofMillis(200))).build();
                Away.Gate gate = hasty.away(policy());
                var blocker = world.database().connection(); var sql = blocker.createStatement()) {
            gate.consume(CALL).orThrow();
            assertThat(gate.consume(Request.of("acme").take("requests", 11)).isGranted()).isFalse();
            assertThrows(QuotaException.UnknownTenant.class,
                    () -> gate.consume(Request.of("nobody").take("requests", 1)));
            blocker.setAutoCommit(false);
            sql.execute("select from pgquota.counter for update");
            assertThat(assertThrows(QuotaException.Unavailable.class, () -> gate.consume(CALL))
                    .sqlState()).isEqualTo("55P03");
            blocker.rollback();
            assertThat(gate.report().waiting()).isZero();
        }
        assertThat(used()).containsExactly("1");
    }

    @Test
    void policiesAreInBounds() {
        assertThatThrownBy(() -> policy().open("requests", 0, 1))
                .hasMessage("meter \"requests\" has two allowances at level 0");
        assertThatThrownBy(() -> policy().open("tokens", 9, 1))
                .hasMessage("level \"9\" must be 0 to 8");
        assertThatThrownBy(() -> policy().open("tokens", 0, -1))
                .hasMessage("units \"-1\" must be between 0 and 2^62");
        assertThatThrownBy(() -> policy().mostCalls(0))
                .hasMessage("mostCalls \"0\" must be 1 to 1000000");
    }
}
