package io.github.pgquota.internal;

import static io.github.pgquota.internal.jooq.Tables.ADJUSTMENT;
import static io.github.pgquota.internal.jooq.Tables.PLAN_LIMIT;
import static io.github.pgquota.internal.jooq.Tables.PLAN_VERSION;
import static io.github.pgquota.internal.jooq.Tables.SETTING;
import static io.github.pgquota.internal.jooq.Tables.TENANT;

import io.github.pgquota.Balance;
import io.github.pgquota.Limit;
import io.github.pgquota.Plan;
import io.github.pgquota.Plans;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Reports;
import io.github.pgquota.Scope;
import io.github.pgquota.Window;
import io.github.pgquota.internal.jooq.Routines;
import io.github.pgquota.internal.jooq.tables.records.PlanLimitRecord;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.UUID;
import java.util.function.Function;
import org.jooq.DSLContext;
import org.jooq.Field;
import org.jooq.JSONB;
import org.jooq.SQLDialect;
import org.jooq.exception.DataAccessException;
import org.jooq.impl.DSL;
import org.jooq.impl.DefaultConfiguration;
import org.jooq.tools.json.JSONArray;
import org.jspecify.annotations.Nullable;

/** Administration: writes settings, and calls the functions that guard what must not be written. */
final class PgPlans implements Plans {

    // jOOQ greets in the host's log, and asks these only; a host that wants it says false
    static {
        for (String greeting : List.of("org.jooq.no-logo", "org.jooq.no-tips")) {
            if (System.getProperty(greeting) == null) {
                System.setProperty(greeting, "true");
            }
        }
    }

    static final Field<OffsetDateTime> NOW = Routines.clock();
    /** Not the times: jOOQ cannot read infinity. */
    private static final List<Field<?>> LIMIT = List.of(PLAN_LIMIT.NAME, PLAN_LIMIT.METER,
            PLAN_LIMIT.LEVEL,
            PLAN_LIMIT.PER, PLAN_LIMIT.CAPACITY, PLAN_LIMIT.OVERAGE, PLAN_LIMIT.MODE,
            PLAN_LIMIT.BILLED,
            PLAN_LIMIT.THRESHOLDS, PLAN_LIMIT.MESSAGE);
    /** The first of a month, a Monday, midnight: the column's default. */
    static final LocalDateTime NO_ANCHOR = LocalDateTime.of(2001, 1, 1, 0, 0);
    private static final LocalDateTime EARLIEST = LocalDateTime.of(1900, 1, 1, 0, 0);
    private static final LocalDateTime LATEST = LocalDateTime.of(2200, 12, 31, 23, 59, 59);

    private final Database database;
    private final @Nullable String who;
    private final @Nullable String why;

    PgPlans(Database database, @Nullable String who, @Nullable String why) {
        this.database = database;
        this.who = who == null ? null : Store.storable("who", who);
        this.why = why == null ? null : Store.storable("why", why);
    }

    @Override
    public int publish(Plan plan) {
        return change(sql -> publish(sql, plan, null));
    }

    @Override
    public int publish(Plan plan, Instant effectiveFrom) {
        return change(sql -> publish(sql, plan, effectiveFrom));
    }

    @Override
    public Optional<Plan> plan(String name) {
        return database.report(
                connection -> work(connection, sql -> plan(sql, Store.storable("plan", name))));
    }

    @Override
    public void defaultPlan(@Nullable String plan) {
        change(sql -> sql.update(SETTING).set(SETTING.DEFAULT_PLAN,
                plan == null ? null : Store.storable("plan", plan)).execute());
    }

    @Override
    public void defaultZone(ZoneId zone) {
        change(sql -> sql.update(SETTING).set(SETTING.DEFAULT_ZONE, name(zone)).execute());
    }

    @Override
    public void assign(String tenant, @Nullable String plan, Usage usage) {
        change(sql -> {
            set(sql, tenant, TENANT.PLAN, plan == null ? null : Store.storable("plan", plan));
            return usage == Usage.KEEP ? List.of() : reset(sql, Scope.of(tenant), false);
        });
    }

    @Override
    public void zone(String tenant, @Nullable ZoneId zone) {
        change(sql -> set(sql, tenant, TENANT.ZONE, zone == null ? null : name(zone)));
    }

    @Override
    public void anchor(String tenant, @Nullable LocalDateTime anchor) {
        LocalDateTime from = anchor == null ? NO_ANCHOR : anchor(anchor);
        change(sql -> set(sql, tenant, TENANT.ANCHOR, from));
    }

    @Override
    public UUID override(Scope scope, String limit, @Nullable Long capacity, Instant from,
            @Nullable Instant until, String reason) {
        return change(sql -> adjust(sql, "override", scope, limit, capacity, from, until, reason));
    }

    @Override
    public UUID boost(Scope scope, String limit, long units, Instant from,
            @Nullable Instant until, String reason) {
        return change(sql -> adjust(sql, "boost", scope, limit, units, from, until, reason));
    }

    @Override
    public void withdraw(String tenant, UUID adjustment) {
        change(sql -> withdraw(sql, tenant, adjustment));
    }

    static int withdraw(DSLContext sql, String tenant, UUID adjustment) {
        var mine = ADJUSTMENT.TENANT.eq(tenant).and(ADJUSTMENT.ID.eq(adjustment));
        OffsetDateTime now = sql.select(NOW).fetchSingle().value1();
        int done = sql.deleteFrom(ADJUSTMENT).where(mine).and(ADJUSTMENT.FROM_AT.ge(now)).execute();
        if (done == 0) {
            done = sql.update(ADJUSTMENT)
                    .set(ADJUSTMENT.UNTIL_AT, DSL.least(ADJUSTMENT.UNTIL_AT, DSL.val(now)))
                    .where(mine)
                    .execute();
        }
        if (done == 0) {
            throw new QuotaException.NotFound("override or boost", adjustment,
                    "it was never made for tenant " + tenant + ", or withdrawn before it began");
        }
        return done;
    }

    @Override
    public List<Balance> reset(Scope scope, boolean dryRun) {
        Sql<List<Balance>> reset = connection -> work(connection, sql -> reset(sql, scope, dryRun));
        return dryRun ? database.report(reset) : database.transaction(reset);
    }

    @Override
    public List<Reports.Difference> repair(String tenant) {
        return change(sql -> sql.connectionResult(
                connection -> PgReports.differences(connection, "repair", tenant(tenant))));
    }

    @Override
    public List<String> diff(Path yaml) {
        PlanFile file = PlanFile.read(yaml);
        try {
            database.report(connection -> work(connection, sql -> {
                throw new RolledBack(PlanChanges.apply(sql, file));
            }));
        } catch (RolledBack told) {
            return told.lines;
        }
        throw new IllegalStateException("was not rolled back");
    }

    @Override
    public List<String> apply(Path yaml) {
        PlanFile file = PlanFile.read(yaml);
        return change(sql -> PlanChanges.apply(sql, file));
    }

    /** Ends a transaction that was only to tell what it would do. */
    private static final class RolledBack extends RuntimeException {
        private static final long serialVersionUID = 1L;
        private final transient List<String> lines;

        RolledBack(List<String> lines) {
            super(null, null, false, false);
            this.lines = lines;
        }
    }

    private <T> T change(Function<DSLContext, T> work) {
        return database.transaction(connection -> work(connection, work));
    }

    /** In a transaction whose changes are audited. */
    private <T> T work(Connection connection, Function<DSLContext, T> work) throws SQLException {
        try {
            audit(connection);
            // by setters: overloads that could take jOOQ's Settings make the compiler look for
            // JAXB
            DefaultConfiguration configuration = new DefaultConfiguration();
            configuration.setConnection(connection);
            configuration.setSQLDialect(SQLDialect.POSTGRES);
            return work.apply(configuration.dsl());
        } catch (DataAccessException e) {
            SQLException cause = e.getCause(SQLException.class);
            if (cause == null || !SqlStates.isKnown(cause)) {
                throw e; // not the database's words: a mistake in here
            }
            throw cause;
        }
    }

    private void audit(Connection connection) throws SQLException {
        try (PreparedStatement settings = connection.prepareStatement(
                "select set_config('pgquota.who', ?, true), set_config('pgquota.why', ?, true)")) {
            settings.setString(1, who == null ? "" : who);
            settings.setString(2, why == null ? "" : why);
            settings.execute();
        }
    }

    static int publish(DSLContext sql, Plan plan, @Nullable Instant from) {
        JSONB limits = JSONB.valueOf(
                JSONArray.toJSONString(plan.limits().stream().map(PgPlans::fields).toList()));
        return Routines.publish(sql.configuration(), plan.name(), limits,
                from == null ? null : time(from));
    }

    static Map<String, @Nullable Object> fields(Limit limit) {
        Map<String, @Nullable Object> fields = new LinkedHashMap<>();
        fields.put("name", limit.name());
        fields.put("meter", limit.meter());
        fields.put("level", limit.level());
        fields.put("per", limit.window().text());
        fields.put("capacity", limit.capacityOrNull());
        fields.put("overage", limit.overageOrNull());
        fields.put("mode", limit.mode().name().toLowerCase(Locale.ROOT));
        fields.put("billed", limit.billed());
        fields.put("thresholds", limit.thresholds());
        fields.put("message", limit.messageOrNull());
        return fields;
    }

    static Optional<Plan> plan(DSLContext sql, String name) {
        Integer version = sql.select(PLAN_VERSION.VERSION)
                .from(PLAN_VERSION)
                .where(PLAN_VERSION.PLAN.eq(name).and(PLAN_VERSION.FROM_AT.le(NOW)))
                .orderBy(PLAN_VERSION.FROM_AT.desc(), PLAN_VERSION.VERSION.desc())
                .limit(1)
                .fetchOne(PLAN_VERSION.VERSION);
        return version == null
                ? Optional.empty()
                : Optional.of(new Plan(name, sql.select(LIMIT)
                        .from(PLAN_LIMIT)
                        .where(PLAN_LIMIT.PLAN.eq(name).and(PLAN_LIMIT.VERSION.eq(version)))
                        .orderBy(PLAN_LIMIT.ORD)
                        .fetchInto(PLAN_LIMIT)
                        .map(PgPlans::limit)));
    }

    private static Limit limit(PlanLimitRecord row) {
        return new Limit(row.getName(), row.getMeter(), row.getLevel(), Window.parse(row.getPer()),
                row.getCapacity(), row.getOverage(), Answers.mode(row.getMode()),
                Arrays.asList(row.getThresholds()), row.getMessage(), row.getBilled());
    }

    static <T> int set(DSLContext sql, String tenant, Field<T> field, @Nullable T value) {
        return sql.insertInto(TENANT, TENANT.TENANT_, field)
                .values(tenant(tenant), value)
                .onConflict(TENANT.TENANT_)
                .doUpdate()
                .set(field, value)
                .execute();
    }

    static UUID adjust(DSLContext sql, String kind, Scope scope, String limit,
            @Nullable Long capacity, Instant from, @Nullable Instant until,
            @Nullable String reason) {
        Objects.requireNonNull(from, "from");
        if (until != null && !until.isAfter(from)) {
            throw new QuotaException.Invalid("until", until, "must be after from, " + from);
        }
        if (capacity != null && (capacity < 0 || capacity > 1L << 62)) {
            throw new QuotaException.Invalid(kind.equals("boost") ? "units" : "capacity", capacity,
                    "must be between 0 and 2^62");
        }
        requireLimit(sql, scope, limit);
        return sql.insertInto(ADJUSTMENT)
                .set(ADJUSTMENT.TENANT, scope.tenant())
                .set(ADJUSTMENT.SCOPE, scope.path())
                .set(ADJUSTMENT.LIMIT_NAME, limit)
                .set(ADJUSTMENT.KIND, kind)
                .set(ADJUSTMENT.CAPACITY, capacity)
                .set(ADJUSTMENT.FROM_AT, time(from))
                .set(ADJUSTMENT.UNTIL_AT, until == null
                        ? DSL.defaultValue(ADJUSTMENT.UNTIL_AT)
                        : DSL.val(time(until)))
                .set(ADJUSTMENT.REASON, reason == null ? null : Store.storable("reason", reason))
                .returning(ADJUSTMENT.ID)
                .fetchSingle()
                .getId();
    }

    private static List<Balance> reset(DSLContext sql, Scope scope, boolean dryRun) {
        return sql.connectionResult(connection -> {
            try (PreparedStatement statement = connection.prepareStatement(
                    "select " + Balances.COLUMNS + " from pgquota.reset(?, ?)")) {
                statement.setString(1, scope.path());
                statement.setBoolean(2, dryRun);
                return Balances.list(statement.executeQuery());
            }
        });
    }

    /**
     * In force now or from a later time on: a plan's new limit can be overridden before it begins.
     */
    private static void requireLimit(DSLContext sql, Scope scope, String limit) {
        var rows = sql.select(PLAN_LIMIT.NAME, DSL.max(PLAN_LIMIT.LEVEL))
                .from(SETTING)
                .leftJoin(TENANT).on(TENANT.TENANT_.eq(scope.tenant()))
                .join(PLAN_LIMIT)
                .on(PLAN_LIMIT.PLAN.eq(DSL.coalesce(TENANT.PLAN, SETTING.DEFAULT_PLAN)))
                .where(PLAN_LIMIT.UNTIL_AT.gt(NOW))
                .groupBy(PLAN_LIMIT.NAME)
                .orderBy(PLAN_LIMIT.NAME)
                .fetchMap(PLAN_LIMIT.NAME, DSL.max(PLAN_LIMIT.LEVEL));
        Integer level = rows.get(limit);
        if (level == null) {
            throw new QuotaException.NotFound("limit", limit,
                    "the plan of tenant " + scope.tenant() + " has " + rows.keySet());
        }
        if (scope.level() > level) {
            throw new QuotaException.Invalid("scope", scope, "is below what limit " + limit
                    + " looks at: name a scope of level " + level + " or above");
        }
    }

    static LocalDateTime anchor(LocalDateTime anchor) {
        if (anchor.isBefore(EARLIEST) || anchor.isAfter(LATEST)) {
            throw new QuotaException.Invalid("anchor", anchor, "must be in the years 1900 to 2200");
        }
        return anchor;
    }

    private static String tenant(String tenant) {
        if (Scope.of(tenant).level() > 0) {
            throw new QuotaException.Invalid("tenant", tenant, "contains a slash");
        }
        return tenant;
    }

    /** Java's name of UTC is Z; all others are the same in the tz database. */
    static String name(ZoneId zone) {
        return zone.getId().equals("Z") ? "UTC" : zone.getId();
    }

    private static OffsetDateTime time(Instant instant) {
        return instant.atOffset(ZoneOffset.UTC);
    }
}
