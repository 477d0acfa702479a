package io.github.pgquota;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What the library throws. The kinds say what happened and what can be done; their fields carry the
 * values. A denial is not among them unless {@link Decision#orThrow} asks for it.
 *
 * <pre>{@code
 * try {
 *     quotas.consume(call.key(id)).orThrow();
 * } catch (QuotaException.OutcomeUnknown e) {
 *     quotas.consume(call.key(id)).orThrow(); // with a key: the one true answer
 * } catch (QuotaException.Exceeded e) {
 *     return tooManyRequests(e.denied().retryAfter());
 * }
 * }</pre>
 */
public abstract sealed class QuotaException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    QuotaException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }

    /** Something that was given is malformed or out of range. Nothing was changed. */
    public static final class Invalid extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final String field;
        private final String value;

        /** A field, its value and what is wrong with it. */
        public Invalid(String field, @Nullable Object value, String problem) {
            super(field + " \"" + abridged(value) + "\" " + problem, null);
            this.field = field;
            this.value = String.valueOf(value);
        }

        /** What was malformed. */
        public String field() {
            return field;
        }

        /** What it was. */
        public String value() {
            return value;
        }

        private static String abridged(@Nullable Object value) {
            String text = String.valueOf(value);
            return text.length() <= 200 ? text : text.substring(0, 200) + "…";
        }
    }

    /** A plan file cannot be read, or says something that cannot be. Nothing was changed. */
    public static final class InvalidFile extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final String file;
        private final int line;
        private final String field;

        /** A place in a file (line 0: the file as a whole) and what is wrong there. */
        public InvalidFile(String file, int line, String field, String problem,
                @Nullable Throwable cause) {
            super(file + (line > 0 ? ":" + line : "") + ": " + field + ": " + problem, cause);
            this.file = file;
            this.line = line;
            this.field = field;
        }

        /** The file. */
        public String file() {
            return file;
        }

        /** The line, from 1; 0 for the file as a whole. */
        public int line() {
            return line;
        }

        /** The field. */
        public String field() {
            return field;
        }
    }

    /** The tenant has no plan, there is no default plan, or no version of it is in force yet. */
    public static final class UnknownTenant extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final String tenant;

        /** A tenant and why it has no limits. */
        public UnknownTenant(String tenant, String problem) {
            super("tenant \"" + tenant + "\" " + problem, null);
            this.tenant = tenant;
        }

        /** Who it is about. */
        public String tenant() {
            return tenant;
        }
    }

    /** No limit of the tenant's plan counts the meter at the scope's level. */
    public static final class UnknownMeter extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final Scope scope;
        private final String meter;

        /** A meter, where it was asked for, and why there is no limit. */
        public UnknownMeter(Scope scope, String meter, String problem) {
            super("meter \"" + meter + "\" of scope \"" + scope + "\" " + problem, null);
            this.scope = scope;
            this.meter = meter;
        }

        /** The request's scope. */
        public Scope scope() {
            return scope;
        }

        /** The meter. */
        public String meter() {
            return meter;
        }
    }

    /** There is no such hold, operation, plan or limit. */
    public static final class NotFound extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final String what;
        private final String id;

        /** What kind of thing, its name, and why it may be missing. */
        public NotFound(String what, Object id, String hint) {
            super("there is no " + what + " \"" + id + "\": " + hint, null);
            this.what = what;
            this.id = String.valueOf(id);
        }

        /** Hold, operation, plan or limit. */
        public String what() {
            return what;
        }

        /** Its name. */
        public String id() {
            return id;
        }
    }

    /** The hold has ended, so it cannot be extended. Reserve anew. */
    public static final class HoldEnded extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final transient OperationId hold;
        private final Hold.State state;

        /** A hold and how it ended. */
        public HoldEnded(OperationId hold, Hold.State state) {
            super("hold " + hold + " is " + state.name().toLowerCase(java.util.Locale.ROOT)
                    + " and cannot be extended; reserve anew", null);
            this.hold = hold;
            this.state = state;
        }

        /** Which hold. */
        public OperationId hold() {
            return hold;
        }

        /** How it ended. */
        public Hold.State state() {
            return state;
        }
    }

    /** More was to be given back than is left of the operation. Nothing was changed. */
    public static final class RefundTooLarge extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final transient OperationId operation;
        private final String meter;
        private final long asked;
        private final long refundable;

        /** An operation, a meter, and the two amounts. */
        public RefundTooLarge(OperationId operation, String meter, long asked, long refundable) {
            super("operation " + operation + ": " + asked + " " + meter + " cannot be given back, "
                    + refundable + " are left", null);
            this.operation = operation;
            this.meter = meter;
            this.asked = asked;
            this.refundable = refundable;
        }

        /** Which operation. */
        public OperationId operation() {
            return operation;
        }

        /** Which meter. */
        public String meter() {
            return meter;
        }

        /** Units asked. */
        public long asked() {
            return asked;
        }

        /** Units left to give back. */
        public long refundable() {
            return refundable;
        }
    }

    /** The key belongs to another request. Nothing was changed. */
    public static final class KeyConflict extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final String key;
        private final String field;

        /** A key and the field in which the requests differ. */
        public KeyConflict(String key, String field) {
            super("key \"" + key + "\" was used for another request: they differ in " + field
                    + "; give each request a key of its own", null);
            this.key = key;
            this.field = field;
        }

        /** The key. */
        public String key() {
            return key;
        }

        /**
         * The first field in which the requests differ: verb, scope, ref, ttl, meters or amounts.
         */
        public String field() {
            return field;
        }
    }

    /** The key is older than answers are kept, so it cannot be told whether it was charged. */
    public static final class KeyExpired extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final String key;

        /** A key. */
        public KeyExpired(String key) {
            super("key \"" + key
                    + "\" is older than the setting key_retention; nothing was charged now: "
                    + "look in the ledger whether it was then", null);
            this.key = key;
        }

        /** The key. */
        public String key() {
            return key;
        }
    }

    /** The request was denied, and {@link Decision#orThrow} was called. */
    public static final class Exceeded extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final transient Denied denied;

        /** A denial. */
        public Exceeded(Denied denied) {
            super(denied.reason(), null);
            this.denied = denied;
        }

        /** The denial. */
        public Denied denied() {
            return denied;
        }
    }

    /**
     * The call was certainly not applied: no connection could be had, the database refused it, was
     * starting or stopping, or gave up on a lock; or an executor took no async call. It can be
     * retried.
     */
    public static final class Unavailable extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final String sqlState;

        /** What failed, and the SQLSTATE if there is one. */
        public Unavailable(
                String message, @Nullable String sqlState, @Nullable Throwable cause) {
            super(message, cause);
            this.sqlState = sqlState == null ? "" : sqlState;
        }

        /** The database's or driver's SQLSTATE; empty if there is none. */
        public String sqlState() {
            return sqlState;
        }
    }

    /**
     * The answer was lost: the call may have been applied or not. With a key, repeating the request
     * gives the one true answer; without one, repeating may charge twice.
     */
    public static final class OutcomeUnknown extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final String sqlState;

        /** The SQLSTATE of the lost connection. */
        public OutcomeUnknown(@Nullable String sqlState, Throwable cause) {
            this("the answer was lost, the call may have been applied or not; repeat it if it has "
                    + "a key, else look in the ledger", sqlState, cause);
        }

        /** What was under way, and the SQLSTATE of the lost connection. */
        public OutcomeUnknown(String message, @Nullable String sqlState, Throwable cause) {
            super(message, cause);
            this.sqlState = sqlState == null ? "" : sqlState;
        }

        /** The thread was interrupted while the call was under way. */
        public OutcomeUnknown(InterruptedException cause) {
            super("the thread was interrupted while its call was under way: it may be applied or "
                    + "not; repeat it if it has a key, else look in the ledger", cause);
            this.sqlState = "";
        }

        /** The database's or driver's SQLSTATE; empty if there is none. */
        public String sqlState() {
            return sqlState;
        }
    }

    /**
     * More calls wait than may, or this one has waited as long as it may: more come in than the
     * database decides, or another transaction keeps the tenant's counter locked. It was not sent,
     * and nothing is charged. Call less often, or later.
     */
    public static final class Overloaded extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final String bound;
        private final transient Object value;

        /** Which of the {@link Combining} bounds was reached. */
        public Overloaded(String bound, Object value) {
            super("the call was not sent, nothing is charged: it would wait longer, or with more "
                    + "others, than " + bound + " = " + value + " allows", null);
            this.bound = bound;
            this.value = value;
        }

        /** {@code longestQueue} or {@code longestWait}. */
        public String bound() {
            return bound;
        }

        /** What it is set to. */
        public Object value() {
            return value;
        }
    }

    /**
     * The thread was interrupted before its call was sent, and still is: nothing is charged. If the
     * call was under way, there is {@link OutcomeUnknown} instead.
     */
    public static final class Withdrawn extends QuotaException {
        private static final long serialVersionUID = 1L;

        /** Nothing else is to be told. */
        public Withdrawn() {
            super("the thread was interrupted before its call was sent: nothing is charged", null);
        }
    }

    /** The caller's transaction cannot go on (40001, 40P01): roll it back and run it again. */
    public static final class RetryTransaction extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final String sqlState;

        /** The SQLSTATE. */
        public RetryTransaction(String sqlState, Throwable cause) {
            super("another transaction was at the same counters (" + sqlState
                    + "): roll your transaction back and run it again", cause);
            this.sqlState = sqlState;
        }

        /** 40001 or 40P01. */
        public String sqlState() {
            return sqlState;
        }
    }

    /** The database's schema is missing, too old or too new for this library. */
    public static final class SchemaMismatch extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final int found;
        private final int needed;

        /** The two versions; found 0 if there is none. */
        public SchemaMismatch(int found, int needed, String whatToDo, @Nullable Throwable cause) {
            super((found == 0
                    ? "the schema pgquota is missing"
                    : "the schema pgquota has version " + found)
                    + ", this library needs version " + needed + ": " + whatToDo, cause);
            this.found = found;
            this.needed = needed;
        }

        /** The database's version; 0 if there is none. */
        public int found() {
            return found;
        }

        /** The library's version. */
        public int needed() {
            return needed;
        }
    }

    /** A library that this call needs is not on the class path. */
    public static final class MissingLibrary extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final String artifact;

        /** What to add and what for. */
        public MissingLibrary(String artifact, String purpose, Throwable cause) {
            super("add " + artifact + " to the class path: " + purpose, cause);
            this.artifact = artifact;
        }

        /** The artifact's coordinates. */
        public String artifact() {
            return artifact;
        }
    }

    /** The database user may not do this. */
    public static final class Forbidden extends QuotaException {
        private static final long serialVersionUID = 1L;

        /** The database's words, and what the user needs. */
        public Forbidden(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** In a list of requests some were in error; the others were decided, and stay so. */
    public static final class Partial extends QuotaException {
        private static final long serialVersionUID = 1L;
        private final transient List<Object> outcomes;

        /** One outcome a request: a {@link Decision} or a {@link QuotaException}. */
        public Partial(List<Object> outcomes, QuotaException first) {
            super("the request at index " + outcomes.indexOf(first) + " of the list failed: "
                    + first.getMessage(), first);
            this.outcomes = List.copyOf(outcomes);
        }

        /**
         * One outcome a request, in their order: a {@link Decision} or a {@link QuotaException}.
         */
        public List<Object> outcomes() {
            return outcomes;
        }
    }
}
