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

    private static final String SOME_CHARGE =
            "(select l.tenant, l.operation from pgquota.ledger l where l.verb = 'consume'"
            + " and l.tenant <> 'probe' order by l.operation limit 1)";
    private static final String ADD_ANSWER = "insert into history.asked select 'x', call, verb,"
            + " tenant, scope, key, ref, ttl, amounts from history.asked where (process, call) in"
            + " (select process, call from history.granted where %1$s limit 1);"
            + " insert into history.told select 'x', call, outcome, %2$s, false"
            + " from history.told where (process, call) in"
            + " (select process, call from history.granted where %1$s limit 1)";
    private static final String DROP_ANSWER =
            "delete from history.asked where process = 'x'; delete from history.told where"
            + " process = 'x'; delete from history.part where process = 'x'";

    static {
        seed("broken_promises: errors that nobody should be told",
                "insert into history.told values ('x', 1, 'ERROR of mine', null, false)",
                DROP_ANSWER);
        seed("over_grants: answers above the capacity that they tell",
                "create table history.was as select * from history.part;"
                + " update history.part set used = capacity + 1 where mode = 'ENFORCE'"
                + " and capacity is not null and granted > 0",
                "truncate history.part; insert into history.part select * from history.was;"
                + " drop table history.was");
        seed("over_grants: counters above every capacity that was in force",
                "update pgquota.counter set used = used + 1000000 where tenant = 'acme'",
                "update pgquota.counter set used = used - 1000000 where tenant = 'acme'");
        seed("chain_gaps: ledgers that are no chain",
                "update pgquota.ledger set used_after = used_after + 1 where (tenant, operation) ="
                + SOME_CHARGE,
                "update pgquota.ledger set used_after = used_after - 1 where (tenant, operation) ="
                + SOME_CHARGE);
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
        seed("double_charges: a key with two operations",
                String.format(ADD_ANSWER, "key is not null", "gen_random_uuid()"), DROP_ANSWER);
        seed("double_charges: operations that nobody was told and nobody can have missed",
                "create table history.was as select * from history.told;"
                + " update history.told set operation = null where operation is not null",
                "truncate history.told; insert into history.told select * from history.was;"
                + " drop table history.was");
        seed("holds_ended_twice: told as new by two operations of one hold",
                String.format(ADD_ANSWER, "verb = 'settle'", "gen_random_uuid()"), DROP_ANSWER);
        seed("holds_ended_twice: holds that were settled twice",
                "create table history.was as select * from pgquota.ledger where verb = 'settle';"
                + " update pgquota.ledger l set ref = (select w.ref from history.was w"
                + " where w.counter = l.counter order by w.ref limit 1) where verb = 'settle'",
                "update pgquota.ledger l set ref = w.ref from history.was w"
                + " where w.tenant = l.tenant and w.counter = l.counter and w.entry = l.entry;"
                + " drop table history.was");
        seed("holds_left: open, though their time is over and upkeep has run",
                "create table history.was as select tenant, id, state, expires_at"
                + " from pgquota.hold; update pgquota.hold set state = 'open',"
                + " expires_at = now() - interval '1 hour' where counters = '{}'"
                + " or state = 'released'",
                "update pgquota.hold h set state = w.state, expires_at = w.expires_at"
                + " from history.was w where w.tenant = h.tenant and w.id = h.id;"
                + " drop table history.was");
        seed("holds_left: items that are not as the state of their hold",
                "create table history.was as select tenant, id, state from pgquota.hold;"
                + " update pgquota.hold set state = 'open'",
                "update pgquota.hold h set state = w.state from history.was w"
                + " where w.tenant = h.tenant and w.id = h.id; drop table history.was");
        seed("ledger_differences: not acknowledged <= used <= acknowledged and unknown, "
                + "where nothing is billed",
                "update pgquota.counter set used = used + 1000 where not billed",
                "update pgquota.counter set used = used - 1000 where not billed");
        seed("broken_promises: thresholds that were told twice",
                String.format(ADD_ANSWER, "(process, call) in (select process, call from"
                        + " history.part where crossed <> '{}') and not replayed", "operation")
                + "; insert into history.part select 'x', p.call, p.limit_name, p.meter, p.scope,"
                + " p.start_at, p.mode, p.capacity, p.used, p.held, p.granted, p.crossed"
                + " from history.part p join history.told t on t.call = p.call and"
                + " t.process = 'x' where (p.process, p.call) in (select process, call from"
                + " history.granted where operation = t.operation)",
                DROP_ANSWER);
        seed("broken_promises: thresholds that were told, but not kept",
                "create table history.was as select * from pgquota.alert;"
                + " delete from pgquota.alert",
                "insert into pgquota.alert select * from history.was; drop table history.was");
        seed("broken_promises: thresholds that were kept, but not told to who was told of "
                + "the operation",
                "create table history.was as select * from history.part;"
                + " update history.part set crossed = '{}'",
                "truncate history.part; insert into history.part select * from history.was;"
                + " drop table history.was");
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
            assertThat(scene.quotas().upkeep().runOnce(Duration.ofMinutes(1)).finished()).isTrue();
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
