package io.github.pgquota.internal;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.pgquota.QuotaException;
import java.sql.SQLException;
import org.flywaydb.core.api.CoreErrorCode;
import org.flywaydb.core.api.FlywayException;
import org.junit.jupiter.api.Test;

/** What is told of Flyway's failures. */
class FlywayRunnerTest {

    @Test
    void whoIsInterruptedInItsWaitStaysSo() {
        RuntimeException told = FlywayRunner.told(
                new FlywayException("interrupted", new InterruptedException()), 0);
        assertThat(told).isInstanceOf(QuotaException.Withdrawn.class);
        assertThat(Thread.interrupted()).isTrue();
    }

    @Test
    void aSchemaOfSomebodyElsesIsToldAsSuch() {
        assertThat(FlywayRunner.told(new FlywayException("Found non-empty schema(s)",
                CoreErrorCode.NON_EMPTY_SCHEMA_WITHOUT_SCHEMA_HISTORY_TABLE), 0))
                .isInstanceOf(QuotaException.SchemaMismatch.class);
    }

    @Test
    void thatTheLockWasNotHadIsNoMatterOfTheDatabases() {
        assertThat(FlywayRunner.told(new FlywayException("no lock"), 0))
                .isInstanceOf(QuotaException.Unavailable.class)
                .hasMessageContaining("half an hour: no lock");
        assertThat(FlywayRunner.told(new FlywayException(new SQLException("", "08006")), 0))
                .isInstanceOf(QuotaException.OutcomeUnknown.class);
        FlywayException other = new FlywayException(new IllegalStateException());
        assertThat(FlywayRunner.told(other, 0)).isSameAs(other);
    }
}
