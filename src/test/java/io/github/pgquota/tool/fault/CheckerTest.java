package io.github.pgquota.tool.fault;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every check finds what it looks for, once it is there. */
class CheckerTest {

    /** By the check's name: how the histories are made to differ, and what takes that back. */
    private static final Map<String, String[]> SEEDS = new LinkedHashMap<>();

    private static void seed(String check, String change, String undo) {
        SEEDS.put(check, new String[] {change, undo});
    }

    /** A change of a table as a whole. */
    private static void seedTable(String check, String table, String change) {
        seed(check, "create table history.was as select * from " + table + "; " + change,
                "truncate " + table + "; insert into " + table + " select * from history.was;"
                + " drop table history.was");
    }

    private static final String SOME_CHARGE =
            "(select l.tenant, l.operation from pgquota.ledger l where l.verb = 'consume'"
            + " and l.tenant <> 'probe' order by l.operation limit 1)";
    private static final String ADD_ANSWER = "insert into history.asked select 'x', call, verb,"
            + " tenant, scope, key, ref, ttl, amounts, at + interval '1 h' from history.asked where"
            + " (process, call) in (select process, call from history.granted where %1$s limit 1);"
            + " insert into history.told select 'x', call, '%2$s', gen_random_uuid(), false,"
            + " at + interval '1 h' from history.told where (process, call) in"
            + " (select process, call from history.granted where %1$s limit 1)";
    private static final String DROP_ANSWER =
            "delete from history.asked where process = 'x'; delete from history.told where"
            + " process = 'x'; delete from history.part where process = 'x'";
    private static final String ADD_REFUSAL = "insert into history.asked (process, call, verb,"
            + " tenant, ref, at, scope, key, amounts) select 'x', 1, %1$s, '', 'never',"
            + " 'requests=1' %3$s; insert into history.told select process, call, '%2$s', null,"
            + " false, at from history.asked where process = 'x'";
    private static final String CROSSED = "(process, call) in (select process, call from"
            + " history.part where crossed <> '{}') and not replayed";
    private static final String DENIED = " where (process, call) in (select process, call from"
            + " history.told where outcome = 'denied')";

    static {
        answers();
        refusals();
        counters();
        keysAndHolds();
        thresholds();
    }

    private static void answers() {
        seed("broken_promises: errors that nobody should be told",
                "insert into history.told values ('x', 1, 'ERROR of mine', null, false, now())",
                DROP_ANSWER);
        seed("broken_promises: granted, but not what was asked for",
                "update history.part set granted = granted + 1",
                "update history.part set granted = granted - 1");
        seedTable("over_grants: answers above the capacity that they tell", "history.part",
                "update history.part set used = capacity + 1 where mode = 'ENFORCE'"
                + " and capacity is not null and granted > 0");
        seedTable("over_grants: by a capacity that was not in force since the call began",
                "history.part", "update history.part set capacity = capacity + 1");
        seed("over_grants: counters above every capacity that was in force",
                "update pgquota.counter set used = used + 1000000 where tenant = 'acme'",
                "update pgquota.counter set used = used - 1000000 where tenant = 'acme'");
        seedTable("broken_promises: denied, though all of it fits by the denial's own figures",
                "history.part", "update history.part set used = 0, held = 0, capacity = 1000"
                + DENIED);
        seedTable("broken_promises: denied, though by the ledger and the holds there was room"
                + " all the time", "history.part", "update history.part set used = 1000000,"
                + " capacity = 1000000" + DENIED);
    }

    private static void refusals() {
        seed("broken_promises: a check said yes, though it does not fit by its own figures",
                "create table history.was as table history.part; create table history.were as table"
                + " history.asked; update history.part set used = capacity; update history.asked"
                + " set verb = 'check'",
                "truncate history.part, history.asked; insert into history.part table history.was;"
                + " insert into history.asked table history.were; drop table history.was,"
                + " history.were");
        seedTable("broken_promises: told as certainly not done, though it was", "history.told",
                "update history.told set replayed = true");
        seed("broken_promises: a key that was too old before its time",
                String.format(ADD_REFUSAL, "'consume', 'acme', null::uuid, now()", "KeyExpired",
                        ""), DROP_ANSWER);
        seed("broken_promises: not found, though it is there",
                String.format(ADD_REFUSAL, "'refund', tenant, operation, at", "NotFound",
                        "from pgquota.ledger where verb = 'consume' limit 1"), DROP_ANSWER);
        seed("broken_promises: told that a hold had ended, though nobody had ended it and it had"
                + " time", String.format(ADD_REFUSAL, "'extend', tenant, id, taken_at", "HoldEnded",
                        "from pgquota.hold limit 1"), DROP_ANSWER);
        seed("broken_promises: told that too much was to be given back, though it is left to this"
                + " day", String.format(ADD_REFUSAL, "'refund', tenant, operation, at",
                        "RefundTooLarge", "from pgquota.ledger l where tenant = 'free' and verb ="
                        + " 'consume' and not exists (select from pgquota.ledger r where r.ref ="
                        + " l.operation) order by at desc limit 1"), DROP_ANSWER);
    }

    private static void counters() {
        seed("chain_gaps: ledgers that are no chain",
                "update pgquota.ledger set used_after = used_after + 1 where (tenant, operation) ="
                + SOME_CHARGE,
                "update pgquota.ledger set used_after = used_after - 1 where (tenant, operation) ="
                + SOME_CHARGE);
        seed("chain_gaps: an operation comes after one that began when it had been answered",
                "update history.asked set at = at + interval '1 h'",
                "update history.asked set at = at - interval '1 h'");
        seed("ledger_differences: counters that are not the sum of their ledger",
                "update pgquota.counter set used = used + 1 where billed and tenant = 'free'",
                "update pgquota.counter set used = used - 1 where billed and tenant = 'free'");
        seed("ledger_differences: counters that are not the sum of their holds",
                "update pgquota.counter set held = held + 1 where tenant = 'free'",
                "update pgquota.counter set held = held - 1 where tenant = 'free'");
        seed("lost_charges: told, but not in the ledger as they were told",
                "update pgquota.ledger set amount = amount + 1 where (tenant, operation) = "
                + SOME_CHARGE,
                "update pgquota.ledger set amount = amount - 1 where (tenant, operation) = "
                + SOME_CHARGE);
        seed("ledger_differences: not acknowledged <= used <= acknowledged and unknown, "
                + "where nothing is billed",
                "update pgquota.counter set used = used + 1000 where not billed",
                "update pgquota.counter set used = used - 1000 where not billed");
        seed("lost_charges: told as granted or let through by a gate, and never charged",
                "insert into history.asked values ('x', 1, 'consume', 'gate', 'gate', 'never'); "
                + "insert into history.told values ('x', 1, 'away')", DROP_ANSWER);
        seed("double_charges: through a gate, twice or under no key that was asked for",
                "update pgquota.operation_key set tenant = 'gone' where (tenant, key) in (select"
                + " tenant, key from pgquota.operation_key where tenant = 'gate' limit 1)",
                "update pgquota.operation_key set tenant = 'gate' where tenant = 'gone'");
        seed("lost_charges: given back more than was taken",
                "update pgquota.ledger set amount = amount - 1000 where verb = 'refund'",
                "update pgquota.ledger set amount = amount + 1000 where verb = 'refund'");
    }

    private static void keysAndHolds() {
        seed("double_charges: a key with two operations",
                String.format(ADD_ANSWER, "key is not null", "granted"), DROP_ANSWER);
        seed("double_charges: a key that was answered, and refused later",
                String.format(ADD_ANSWER, "key is not null", "denied"), DROP_ANSWER);
        String nobodyWasTold = "update history.told set operation = null";
        seedTable("double_charges: operations that nobody was told and nobody can have missed",
                "history.told", nobodyWasTold);
        seedTable("double_charges: settlements and refunds that nobody was told and nobody can"
                + " have missed", "history.told", nobodyWasTold);
        seedTable("double_charges: more operations that nobody was told than calls of which nobody"
                + " knows", "history.told", nobodyWasTold);
        seed("holds_ended_twice: told as new by two operations of one hold",
                String.format(ADD_ANSWER, "verb = 'settle'", "granted"), DROP_ANSWER);
        seedTable("holds_ended_twice: holds that were settled twice", "pgquota.ledger",
                "update pgquota.ledger l set ref = (select w.ref from history.was w"
                + " where w.counter = l.counter and w.verb = 'settle' order by w.ref limit 1)"
                + " where verb = 'settle'");
        seedTable("holds_ended_twice: holds that are not as somebody was told", "pgquota.hold",
                "update pgquota.hold set state = 'expired' where state = 'settled'");
        seedTable("holds_left: open, though the time of all is over and upkeep has run",
                "pgquota.hold", "update pgquota.hold set state = 'open' where state = 'released'");
        seedTable("holds_left: items that are not as the state of their hold", "pgquota.hold",
                "update pgquota.hold set state = 'open'");
    }

    private static void thresholds() {
        seed("broken_promises: thresholds that were told twice",
                String.format(ADD_ANSWER, CROSSED, "granted")
                + "; insert into history.part select 'x', call, limit_name, meter, scope,"
                + " start_at, end_at, mode, capacity, used, held, granted, crossed"
                + " from history.part where (process, call) in (select process, call from"
                + " history.granted where " + CROSSED + " limit 1)",
                DROP_ANSWER);
        String nothingKept = "delete from pgquota.alert";
        seedTable("broken_promises: thresholds that were told, but not kept", "pgquota.alert",
                nothingKept);
        seedTable("broken_promises: thresholds that were kept, but not told to who was told of "
                + "the operation", "history.part", "update history.part set crossed = '{}'");
        seedTable("broken_promises: thresholds that were reached, and nobody was told, or only a"
                + " later one was", "pgquota.alert", nothingKept);
    }

    @Test
    void everyCheckFindsWhatItLooksFor(@TempDir Path folder) throws Exception {
        assumeTrue(Server.canBreak(), Server.NEEDS);
        Server server = new Server("checked");
        try (Scene scene = new Scene(server, folder, 1)) {
            scene.start();
            org.awaitility.Awaitility.await().atMost(Duration.ofSeconds(60)).until(() ->
                    Integer.parseInt(server.ask("select count(*) from pgquota.ledger"
                            + " where verb = 'settle'")) > 100);
            scene.finish();
            Checker checker = new Checker(server);
            checker.load(folder);
            checker.resolve(scene.quotas(), folder);
            scene.endHolds();
            assertThat(checker.check()).isEmpty();
            assertThat(SEEDS.keySet()).containsExactlyElementsOf(Checker.names());
            for (var seed : SEEDS.entrySet()) {
                server.execute(seed.getValue()[0]);
                assertThat(checker.check()).as("seeded").containsKey(seed.getKey());
                server.execute(seed.getValue()[1]);
                assertThat(checker.check()).as("after " + seed.getKey()).isEmpty();
            }
        }
    }
}
