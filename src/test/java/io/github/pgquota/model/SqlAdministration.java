package io.github.pgquota.model;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.Balance;
import io.github.pgquota.Limit;
import io.github.pgquota.Plan;
import io.github.pgquota.Quotas;
import io.github.pgquota.Scope;
import io.github.pgquota.TestDatabase;
import io.github.pgquota.Window;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import javax.sql.DataSource;

/**
 * Administration of the database under test: by the API, but in one statement where the API would
 * be several, or would refuse what the engine must bear.
 */
record SqlAdministration(DataSource dataSource, Quotas quotas) implements Administration {

    /** The plan of who has none of his own, from a time within that of programs. */
    static final String DEFAULT_PLAN = "default";
    static final Instant DEFAULT_FROM = Instant.parse("2022-02-02T02:02:02Z");
    static final List<Limit> DEFAULT_LIMITS = List.of(
            Limit.named("limit0").on("m").capacity(9).per(Window.day()).alertAt(50, 100),
            Limit.named("limit1").on("m").level(1).capacity(5).per(Window.hour()),
            Limit.named("limit2").on("n").unlimited().per(Window.month()));

    /** Lets a session travel in time by the setting model.now. */
    static final String CLOCK = "create or replace function pgquota.clock() returns timestamptz "
            + "language sql volatile as $$ select current_setting('model.now')::timestamptz $$";

    @Override
    public void clock(Instant to) throws SQLException {
        run("select set_config('model.now', ?, false)", to.toString());
    }

    @Override
    public void publish(String plan, List<Limit> limits) {
        quotas.plans().publish(new Plan(plan, limits));
    }

    @Override
    public void tenant(String tenant, String plan, ZoneId zone,
            LocalDateTime anchor) throws SQLException {
        run("insert into pgquota.tenant (tenant, plan, zone, anchor) values (?, ?, ?, "
                        + "coalesce(?::timestamp, '2001-01-01')) on conflict (tenant) do update "
                        + "set plan = excluded.plan, zone = excluded.zone, anchor = "
                        + "excluded.anchor",
                tenant, plan, zone == null ? null : zone.getId(), anchor == null ? null
                : anchor.toString());
    }

    @Override
    public UUID adjust(
            Scope scope, String limit, boolean boost, Long capacity, Instant from, Instant until)
            throws SQLException {
        UUID id = UUID.randomUUID();
        run("insert into pgquota.adjustment (tenant, id, scope, limit_name, kind, capacity, "
                + "from_at, until_at, "
                        + "made_at) values (?, ?, ?, ?, ?, ?, ?, ?, clock_timestamp())",
                        scope.tenant(), id,
                scope.path(), limit, boost ? "boost" : "override", capacity,
                from.atOffset(ZoneOffset.UTC),
                until.atOffset(ZoneOffset.UTC));
        return id;
    }

    @Override
    public void withdraw(String tenant, UUID adjustment) {
        quotas.plans().withdraw(tenant, adjustment);
    }

    @Override
    public List<Balance> reset(Scope scope, boolean dryRun) {
        return quotas.plans().reset(scope, dryRun);
    }

    private void run(String sql, Object... values) throws SQLException {
        try (Connection connection = dataSource.getConnection();
                PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) {
                statement.setObject(i + 1, values[i]);
            }
            statement.execute();
        }
    }

    /** What the tables hold of tenants, as lines in no order; ids are the database's. */
    static List<String> lines(Connection connection, String... tenants) throws SQLException {
        List<String> lines = new ArrayList<>();
        try (PreparedStatement statement = connection.prepareStatement(LINES)) {
            statement.setArray(1, connection.createArrayOf("text", tenants));
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    lines.add(rows.getString(1));
                }
            }
        }
        return lines;
    }

    static void prepare(TestDatabase database) throws SQLException {
        try (Connection connection = database.connection()) {
            prepare(connection);
        }
        try (HikariDataSource one = database.pool(1); Quotas quotas = Quotas.on(one).build()) {
            SqlAdministration administration = new SqlAdministration(one, quotas);
            administration.clock(DEFAULT_FROM);
            administration.publish(DEFAULT_PLAN, DEFAULT_LIMITS);
            administration.run("update pgquota.setting set default_plan = ?", DEFAULT_PLAN);
        }
    }

    private static void prepare(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(CLOCK);
            // this check reads all time zones there are, for each tenant
            statement.execute("alter table pgquota.tenant disable trigger checks");
            // lines() asks for a tenant's rows, the library does not
            statement.execute("create index on pgquota.ledger (tenant)");
            statement.execute("create function public.micros(timestamptz) returns text language "
                    + "sql immutable as "
                    + "$$ select case when isfinite($1) then (extract(epoch from $1) * "
                    + "1000000)::bigint::text "
                    + "else 'null' end $$");
        }
    }

    /** Holds that have expired count as ended, whether somebody has noticed or not. */
    private static final String LINES = """
            with t as (select unnest(?::text[]) as tenant),
                 n as (select pgquota.clock() as now),
                 c as (select c.*, concat_ws(' ', scope, meter, per, row_number() over (
                                  partition by tenant, scope, meter, per order by start_at)) as name
                         from pgquota.counter c join t using (tenant))
            select concat_ws(' ', 'counter', name, public.micros(start_at), public.micros(end_at),
                billed,
                             'used', used, 'held', held - coalesce(
                                 (select sum(i.amount) from pgquota.hold_item i, n
                                   where i.tenant = c.tenant and i.counter = c.id and i.expires_at
                                       <= n.now), 0),
                             'entries', entries)
              from c
            union all
            select concat_ws(' ', 'ledger', c.name, l.entry, l.verb, l.amount, l.used_after,
                             public.micros(l.at),
                             case l.verb when 'reset' then 'its own' else l.operation::text end,
                             coalesce(l.ref::text, 'null'))
              from pgquota.ledger l join c on c.tenant = l.tenant and c.id = l.counter
            union all
            select concat_ws(' ', 'hold', h.id, h.scope, h.meters, h.amounts,
                public.micros(h.taken_at),
                             public.micros(h.expires_at),
                             case when h.state = 'open' and h.expires_at <= n.now then 'expired'
                                 else h.state end)
              from pgquota.hold h join t using (tenant) cross join n
            union all
            select concat_ws(' ', 'item', c.name, i.hold, i.amount, public.micros(i.expires_at))
              from pgquota.hold_item i join c on c.tenant = i.tenant and c.id = i.counter
              join n on n.now < i.expires_at
            union all
            select concat_ws(' ', 'alert', c.name, a.limit_name, a.percent, a.capacity, a.used,
                a.operation,
                             public.micros(a.at))
              from pgquota.alert a join c on c.tenant = a.tenant and c.id = a.counter
            union all
            select concat_ws(' ', 'key', k.key, k.verb, k.scope, public.micros(k.at))
              from pgquota.operation_key k join t using (tenant)
            """;
}
