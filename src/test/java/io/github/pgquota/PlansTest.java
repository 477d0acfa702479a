package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.time.temporal.ChronoUnit;
import java.util.UUID;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class PlansTest {

    private static TestDatabase database;
    private static Quotas quotas;
    private static Plans plans;

    @BeforeAll
    static void open() {
        database = TestDatabase.create();
        quotas = Quotas.on(database.dataSource()).build();
        plans = quotas.plans();
    }

    @AfterAll
    static void close() {
        quotas.close();
        database.close();
    }

    @Test
    void smoke() {
        Plan plan = Plan.named("SMOKE").limit(Limit.named("requests").capacity(3).alertAt(80)
                .allowOverage().message("{used} \"öä\\ \n x")).limit(Limit.named("t").per(Window.hour()));
        assertThat(plans.publish(plan)).isEqualTo(1);
        assertThat(plans.publish(plan)).isEqualTo(1);
        assertThat(plans.plan("SMOKE")).contains(plan);
        plans.assign("acme", "SMOKE");
        plans.defaultPlan("SMOKE");
        plans.zone("acme", ZoneId.of("Europe/Berlin"));
        plans.anchor("acme", LocalDateTime.of(2026, 1, 31, 0, 0));
        Instant now = Instant.now().truncatedTo(ChronoUnit.MICROS);
        UUID id = plans.override(Scope.of("acme"), "requests", 7L, now, null, "because");
        plans.boost(Scope.of("acme"), "requests", 1, now, now.plusSeconds(60), "because");
        assertThat(quotas.balances(Scope.of("acme")).get(0).capacity()).hasValue(8);
        plans.withdraw("acme", id);
        assertThat(quotas.balances(Scope.of("acme")).get(0).capacity()).hasValue(4);
        assertThat(plans.publish(plan.limit(Limit.named("x")))).isEqualTo(2);
        assertThatThrownBy(() -> plans.assign("acme", "NONE"))
                .isInstanceOf(QuotaException.NotFound.class).hasMessageContaining("NONE");
        assertThatThrownBy(() -> plans.zone("acme", ZoneId.of("+02:00")))
                .isInstanceOf(QuotaException.Invalid.class).hasMessageContaining("Etc/");
    }
}
