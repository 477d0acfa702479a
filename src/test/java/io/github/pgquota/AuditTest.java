package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Every change says who, when, why, what, before and after; plain SQL too. */
class AuditTest {

    private static Room room;
    private static Plans plans;

    @BeforeAll
    static void open() {
        room = new Room();
        plans = room.quotas.plans("ada", "ticket 7");
    }

    @AfterAll
    static void close() {
        room.close();
    }

    private static List<String> audit(String columns, String what) {
        return room.rows("select " + columns + " from pgquota.audit where " + what + " order by "
                + "at, what");
    }

    @Test
    void aVersionIsOneRowWithItsLimits() {
        plans.publish(Plan.named("A").limit(Limit.named("x").capacity(1)).limit(Limit.named("y")));
        plans.publish(Plan.named("A").limit(Limit.named("x").capacity(2)));
        plans.publish(Plan.named("A").limit(Limit.named("x").capacity(2)));
        assertThat(audit("who, why, login = session_user, before->'version', after->'version', "
                + "jsonb_array_length(before->'limits'), after->'limits'->0->'capacity'",
                "what = 'plan' and after->>'plan' = 'A'"))
                .containsExactly("ada ticket 7 t null 1 null 1", "ada ticket 7 t 1 2 2 2");
    }

    @Test
    void tenantsOverridesAndSettingsAreAudited() {
        room.tenant("acme", Limit.named("x").capacity(1));
        var id = plans.override(Scope.of("acme"), "x", 9L, Instant.now(), null, "gift");
        plans.withdraw("acme", id);
        plans.defaultPlan("PLAN-acme");
        plans.defaultPlan("PLAN-acme");
        assertThat(audit("what, coalesce(before->>'capacity', before->>'plan', "
                + "before->>'default_plan'), "
                + "coalesce(after->>'capacity', after->>'plan', after->>'default_plan'), why",
                "tenant = 'acme' or what = 'setting'"))
                .containsExactly("tenant null PLAN-acme null", "override null 9 ticket 7",
                        "override 9 9 ticket 7", "setting null PLAN-acme ticket 7");
        assertThat(audit("after->>'reason', after->>'until_at' < 'infinity'",
                "before->>'capacity' = '9'"))
                .containsExactly("gift t");
    }

    @Test
    void plainSqlIsAuditedAsTheLogin() {
        plans.publish(Plan.named("SQL").limit(Limit.named("x")));
        room.run("insert into pgquota.tenant (tenant, plan) values ('plain', 'SQL')");
        room.run("update pgquota.tenant set zone = 'Europe/Berlin' where tenant = 'plain'");
        room.run("delete from pgquota.tenant where tenant = 'plain'");
        assertThat(audit("what, who = session_user, why, before->>'zone', after->>'zone', after "
                + "is null",
                "tenant = 'plain'"))
                .containsExactly("tenant t null null null f", "tenant t null null Europe/Berlin f",
                        "tenant t null Europe/Berlin null t");
    }

    /** The next user of a pooled connection is somebody else. */
    @Test
    void whoAndWhyDoNotOutliveTheirTransaction() throws SQLException {
        plans.publish(Plan.named("B").limit(Limit.named("x")));
        try (HikariDataSource one = room.database.pool(1); Quotas quotas = Quotas.on(one).build()) {
            quotas.plans("ada", "ticket 8").assign("one", "B");
            try (Connection connection = one.getConnection(); Statement sql =
                    connection.createStatement()) {
                sql.execute("insert into pgquota.tenant (tenant, plan) values ('two', 'B')");
            }
        }
        assertThat(audit("tenant, who = session_user, why", "tenant in ('one', 'two')"))
                .containsExactly("one f ticket 8", "two t null");
    }

    @Test
    void aResetIsAuditedAndADryRunIsNot() {
        room.tenant("reset", Limit.named("x").capacity(9));
        room.quotas.consume(Request.of("reset").take("x", 4)).orThrow();
        plans.reset(Scope.of("reset"), true);
        assertThat(audit("what", "tenant = 'reset' and what = 'reset'")).isEmpty();
        plans.reset(Scope.of("reset"), false);
        assertThat(audit("who, before->0->'used', after->'used'", "tenant = 'reset' and what = "
                + "'reset'"))
                .containsExactly("ada 4 0");
    }
}
