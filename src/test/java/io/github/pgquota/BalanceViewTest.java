package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.Statement;
import org.junit.jupiter.api.Test;

/** What the view {@code balance} tells of a limit. */
class BalanceViewTest {

    @Test
    void nothingRemainsOrEverythingDoesButAnUnlimitedLimitHasNoRemainder() throws Exception {
        try (TestDatabase database = TestDatabase.create();
                Quotas quotas = Quotas.on(database.dataSource()).build();
                Connection connection = database.connection();
                Statement sql = connection.createStatement()) {
            quotas.plans().publish(Plan.named("P")
                    .limit(Limit.named("blocked").on("a").capacity(0))
                    .limit(Limit.named("free").on("b").unlimited())
                    .limit(Limit.named("some").on("c").capacity(5)));
            quotas.plans().assign("acme", "P");
            quotas.consume(Request.of("acme").take("b", 7).take("c", 2)).orThrow();
            try (ResultSet row = sql.executeQuery("select string_agg(limit_name || '='"
                    + " || coalesce(remaining::text, 'null'), ' ' order by limit_name)"
                    + " from pgquota.balance where tenant = 'acme'")) {
                row.next();
                assertThat(row.getString(1)).isEqualTo("blocked=0 free=null some=3");
            }
        }
    }
}
