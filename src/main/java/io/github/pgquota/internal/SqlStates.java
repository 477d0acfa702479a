package io.github.pgquota.internal;

import io.github.pgquota.QuotaException;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.postgresql.util.PSQLException;
import org.postgresql.util.PSQLWarning;
import org.postgresql.util.ServerErrorMessage;

/** What an SQLSTATE means: the only place that knows them. Never looks at a message's text. */
final class SqlStates {

    /** Its sources where the server writes its log, commits and tables. */
    private static final Set<String> COMMITS = Set.of("xlog.c", "slru.c", "md.c");

    private SqlStates() {}

    /** The database gave up this attempt because of another transaction, and undid it. */
    static boolean isRetry(SQLException e) {
        return is(e, "40001", "40P01");
    }

    /** A lock was waited for as long as was allowed, and not had; nothing was done. */
    static boolean isLocked(SQLException e) {
        return is(e, "55P03");
    }

    /** The database refused what it was given: a constraint, a conversion, a check of our own. */
    static boolean isRefusal(SQLException e) {
        return Stream.of("22", "23", "54", "PQ").anyMatch(state(e)::startsWith);
    }

    /** Whether the database or its driver said it, and not something between them and us. */
    static boolean isKnown(SQLException e) {
        return e.getSQLState() != null;
    }

    /** The server does not take writes: it is, or has become, a standby. */
    static boolean isReadOnly(SQLException e) {
        return is(e, "25006");
    }

    /**
     * What committed here, but perhaps not on the standby: somebody cancelled the wait for it. Then
     * the statement succeeds, with this warning; a fail-over may lose it. Other warnings of that
     * state are told apart by the server's routine, which is no text for people.
     */
    private static boolean isNotReplicated(SQLException e) {
        return e instanceof PSQLWarning warning && is(e, "01000") && "SyncRepWaitForLSN".equals(
                warning.getServerErrorMessage().getRoutine());
    }

    /** Throws the warning that a commit's wait for the standby was cancelled, if there is one. */
    static void replicated(@Nullable SQLWarning first) throws SQLWarning {
        for (SQLWarning w = first; w != null; w = w.getNextWarning()) {
            if (isNotReplicated(w)) {
                throw w;
            }
        }
    }

    /** Whether it is the database that cannot be had, and not just what was asked of it. */
    static boolean isAway(QuotaException.Unavailable e) {
        String state = e.sqlState(); // none: a pool that is used up, by what may go on
        return state.equals("25006") || Stream.of("08", "53", "57P", "58").anyMatch(state::startsWith);
    }

    /** No connection could be had, so nothing was sent. */
    static QuotaException noConnection(SQLException e) {
        String state = state(e);
        if (state.startsWith("28")) {
            return new QuotaException.Forbidden(
                    "the database refused the login (" + state + "): " + said(e), e);
        }
        return new QuotaException.Unavailable(
                "no connection to the database could be had (is it running, is the pool large "
                + "enough?): " + said(e), state, e);
    }

    /** A statement failed in a transaction of the library's own. */
    static QuotaException alone(SQLException e, Right needs) {
        if (lostOnTheWay(e) || isUnread(e)) {
            return new QuotaException.OutcomeUnknown(state(e), e);
        }
        if (is(e, "25001")) {
            return new QuotaException.Invalid("dataSource", state(e), "hands out a connection in"
                    + " the midst of a transaction: use within(connection) to charge in it");
        }
        return refused(e, needs);
    }

    /** What only reads has no unknown outcome. */
    static QuotaException ofReading(QuotaException.OutcomeUnknown e) {
        return new QuotaException.Unavailable(
                "the answer was lost; nothing was to be changed, so ask again: "
                + said(Objects.requireNonNull(e.getCause())), e.sqlState(), e.getCause());
    }

    /**
     * What stopped a migration, as Flyway tells it below its own words. What is no matter of the
     * database's stays as it is.
     */
    static RuntimeException migrating(RuntimeException e) {
        for (Throwable t = e; t != null; t = t.getCause()) {
            if (t instanceof SQLException cause && isKnown(cause)) {
                return migrating(cause, e);
            }
        }
        return e;
    }

    private static RuntimeException migrating(SQLException cause, RuntimeException e) {
        String state = state(cause);
        if (isForbidden(cause)) {
            return refused(cause, Right.MIGRATE);
        }
        // XX000 of the server itself: migrations of two databases meet at the roles
        if (isLocked(cause) || isRetry(cause) || isMet(cause)) {
            return new QuotaException.Unavailable("another transaction keeps the schema from "
                    + "being changed (" + state + "): end it, if it stays open, and "
                    + "try again; pg_stat_activity tells whose it is", state, e);
        }
        if (lostOnTheWay(cause)) {
            return new QuotaException.OutcomeUnknown("the connection was lost while the schema was "
                    + "being changed; each script is applied as a whole or not at all, so migrate "
                    + "again, which goes on from there: " + said(cause), state, e);
        }
        if (isReadOnly(cause)
                || Stream.of("53", "55", "57", "58").anyMatch(state::startsWith)) {
            return new QuotaException.Unavailable("the database did not change the schema ("
                    + state + "); migrate again, which goes on from where it stands: "
                    + said(cause), state, e);
        }
        return e;
    }

    /** Whether a migration was kept out by somebody who may soon be through. */
    static boolean isInTheWay(QuotaException.Unavailable e) {
        return Stream.of("55P03", "40001", "40P01", "XX000").anyMatch(e.sqlState()::equals);
    }

    private static boolean isMet(SQLException e) {
        ServerErrorMessage said = server(e);
        return is(e, "XX000") && said != null && "ERROR".equals(said.getSeverity());
    }

    /**
     * A statement failed in the caller's transaction, which the caller has not committed. That it
     * can take no charge is no outage, in which some callers go on without quotas.
     */
    static QuotaException joined(SQLException e) {
        if (isRetry(e)) {
            return new QuotaException.RetryTransaction(state(e), e);
        }
        if (is(e, "25P02")) {
            return new QuotaException.Invalid("transaction", state(e),
                    "has failed already: roll it back");
        }
        if (isReadOnly(e)) {
            return new QuotaException.Invalid("transaction", state(e),
                    "is read-only: nothing can be charged in it");
        }
        if (isUnread(e)) {
            return new QuotaException.OutcomeUnknown(state(e), e);
        }
        if (lostOnTheWay(e)) {
            return new QuotaException.Unavailable(
                    "the connection was lost, and your transaction with it: " + said(e), state(e),
                    e);
        }
        return refused(e, Right.APP);
    }

    private static QuotaException refused(SQLException e, Right needs) {
        String state = state(e);
        if (is(e, "3F000", "42883", "42P01", "42703", "42704")) {
            return new QuotaException.SchemaMismatch(0, Migrations.VERSION,
                    "run Schema.of(dataSource).migrate() with a user who may create it", e);
        }
        if (isForbidden(e)) {
            return new QuotaException.Forbidden(said(e) + ": " + needs.cure, e);
        }
        ServerErrorMessage said = server(e);
        if (said != null && said.getColumn() != null && state.equals("PQ001")) {
            return new QuotaException.Invalid(said.getColumn(), said.getDetail(), words(said));
        }
        if (said != null && said.getColumn() != null && state.equals("PQ002")) {
            return new QuotaException.NotFound(said.getColumn(),
                    Objects.requireNonNullElse(said.getDetail(), ""),
                    Objects.requireNonNullElse(said.getHint(), ""));
        }
        if (state.startsWith("PQ") || state.startsWith("22")
                || state.startsWith("23") || state.startsWith("54")) {
            return new QuotaException.Invalid("request", e.getMessage(),
                    "was refused by the database");
        }
        return new QuotaException.Unavailable(
                "the database did not do it (" + state + "), nothing was changed: " + said(e)
                + cure(e), state, e);
    }

    private static String cure(SQLException e) {
        return isLocked(e) ? ": another transaction keeps a row or table locked for longer than"
                + " Timeouts.lock, or your transaction's lock_timeout, allows"
                : is(e, "57014") ? ": it took longer than is allowed: by Timeouts.statement or, for"
                + " plans, reports and upkeep, the socket's timeout, or by the session's"
                + " statement_timeout" : "";
    }

    private static boolean isForbidden(SQLException e) {
        return is(e, "42501");
    }

    /** The driver's or server's words, which name the host: a pool says only that it gave up. */
    private static String said(Throwable e) {
        Throwable best = e;
        for (Throwable t = e; t != null; t = t.getCause()) {
            if (!(best instanceof PSQLException)) {
                best = t;
            }
        }
        ServerErrorMessage server = server(best);
        String words = server == null ? best.getMessage() : server.getMessage();
        return Objects.requireNonNullElse(words, best.toString());
    }

    private static String words(ServerErrorMessage said) {
        @Nullable String hint = said.getHint();
        return said.getMessage() + (hint == null ? "" : "; " + hint);
    }

    /**
     * The connection ended while a statement was under way: the server may have committed. XX000 is
     * what some poolers and distributed servers say then.
     */
    private static boolean lostOnTheWay(SQLException e) {
        return state(e).startsWith("08") || is(e, "40003", "57P01", "57P02", "XX000") || state(e).isEmpty()
                || endsTheSession(e) || isNotReplicated(e);
    }

    /** The driver had no memory for the answer; the server did what it was asked to. */
    private static boolean isUnread(SQLException e) {
        return e instanceof PSQLException && is(e, "53200") && server(e) == null;
    }

    /**
     * A server that panics tells the state of what stopped it, such as a disk that is full. The
     * word for how bad it is may be in the server's language: where a panic is likely, only what
     * is surely less is not one. A file that may not be written has the state of a missing right.
     */
    private static boolean endsTheSession(SQLException e) {
        ServerErrorMessage said = server(e);
        if (said == null || "ERROR".equals(said.getSeverity())) {
            return false;
        }
        return "PANIC".equals(said.getSeverity()) || "FATAL".equals(said.getSeverity())
                || state(e).startsWith("53") || state(e).startsWith("58")
                || COMMITS.contains(Objects.requireNonNullElse(said.getFile(), ""));
    }

    /** What the server said, if it was the server. */
    private static @Nullable ServerErrorMessage server(Throwable e) {
        return e instanceof PSQLException p ? p.getServerErrorMessage() : null;
    }

    private static boolean is(SQLException e, String... states) {
        for (String state : states) {
            if (state.equals(e.getSQLState())) {
                return true;
            }
        }
        return false;
    }

    private static String state(SQLException e) {
        return e.getSQLState() == null ? "" : e.getSQLState();
    }
}
