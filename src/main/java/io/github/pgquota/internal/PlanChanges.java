package io.github.pgquota.internal;

import static io.github.pgquota.internal.jooq.Tables.ADJUSTMENT;
import static io.github.pgquota.internal.jooq.Tables.SETTING;
import static io.github.pgquota.internal.jooq.Tables.TENANT;

import io.github.pgquota.Limit;
import io.github.pgquota.Plan;
import io.github.pgquota.QuotaException;
import java.sql.SQLException;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.UUID;
import java.util.stream.Collectors;
import org.jooq.DSLContext;
import org.jooq.Field;
import org.jooq.Record;
import org.jooq.exception.DataAccessException;
import org.jooq.impl.DSL;
import org.jspecify.annotations.Nullable;

/**
 * Makes a database what a plan file says, inside the caller's transaction. To tell what would
 * change, the caller does it and rolls back: so both are one piece of code.
 */
final class PlanChanges {

    /** jOOQ cannot read infinity. */
    private static final Field<OffsetDateTime> UNTIL =
            DSL.field("nullif({0}, 'infinity')", OffsetDateTime.class, ADJUSTMENT.UNTIL_AT);

    private final DSLContext sql;
    private final PlanFile file;
    private final List<String> lines = new ArrayList<>();

    private PlanChanges(DSLContext sql, PlanFile file) {
        this.sql = sql;
        this.file = file;
    }

    /** Returns a line for each change. */
    static List<String> apply(DSLContext sql, PlanFile file) {
        PlanChanges changes = new PlanChanges(sql, file);
        changes.apply();
        return List.copyOf(changes.lines);
    }

    private void apply() {
        file.plans().forEach(plan -> at("plans." + plan.name(), () -> publish(plan)));
        var now = sql.select(SETTING.DEFAULT_PLAN, SETTING.DEFAULT_ZONE).from(SETTING)
                .fetchSingle();
        if (file.defaultPlan() != null) {
            String plan = file.defaultPlan().value();
            change("default_plan", "default plan", now.value1(), plan,
                    () -> sql.update(SETTING).set(SETTING.DEFAULT_PLAN, plan).execute());
        }
        if (file.defaultZone() != null) {
            String zone = PgPlans.name(Objects.requireNonNull(file.defaultZone().value()));
            change("default_zone", "default zone", now.value2(), zone,
                    () -> sql.update(SETTING).set(SETTING.DEFAULT_ZONE, zone).execute());
        }
        file.tenants().forEach(this::tenant);
    }

    private void publish(Plan plan) {
        Optional<Plan> before = PgPlans.plan(sql, plan.name());
        if (before.isPresent() && before.get().equals(plan)) {
            return;
        }
        PgPlans.publish(sql, plan, null);
        String title = "plan " + plan.name() + ": ";
        if (before.isEmpty()) {
            lines.add(title + "new");
        }
        List<Limit> old = before.map(Plan::limits).orElse(List.of());
        int known = lines.size();
        for (Limit limit : plan.limits()) {
            Optional<Limit> was = old.stream().filter(l -> l.name().equals(limit.name()))
                    .findFirst();
            if (was.isEmpty()) {
                lines.add(title + "limit " + limit.name() + ": new, " + fields(limit).entrySet()
                        .stream().map(field -> field.getKey() + " " + field.getValue())
                        .collect(Collectors.joining(", ")));
            } else if (!was.get().equals(limit)) {
                lines.add(title + "limit " + limit.name() + ": " + differences(was.get(), limit));
            }
        }
        old.stream().filter(l -> plan.limits().stream().noneMatch(n -> n.name().equals(l.name())))
                .forEach(l -> lines.add(title + "limit " + l.name() + ": removed"));
        if (before.isPresent() && lines.size() == known) {
            lines.add(title + "limits in another order");
        }
    }

    private static String differences(Limit before, Limit after) {
        Map<String, Object> old = fields(before);
        Map<String, Object> now = fields(after);
        return now.keySet().stream()
                .filter(field -> !now.get(field).equals(old.get(field)))
                .map(field -> field + " " + old.get(field) + " -> " + now.get(field))
                .collect(Collectors.joining(", "));
    }

    /** What a limit says, but its name, in the file's words. */
    private static Map<String, Object> fields(Limit limit) {
        Map<String, Object> fields = new LinkedHashMap<>();
        PgPlans.fields(limit).forEach((field, value) -> fields.put(switch (field) {
            case "per" -> "window";
            case "thresholds" -> "alerts";
            default -> field;
        }, word(field, value)));
        fields.remove("name");
        return fields;
    }

    private static Object word(String field, @Nullable Object value) {
        return switch (field) {
            case "capacity" -> value == null ? "unlimited" : value;
            case "overage" -> value == null ? "allow" : value.equals(0L) ? "deny" : value;
            default -> value == null ? "none" : value;
        };
    }

    private void tenant(PlanFile.Tenant tenant) {
        String path = "tenants." + tenant.name();
        String title = "tenant " + tenant.name() + ": ";
        var row = sql.select(TENANT.PLAN, TENANT.ZONE, TENANT.ANCHOR)
                .from(TENANT)
                .where(TENANT.TENANT_.eq(tenant.name()))
                .fetchOptional();
        if (tenant.plan() != null) {
            String plan = tenant.plan().value();
            change(path + ".plan", title + "plan", row.map(r -> r.value1()).orElse(null), plan,
                    () -> PgPlans.set(sql, tenant.name(), TENANT.PLAN, plan));
        }
        if (tenant.zone() != null) {
            String zone = tenant.zone().value() == null ? null : PgPlans.name(tenant.zone()
                    .value());
            change(path + ".zone", title + "zone", row.map(r -> r.value2()).orElse(null), zone,
                    () -> PgPlans.set(sql, tenant.name(), TENANT.ZONE, zone));
        }
        if (tenant.anchor() != null) {
            LocalDateTime anchor = Objects.requireNonNullElse(tenant.anchor().value(),
                    PgPlans.NO_ANCHOR);
            change(path + ".anchor", title + "anchor", row.map(r -> r.value3())
                    .orElse(PgPlans.NO_ANCHOR), anchor,
                    () -> PgPlans.set(sql, tenant.name(), TENANT.ANCHOR, PgPlans.anchor(anchor)));
        }
        adjust(tenant.name(), "override", tenant.overrides());
        adjust(tenant.name(), "boost", tenant.boosts());
    }

    private record Existing(
            UUID id, String scope, String limit, @Nullable Long capacity, Instant from,
            @Nullable Instant until) {

        static Existing of(Record r) {
            OffsetDateTime until = r.get(UNTIL);
            return new Existing(r.get(ADJUSTMENT.ID), r.get(ADJUSTMENT.SCOPE),
                    r.get(ADJUSTMENT.LIMIT_NAME),
                    r.get(ADJUSTMENT.CAPACITY), r.get(ADJUSTMENT.FROM_AT).toInstant(),
                    until == null ? null : until.toInstant());
        }

        boolean is(PlanFile.Adjustment a) {
            return scope.equals(a.scope().path()) && limit.equals(a.limit())
                    && Objects.equals(capacity, a.capacity()) && Objects.equals(until, a.until())
                    && (a.from() == null || a.from().equals(from));
        }
    }

    /**
     * Makes a tenant's overrides or boosts those of the file: withdraws others, adds what is
     * missing.
     */
    private void adjust(String tenant, String kind, @Nullable List<PlanFile.Adjustment> wanted) {
        if (wanted == null) {
            return;
        }
        Instant now = sql.select(PgPlans.NOW).fetchSingle().value1().toInstant();
        List<Existing> existing = new ArrayList<>(sql
                .select(ADJUSTMENT.ID, ADJUSTMENT.SCOPE, ADJUSTMENT.LIMIT_NAME, ADJUSTMENT.CAPACITY,
                        ADJUSTMENT.FROM_AT, UNTIL)
                .from(ADJUSTMENT)
                .where(ADJUSTMENT.TENANT.eq(tenant).and(ADJUSTMENT.KIND.eq(kind))
                        .and(ADJUSTMENT.UNTIL_AT.gt(PgPlans.NOW)))
                .orderBy(ADJUSTMENT.MADE_AT)
                .forUpdate()
                .fetch(Existing::of));
        List<PlanFile.Adjustment> missing = new ArrayList<>();
        for (PlanFile.Adjustment a : wanted) {
            Optional<Existing> there = existing.stream().filter(e -> e.is(a)).findFirst();
            there.ifPresent(existing::remove);
            // one that has ended already was made then, or never had an effect
            if (there.isEmpty() && (a.until() == null || a.until().isAfter(now))) {
                missing.add(a);
            }
        }
        for (Existing e : existing) {
            PgPlans.withdraw(sql, tenant, e.id());
            lines.add("tenant " + tenant + ": withdraw " + words(
                    kind, e.limit(), e.capacity(), e.scope(), e.from(), e.until()));
        }
        for (PlanFile.Adjustment a : missing) {
            at(a.path(), () -> PgPlans.adjust(sql, kind, a.scope(), a.limit(), a.capacity(),
                    a.from() == null ? now : a.from(), a.until(), a.reason()));
            lines.add("tenant " + tenant + ": " + words(
                    kind, a.limit(), a.capacity(), a.scope().path(), a.from(), a.until()));
        }
    }

    private static String words(String kind, String limit, @Nullable Long capacity, String scope,
            @Nullable Instant from, @Nullable Instant until) {
        return kind + " " + limit + (kind.equals("boost") ? " + " : " = ") + word("capacity",
                capacity)
                + " for " + scope + " from " + (from == null ? "now" : from)
                + (until == null ? "" : " until " + until);
    }

    private void change(String path, String what, @Nullable Object before, @Nullable Object after,
            Runnable write) {
        if (!Objects.equals(before, after)) {
            at(path, write);
            lines.add(what + " " + word(what, before) + " -> " + word(what, after));
        }
    }

    /** What the library or the database refuses was said by the file, at that place. */
    private void at(String path, Runnable write) {
        try {
            write.run();
        } catch (QuotaException.Invalid | QuotaException.NotFound e) {
            throw file.wrong(path, Objects.requireNonNull(e.getMessage()), e);
        } catch (DataAccessException e) {
            SQLException cause = e.getCause(SQLException.class);
            if (cause == null || !SqlStates.isRefusal(cause)) {
                throw e;
            }
            QuotaException refused = SqlStates.alone(cause, Right.ADMIN);
            throw file.wrong(path, Objects.requireNonNull(refused.getMessage()), refused);
        }
    }
}
