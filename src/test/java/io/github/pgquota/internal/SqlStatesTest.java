package io.github.pgquota.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.pgquota.QuotaException;
import java.sql.SQLException;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.postgresql.util.PSQLException;
import org.postgresql.util.PSQLState;
import org.postgresql.util.PSQLWarning;
import org.postgresql.util.ServerErrorMessage;

/** What the caller is told of an SQLSTATE. Whether it was charged depends on it. */
class SqlStatesTest {

    /** In a statement of the library's own, in the caller's transaction, without a connection. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            08006 | OutcomeUnknown | Unavailable      | Unavailable
            08000 | OutcomeUnknown | Unavailable      | Unavailable
            08003 | OutcomeUnknown | Unavailable      | Unavailable
            08P01 | OutcomeUnknown | Unavailable      | Unavailable
            40003 | OutcomeUnknown | Unavailable      | Unavailable
            57P01 | OutcomeUnknown | Unavailable      | Unavailable
            57P02 | OutcomeUnknown | Unavailable      | Unavailable
            XX000 | OutcomeUnknown | Unavailable      | Unavailable
                  | OutcomeUnknown | Unavailable      | Unavailable
            57P03 | Unavailable    | Unavailable      | Unavailable
            57014 | Unavailable    | Unavailable      | Unavailable
            55P03 | Unavailable    | Unavailable      | Unavailable
            53300 | Unavailable    | Unavailable      | Unavailable
            40001 | Unavailable    | RetryTransaction | Unavailable
            40P01 | Unavailable    | RetryTransaction | Unavailable
            25006 | Unavailable    | Invalid          | Unavailable
            25P02 | Unavailable    | Invalid          | Unavailable
            22003 | Invalid        | Invalid          | Unavailable
            23514 | Invalid        | Invalid          | Unavailable
            54000 | Invalid        | Invalid          | Unavailable
            PQ001 | Invalid        | Invalid          | Unavailable
            42501 | Forbidden      | Forbidden        | Unavailable
            28000 | Unavailable    | Unavailable      | Forbidden
            28P01 | Unavailable    | Unavailable      | Forbidden
            3F000 | SchemaMismatch | SchemaMismatch   | Unavailable
            42883 | SchemaMismatch | SchemaMismatch   | Unavailable
            42P01 | SchemaMismatch | SchemaMismatch   | Unavailable
            """)
    void isTold(@Nullable String state, String alone, String joined, String unconnected) {
        SQLException e = new SQLException("no matter what it says", state);
        assertThat(told(new Failed(e, true, Right.APP).told())).isEqualTo(alone);
        assertThat(told(SqlStates.joined(e))).isEqualTo(joined);
        assertThat(told(new Failed(e, false, Right.APP).told())).isEqualTo(unconnected);
    }

    private static String told(RuntimeException e) {
        assertThat(e).isInstanceOf(QuotaException.class);
        return e.getClass().getSimpleName();
    }

    /** Only of these is a call of a statement to blame, so that the others may go without it. */
    @ParameterizedTest
    @CsvSource({"22003, true", "23505, true", "54000, true", "PQ004, true", "40001, false",
            "55P03, false", "08006, false", "57P01, false", "42501, false", "53300, false"})
    void isToBlame(String state, boolean refusal) {
        SQLException e = new SQLException("", state);
        assertThat(new Failed(e, true, Right.APP).isRefusal()).isEqualTo(refusal);
        assertThat(new Failed(e, false, Right.APP).isRefusal()).as("was not sent").isFalse();
    }

    private static ServerErrorMessage said(String severity, String state, String routine) {
        return new ServerErrorMessage("S" + severity + "\0C" + state + "\0Mno matter\0R" + routine);
    }

    /** A full disk is a plain error, or the end of the server. */
    @Test
    void whatEndsTheSessionIsUnknown() {
        assertThat(SqlStates.alone(new PSQLException(said("ERROR", "53100", "mdextend")),
                Right.APP)).isInstanceOf(QuotaException.Unavailable.class);
        assertThat(SqlStates.alone(new PSQLException(said("PANIC", "53100", "XLogWrite")),
                Right.APP)).isInstanceOf(QuotaException.OutcomeUnknown.class);
        assertThat(SqlStates.alone(new PSQLException(said("PANIK", "53100", "XLogWrite")),
                Right.APP)).as("a German server").isInstanceOf(QuotaException.OutcomeUnknown.class);
        assertThat(SqlStates.alone(new PSQLException(said("FEHLER", "42501", "aclcheck_error")),
                Right.APP)).isInstanceOf(QuotaException.Forbidden.class);
        assertThat(SqlStates.alone(new PSQLException(said("FATAL", "25P03", "ProcessInterrupts")),
                Right.APP)).isInstanceOf(QuotaException.OutcomeUnknown.class);
    }

    /** A disk that is read-only or not ours says 42501, which elsewhere is a missing right. */
    @Test
    void aPanicOverAFileIsUnknownWhateverItsStateAndLanguage() {
        for (String file : List.of("xlog.c", "slru.c", "md.c")) {
            for (String state : List.of("42501", "42809")) {
                assertThat(SqlStates.alone(new PSQLException(new ServerErrorMessage(
                        "SPANIK\0C" + state + "\0Mno matter\0F" + file)), Right.APP))
                        .as("%s of %s", state, file)
                        .isInstanceOf(QuotaException.OutcomeUnknown.class);
            }
        }
        assertThat(SqlStates.alone(new PSQLException(new ServerErrorMessage(
                "SFEHLER\0C42501\0Mno matter\0Faclchk.c\0Raclcheck_error")), Right.APP))
                .isInstanceOf(QuotaException.Forbidden.class);
        assertThat(SqlStates.alone(new PSQLException(new ServerErrorMessage(
                "SERROR\0C42501\0Mno matter\0Fmd.c")), Right.APP))
                .isInstanceOf(QuotaException.Forbidden.class);
    }

    /** The server has done it, and this process has no room for the answer. */
    @Test
    void whatTheDriverHasNoMemoryForIsUnknown() {
        SQLException here = new PSQLException("no matter", PSQLState.OUT_OF_MEMORY,
                new OutOfMemoryError());
        assertThat(SqlStates.alone(here, Right.APP))
                .isInstanceOf(QuotaException.OutcomeUnknown.class);
        assertThat(SqlStates.joined(here)).isInstanceOf(QuotaException.OutcomeUnknown.class);
        SQLException there = new PSQLException(said("ERROR", "53200", "AllocSetAlloc"));
        assertThat(SqlStates.alone(there, Right.APP))
                .isInstanceOf(QuotaException.Unavailable.class);
    }

    /** It has committed, and the standby may not know. */
    @Test
    void whatMayNotBeOnTheStandbyIsUnknown() throws SQLException {
        PSQLWarning other = new PSQLWarning(said("WARNING", "01000", "exec_stmt_raise"));
        SqlStates.replicated(null);
        SqlStates.replicated(other);
        PSQLWarning cancelled = new PSQLWarning(said("WARNING", "01000", "SyncRepWaitForLSN"));
        other.setNextWarning(cancelled);
        assertThatThrownBy(() -> SqlStates.replicated(other)).isSameAs(cancelled);
        assertThat(SqlStates.alone(cancelled, Right.APP))
                .isInstanceOf(QuotaException.OutcomeUnknown.class);
    }

    @Test
    void aMissingRightIsFoundBelowWhatStandsBetween() {
        RuntimeException above = new RuntimeException(new IllegalStateException(
                new SQLException("", "42501")));
        assertThat(SqlStates.between(above, Right.APP))
                .isInstanceOf(QuotaException.Forbidden.class);
        RuntimeException other = new RuntimeException(new SQLException("", "42P01"));
        assertThat(SqlStates.between(other, Right.APP)).isSameAs(other);
    }
}
