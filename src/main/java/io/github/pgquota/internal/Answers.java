package io.github.pgquota.internal;

import io.github.pgquota.Balance;
import io.github.pgquota.Decision;
import io.github.pgquota.Denied;
import io.github.pgquota.Granted;
import io.github.pgquota.Hold;
import io.github.pgquota.Limit;
import io.github.pgquota.OperationId;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Scope;
import io.github.pgquota.Verdict;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Turns the engine's rows into decisions and exceptions. */
final class Answers {

    private Answers() {}

    /**
     * The decision of a change, or of one of the equal calls that it stands for.
     *
     * @param call from 0
     * @throws QuotaException if the change was in error
     */
    static Decision decision(Change change, List<Row> all, int call) {
        List<Row> rows = all.size() == 1 ? all : rows(all, call);
        Row first = rows.get(0);
        return switch (first.status()) {
            case "granted" -> granted(change, rows, call);
            case "denied" -> denied(change, rows, call);
            default -> throw error(change, first);
        };
    }

    /** Of equal calls the first are granted, and what does not fit behind them is denied. */
    private static List<Row> rows(List<Row> all, int call) {
        int granted = 0;
        boolean areAlike = true;
        for (Row row : all) {
            granted = row.isGranted() ? row.times() : granted;
            areAlike &= row.isGranted() == all.get(0).isGranted();
        }
        boolean isGranted = call < granted;
        return areAlike ? all
                : all.stream().filter(row -> row.isGranted() == isGranted).toList();
    }

    private static Granted granted(Change change, List<Row> rows, int call) {
        Row first = rows.get(0);
        OperationId operation = first.operation(call);
        Hold hold = null;
        if (first.holdState() != null) {
            hold = new Hold(
                    change.ref() == null ? java.util.Objects.requireNonNull(operation)
                    : change.about(),
                    Hold.State.valueOf(first.holdState().toUpperCase(Locale.ROOT)),
                    java.util.Objects.requireNonNull(first.expiresAt()));
        }
        return new Granted(change.scope(), change.amounts(), units(change, rows),
                verdicts(change, rows, call), first.at(), operation, first.replayed(), first.late(),
                hold);
    }

    /** What was granted of each meter; a meter without a limit that counts has what was asked. */
    private static Map<String, Long> units(Change change, List<Row> rows) {
        Row first = rows.get(0);
        if (rows.size() == 1 && first.limit() != null && change.amounts().size() <= 1) {
            Long asked = change.amounts().get(first.meter());
            return asked != null && asked == first.granted() ? change.amounts()
                    : Map.of(first.meter(), first.granted());
        }
        Map<String, Long> granted = new HashMap<>();
        if (change.ref() == null) {
            granted.putAll(change.amounts());
        }
        for (Row row : rows) {
            if (row.limit() != null) {
                granted.put(row.meter(), row.granted());
            }
        }
        return granted;
    }

    private static Denied denied(Change change, List<Row> rows, int call) {
        return new Denied(change.scope(), change.amounts(), verdicts(change, rows, call),
                rows.get(0).at(), retryAfter(change, rows));
    }

    /** Null when waiting cannot help. */
    private static @Nullable Instant retryAfter(Change change, List<Row> rows) {
        if (change.ref() != null) {
            return null; // a hold stays in the window that it was taken in
        }
        Instant latest = null;
        for (Row row : rows) {
            if (row.fits() || row.mode() != Limit.Mode.ENFORCE) {
                continue;
            }
            boolean never = row.ceiling() != null
                    && change.amounts().getOrDefault(row.meter(), 0L) > row.ceiling();
            if (never || row.end() == null) {
                return null;
            }
            latest = latest == null || row.end().isAfter(latest) ? row.end() : latest;
        }
        return latest;
    }

    private static List<Verdict> verdicts(Change change, List<Row> rows, int call) {
        if (rows.size() == 1 && rows.get(0).limit() != null) {
            return List.of(verdict(change, rows.get(0), call));
        }
        List<Verdict> verdicts = new ArrayList<>(rows.size());
        for (Row row : rows) {
            if (row.limit() != null) {
                verdicts.add(verdict(change, row, call));
            }
        }
        return verdicts;
    }

    private static Verdict verdict(Change change, Row row, int call) {
        Scope scope = row.scope().equals(change.scope().path()) ? change.scope()
                : new Scope(row.scope());
        Balance balance = new Balance(java.util.Objects.requireNonNull(row.limit()), row.meter(),
                scope, java.util.Objects.requireNonNull(row.mode()), row.capacity(),
                row.used(call), row.held(), row.start(), row.end());
        return new Verdict(balance, row.fits(call), row.overage(call), row.crossed(call),
                message(row.message(), change, balance));
    }

    static Limit.Mode mode(String mode) {
        return Limit.Mode.valueOf(mode.toUpperCase(Locale.ROOT));
    }

    private static @Nullable String message(@Nullable String template, Change change, Balance b) {
        if (template == null) {
            return null;
        }
        String capacity = b.capacityOrNull() == null ? "unlimited"
                : String.valueOf(b.capacityOrNull());
        Map<String, Object> places = Map.of(
                "limit", b.limit(),
                "meter", b.meter(),
                "scope", b.scope(),
                "capacity", capacity,
                "used", b.used(),
                "held", b.held(),
                "remaining", b.capacityOrNull() == null ? capacity : b.remaining().getAsLong(),
                "asked", change.amounts().getOrDefault(b.meter(), 0L),
                "resets_at", b.endOrNull() == null ? "never" : b.endOrNull());
        return java.util.regex.Pattern.compile("\\{([a-z_]+)}").matcher(template).replaceAll(
                m -> java.util.regex.Matcher.quoteReplacement(
                        String.valueOf(places.getOrDefault(m.group(1), m.group()))));
    }

    private static QuotaException error(Change change, Row row) {
        String tenant = change.scope().tenant();
        String detail = String.valueOf(row.detail());
        return switch (row.status()) {
            case "unknown_tenant" -> new QuotaException.UnknownTenant(tenant,
                    "has no plan, and there is no default plan: assign one, or set a default");
            case "no_version" -> new QuotaException.UnknownTenant(tenant,
                    "has a plan of which no version is in force: publish one");
            case "unknown_meter" -> new QuotaException.UnknownMeter(change.scope(), detail,
                    "is counted by no limit of the tenant's plan: add one, unlimited if it should "
                    + "only count");
            case "scope_too_short" -> new QuotaException.UnknownMeter(change.scope(), detail,
                    "is limited at deeper levels only: name a longer scope, or add a limit at its "
                    + "level");
            case "unknown_hold" -> new QuotaException.NotFound("hold", change.about(),
                    "it was never taken, or ended longer ago than it is kept");
            case "meter_not_held" -> new QuotaException.Invalid("meter", detail,
                    "is not among those that hold " + change.about() + " was taken for");
            case "hold_ended" -> new QuotaException.HoldEnded(
                    change.about(), Hold.State.valueOf(detail.toUpperCase(Locale.ROOT)));
            case "unknown_operation" -> new QuotaException.NotFound("operation", change.about(),
                    "the ledger has no charge of it: it was not billed, or is older than the "
                    + "ledger is kept; of a hold, refund the operation that settled it");
            case "refund_too_large" -> refundTooLarge(change, detail);
            case "key_conflict" ->
                    new QuotaException.KeyConflict(String.valueOf(change.key()), detail);
            case "key_expired" -> new QuotaException.KeyExpired(String.valueOf(change.key()));
            case "counter_full" -> new QuotaException.Invalid("amount", change.amounts(),
                    "does not fit the counter of limit " + detail + ", which ends at 2^63 - 1");
            default -> throw new IllegalStateException("status " + row.status());
        };
    }

    /** The detail is the number left and the meter. */
    private static QuotaException refundTooLarge(Change change, String detail) {
        int blank = detail.indexOf(' ');
        String meter = detail.substring(blank + 1);
        return new QuotaException.RefundTooLarge(change.about(), meter,
                change.amounts().getOrDefault(meter, 0L),
                Long.parseLong(detail.substring(0, blank)));
    }
}
