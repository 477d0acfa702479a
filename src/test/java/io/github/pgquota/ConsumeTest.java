package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.Statement;
import org.junit.jupiter.api.Test;

/** The first call there is: a plan, a tenant, a consume. */
class ConsumeTest {

    @Test
    void countsUpToTheLimitAndNoFurther() throws Exception {
        try (TestDatabase database = TestDatabase.create();
                Quotas quotas = Quotas.on(database.dataSource()).build();
                Connection connection = database.connection();
                Statement sql = connection.createStatement()) {
            sql.execute("insert into pgquota.plan_version (plan, version, from_at) values ('P', "
                    + "1, now())");
            sql.execute("insert into pgquota.plan_limit (plan, version, ord, from_at, name, "
                    + "meter, level, per, "
                    + "capacity, overage, mode, billed) values "
                    + "('P', 1, 1, now(), 'messages', 'requests', 0, 'month', 3, 0, 'enforce', "
                    + "true)");
            sql.execute("insert into pgquota.tenant (tenant, plan) values ('acme', 'P')");
            Request call = Request.of("acme/search").take("requests", 2);
            assertThat(quotas.consume(call).isGranted()).isTrue();
            assertThat(quotas.consume(call).isGranted()).isFalse();
            try (ResultSet row = sql.executeQuery("select used, held from pgquota.counter")) {
                row.next();
                assertThat(row.getLong(1)).isEqualTo(2);
            }
        }
    }
}
