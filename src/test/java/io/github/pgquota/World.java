package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.StringJoiner;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.jspecify.annotations.Nullable;

/**
 * A database of a test with plans in it, quotas on it, and a clock that can be set. What the tests
 * claim is read back from the tables here, never from the library.
 */
final class World implements AutoCloseable {

    /** The scope that most tests use. */
    static final String TENANT = "acme";

    /** A tenant that tests do not look at: its calls only keep theirs company. */
    static final String BYSTANDER = "bystander";

    private final TestDatabase database = TestDatabase.create();
    private final HikariDataSource pool;
    private final Quotas quotas;
    /** Those that look at the tables, between two looks: to log in takes longer than to look. */
    private final Queue<Connection> idle = new ConcurrentLinkedQueue<>();
    private final String clock;
    private boolean steppedBack;

    private World(int connections) {
        pool = database.pool(connections);
        quotas = Quotas.on(pool).build();
        clock = one(String.class, "select pg_get_functiondef('pgquota.clock()'::regprocedure)");
    }

    /** An empty one, for a few callers. */
    static World create() {
        return new World(8);
    }

    /** An empty one, for so many callers at once. */
    static World create(int connections) {
        return new World(connections);
    }

    /** A tenant {@link #TENANT} whose plan has these limits. */
    static World with(Limit... limits) {
        return create().plan("P", limits).tenant(TENANT, "P");
    }

    /** Empties it: nobody has limits, nothing was counted, settings and clock are as at first. */
    World clear() {
        execute(clock);
        // plans are never deleted, say the triggers, and what is deleted is audited: not here
        execute("""
                do $$
                begin
                  set local session_replication_role = replica;
                  delete from pgquota.ledger; delete from pgquota.alert;
                  delete from pgquota.hold_item; delete from pgquota.hold;
                  delete from pgquota.operation_key; delete from pgquota.counter;
                  delete from pgquota.adjustment; delete from pgquota.tenant;
                  delete from pgquota.plan_limit; delete from pgquota.plan_version;
                  delete from pgquota.audit; delete from pgquota.setting;
                  insert into pgquota.setting default values;
                  update pgquota.mark set at = '-infinity';
                end $$
                """);
        steppedBack = false;
        return this;
    }

    TestDatabase database() {
        return database;
    }

    HikariDataSource pool() {
        return pool;
    }

    Quotas quotas() {
        return quotas;
    }

    /** Publishes the limits as a plan's next version, from now on; the first one since long ago. */
    World plan(String plan, Limit... limits) {
        Plan version = new Plan(plan, List.of(limits));
        if (count("select count(*) from pgquota.plan_version where plan = ?", plan) > 0) {
            quotas.plans().publish(version);
            return this;
        }
        // tests set the clock to times before their own
        String running = one(String.class,
                "select pg_get_functiondef('pgquota.clock()'::regprocedure)");
        execute("create or replace function pgquota.clock() returns timestamptz language sql "
                + "volatile as 'select timestamptz ''2000-01-01'' '");
        quotas.plans().publish(version);
        execute(running);
        return this;
    }

    /** Publishes a version that is in force from a time on. */
    World planFrom(String plan, Instant from, Limit... limits) {
        quotas.plans().publish(new Plan(plan, List.of(limits)), from);
        return this;
    }

    /** Gives a tenant a plan. */
    World tenant(String tenant, String plan) {
        execute("insert into pgquota.tenant (tenant, plan) values (?, ?) "
                + "on conflict (tenant) do update set plan = excluded.plan", tenant, plan);
        return this;
    }

    /** Lets the database's clock stand still at a time. */
    World clock(String at) {
        steppedBack |= Instant.parse(at).isBefore(now()) && !rows(
                "select from pgquota.counter limit 1").isEmpty();
        execute("create table if not exists public.test_clock (at timestamptz)");
        execute("grant select on public.test_clock to public");
        execute("delete from public.test_clock");
        execute("insert into public.test_clock values (?::timestamptz)", at);
        execute("create or replace function pgquota.clock() returns timestamptz language sql "
                + "volatile as 'select at from public.test_clock'");
        return this;
    }

    /** Moves the clock that stands still. */
    World later(Duration by) {
        execute("update public.test_clock set at = at + ? * interval '1 millisecond'",
                by.toMillis());
        return this;
    }

    /** The database's time. */
    Instant now() {
        return one(OffsetDateTime.class, "select pgquota.clock()").toInstant();
    }

    /** Runs a statement in a transaction of its own, as the superuser. */
    int execute(String sql, @Nullable Object... values) {
        return statement(sql, values,
                statement -> statement.execute() ? 0 : statement.getUpdateCount());
    }

    /** The rows of a query, each with its columns joined by blanks. */
    List<String> rows(String sql, @Nullable Object... values) {
        return statement(sql, values, statement -> {
            List<String> rows = new ArrayList<>();
            try (ResultSet r = statement.executeQuery()) {
                while (r.next()) {
                    StringJoiner row = new StringJoiner(" ");
                    for (int c = 1; c <= r.getMetaData().getColumnCount(); c++) {
                        row.add(String.valueOf(r.getString(c)));
                    }
                    rows.add(row.toString());
                }
            }
            return rows;
        });
    }

    /** The single value of a query. */
    <T> T one(Class<T> type, String sql, @Nullable Object... values) {
        return statement(sql, values, statement -> {
            try (ResultSet r = statement.executeQuery()) {
                r.next();
                return r.getObject(1, type);
            }
        });
    }

    /** What is done with a statement. */
    private interface Work<T> {
        T with(PreparedStatement statement) throws SQLException;
    }

    private <T> T statement(String sql, @Nullable Object[] values, Work<T> work) {
        try {
            Connection connection = idle.poll();
            connection = connection == null ? database.connection() : connection;
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                for (int i = 0; i < values.length; i++) {
                    statement.setObject(i + 1, values[i]);
                }
                return work.with(statement);
            } finally {
                idle.add(connection);
            }
        } catch (SQLException e) {
            throw new IllegalStateException(e.getMessage(), e);
        }
    }

    /** The single number of a query. */
    long count(String sql, @Nullable Object... values) {
        return one(Long.class, "select (" + sql + ")::bigint", values);
    }

    /**
     * How many rows the engine's tables have, by table: two of these tell that nothing was written,
     * but perhaps for the {@link #BYSTANDER}.
     */
    List<String> written() {
        return rows("""
                select 'counter', count(*), coalesce(sum(used + held + entries), 0)
                  from pgquota.counter where tenant <> 'BYSTANDER'
                union all select 'ledger', count(*), 0
                  from pgquota.ledger where tenant <> 'BYSTANDER'
                union all select 'hold', count(*), count(*) filter (where state = 'open')
                  from pgquota.hold where tenant <> 'BYSTANDER'
                union all select 'hold_item', count(*), coalesce(sum(amount), 0)
                  from pgquota.hold_item where tenant <> 'BYSTANDER'
                union all select 'operation_key', count(*), 0
                  from pgquota.operation_key where tenant <> 'BYSTANDER'
                union all select 'alert', count(*), 0
                  from pgquota.alert where tenant <> 'BYSTANDER'
                """.replace("BYSTANDER", BYSTANDER));
    }

    /**
     * What must be true of the tables whenever nobody writes: the ledger's entries of a billed
     * counter are a chain without a gap that ends at what is used, and what is held is what the
     * holds that have not ended hold.
     */
    void proof() {
        assertThat(rows("""
                select c.scope, c.meter, c.start_at, c.used, c.entries, count(l.entry),
                       coalesce(sum(l.amount), 0)
                  from pgquota.counter c
                  left join pgquota.ledger l on l.tenant = c.tenant and l.counter = c.id
                 where c.billed
                 group by c.tenant, c.id
                having c.used <> coalesce(sum(l.amount), 0) or c.entries <> count(l.entry)
                    or c.entries <> coalesce(max(l.entry), 0)
                """)).as("counters and the sums of their ledger").isEmpty();
        assertThat(rows("""
                select * from (
                  select l.*, lag(l.used_after, 1, 0::bigint) over w as before,
                         lag(l.entry, 1, 0::bigint) over w as entry_before,
                         lag(l.at, 1, l.at) over w as at_before
                    from pgquota.ledger l
                  window w as (partition by l.tenant, l.counter order by l.entry)) l
                 where used_after <> before + amount or entry <> entry_before + 1
                    or at < at_before and not ?
                """, steppedBack)).as("the ledger's chains").isEmpty();
        assertThat(rows("""
                select c.scope, c.meter, c.start_at, c.held, coalesce(sum(i.amount), 0)
                  from pgquota.counter c
                  left join pgquota.hold_item i on i.tenant = c.tenant and i.counter = c.id
                 group by c.tenant, c.id having c.held <> coalesce(sum(i.amount), 0)
                """)).as("counters and the sums of their holds").isEmpty();
        assertThat(rows("""
                select h.id, h.state, count(i.hold), cardinality(h.counters)
                  from pgquota.hold h
                  left join pgquota.hold_item i on i.tenant = h.tenant and i.hold = h.id
                 group by h.tenant, h.id
                having count(i.hold) <> case when h.state = 'open' then cardinality(h.counters)
                                             else 0 end
                """)).as("holds and their items").isEmpty();
        assertThat(rows("""
                select c.scope, c.meter, c.start_at, c.expiry_at, min(i.expires_at)
                  from pgquota.counter c
                  join pgquota.hold_item i
                    on i.tenant = c.tenant and i.counter = c.id and i.amount > 0
                 group by c.tenant, c.id having c.expiry_at > min(i.expires_at)
                """)).as("counters that would overlook an expired hold").isEmpty();
    }

    @Override
    public void close() {
        quotas.close();
        pool.close();
        database.close(); // cuts the idle connections too
    }
}
