package io.github.pgquota.tool.bench;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.Limit;
import io.github.pgquota.Plan;
import io.github.pgquota.Quotas;
import io.github.pgquota.Schema;
import io.github.pgquota.Window;
import io.github.pgquota.tool.PostgresServer;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.EnumSet;
import java.util.Set;
import java.util.function.DoubleSupplier;
import java.util.stream.LongStream;

/**
 * A database with plans, tenants and open windows, and a plain table beside them. Dropped on
 * {@link #close()} by whoever created it.
 */
final class Stage implements AutoCloseable {

    /** Number of the hot scope. */
    static final int ONE = -1;

    /** Number of a scope that is full. */
    static final int FULL = -2;

    /** The first of the others. */
    static final int ANY = 0;

    static final int TENANTS = 250;
    private static final int TEAMS = 20;
    private static final long MOST = 1_000_000_000_000_000L;
    private static final long SCARCE = 100;
    private static final int OWN_CONNECTIONS = 2;

    private final PostgresServer server;
    private final String database;
    private final int scopes;
    private final boolean created;
    private final HikariDataSource own;
    private final Set<Workload> ready = EnumSet.noneOf(Workload.class);
    private boolean settled;

    private Stage(PostgresServer server, String database, int scopes, boolean created) {
        this.server = server;
        this.database = database;
        this.scopes = scopes;
        this.created = created;
        this.own = server.pool(database, OWN_CONNECTIONS);
    }

    /** A stage with so many scopes, spread over the tenants. */
    static Stage create(PostgresServer server, String name, int scopes) throws SQLException {
        String database = "pgquota_bench_" + name + "_" + ProcessHandle.current().pid();
        server.createDatabase(database, null);
        Schema.of(server.dataSource(database)).migrate();
        Stage stage = new Stage(server, database, scopes, true);
        stage.fill();
        return stage;
    }

    /** The stage that another process has created. */
    static Stage join(PostgresServer server, String database, int scopes) {
        return new Stage(server, database, scopes, false);
    }

    /** A scope's name. */
    static String name(Workload workload, int scope) {
        if (scope < ANY) {
            return scope == ONE ? "hot/one" : "hot/full";
        }
        return workload == Workload.HIERARCHY
                ? "h" + scope % TENANTS + "/team" + scope / TENANTS % TEAMS + "/u" + scope
                : "t" + scope % TENANTS + "/s" + scope;
    }

    int scopes() {
        return scopes;
    }

    PostgresServer server() {
        return server;
    }

    String database() {
        return database;
    }

    String url() {
        return server.url(database);
    }

    /** A connection that is nobody's who is measured. */
    Connection connection() throws SQLException {
        return own.getConnection();
    }

    /** Executes statements. */
    void execute(String... statements) throws SQLException {
        try (Connection connection = connection();
                Statement statement = connection.createStatement()) {
            for (String sql : statements) {
                statement.execute(sql);
            }
        }
    }

    /** The same for many rows: {@link #settleDown} has to do before anybody is measured. */
    void load(String... statements) throws SQLException {
        execute(statements);
        settled = false;
    }

    /** The first column of a query's first row. */
    String ask(String query) throws SQLException {
        try (Connection connection = connection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(query)) {
            row.next();
            return row.getString(1);
        }
    }

    long number(String query) throws SQLException {
        return Long.parseLong(ask(query));
    }

    /** From now on a new connection's commit is acknowledged before it is on disk. */
    void stopFlushing() throws SQLException {
        execute("alter database \"" + database + "\" set synchronous_commit = off");
    }

    /** What a load leaves to be done later is done now, and not within somebody's slice. */
    void settleDown() throws SQLException {
        if (!settled) {
            execute("vacuum (freeze, analyze)", "checkpoint");
            settled = true;
        }
    }

    /** Bytes of WAL that the server has written by now. */
    double wal() {
        try {
            return number("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint");
        } catch (SQLException e) {
            throw new IllegalStateException(e);
        }
    }

    /** What the server's processes have used, if they run on this machine. */
    DoubleSupplier cpu() throws SQLException {
        ProcessHandle postmaster = ProcessHandle.of(number("select pg_backend_pid()"))
                .flatMap(ProcessHandle::parent)
                .filter(parent -> parent.info().command().orElse("postgres").contains("postgres"))
                .orElse(null);
        if (postmaster == null || !isHere()) {
            return Gauge.NONE;
        }
        return Gauge.cpu(() -> LongStream.concat(LongStream.of(postmaster.pid()),
                postmaster.children().mapToLong(ProcessHandle::pid)));
    }

    private boolean isHere() {
        return url().matches("jdbc:postgresql://(localhost|127\\.0\\.0\\.1|\\[::1])[:/].*");
    }

    /** A meter for each workload. No window but the month can end while a benchmark runs. */
    private void fill() throws SQLException {
        Window window = Window.fixed(Duration.ofHours(12));
        Limit limit = Limit.named("requests").level(1).capacity(MOST).per(window);
        Plan flat = Plan.named("FLAT")
                .limit(limit)
                .limit(Limit.named("keyed").level(1).capacity(MOST).per(Window.month()))
                .limit(Limit.named("reserved").level(1).capacity(MOST).per(window))
                .limit(Limit.named("scarce").level(1).capacity(SCARCE).per(window));
        Plan deep = Plan.named("DEEP");
        for (String meter : new String[] {"calls", "tokens"}) {
            for (int level = 0; level <= 2; level++) {
                deep = deep.limit(Limit.named(meter + level).on(meter).level(level)
                        .capacity(MOST).per(window));
            }
        }
        try (Quotas quotas = Quotas.on(own).build()) {
            quotas.plans().publish(flat);
            quotas.plans().publish(deep);
        }
        load(
                """
                insert into pgquota.tenant (tenant, plan)
                select 't' || t, 'FLAT' from generate_series(0, %1$d) t
                union all select 'h' || t, 'DEEP' from generate_series(0, %1$d) t
                union all select 'hot', 'FLAT'""".formatted(TENANTS - 1),
                // as much room on a page as the counters have, so that both are updated in place
                """
                do $$ begin
                  execute 'create table bare (id bigint primary key, capacity bigint not null,'
                       || ' used bigint not null default 0) with ('
                       || (select array_to_string(reloptions, ',') from pg_class
                            where oid = 'pgquota.counter'::regclass) || ')';
                end $$""",
                "insert into bare select i, %d from generate_series(%d, %d) i"
                        .formatted(MOST, ONE, scopes - 1),
                "insert into bare values (%d, %d, %2$d)".formatted(FULL, SCARCE));
        open("requests,keyed", 0, "values ('hot', 'hot/one', 1)");
        open("scarce", SCARCE, "values ('hot', 'hot/full', 1)");
    }

    /** Opens the windows that a workload needs, once. */
    void prepare(Workload workload) throws SQLException {
        if (!workload.isSpread() || !ready.add(workload)) {
            return;
        }
        if (workload == Workload.HIERARCHY) {
            open("calls,tokens", 0, """
                    select distinct l.tenant, l.scope, l.level
                      from generate_series(0, %d) i
                     cross join lateral (select 'h' || i %% %d, '/team' || i / %2$d %% %d) p (t, g)
                     cross join lateral (values (t, t, 0), (t, t || g, 1), (t, t || g || '/u' || i, 2))
                             l (tenant, scope, level)""".formatted(scopes - 1, TENANTS, TEAMS));
        } else {
            String meter = workload == Workload.KEYED ? "keyed"
                    : workload == Workload.RESERVE ? "reserved" : "requests";
            ready.addAll(meter.equals("requests") ? Set.of(Workload.SPREAD, Workload.ZIPF) : ready);
            open(meter, 0, """
                    select 't' || i %% %d, 't' || i %% %1$d || '/s' || i, 1
                      from generate_series(0, %d) i""".formatted(TENANTS, scopes - 1));
        }
    }

    /** As the engine would at their first calls, but for all at once and without its checks. */
    private void open(String meters, long used, String rows) throws SQLException {
        load("alter table pgquota.counter disable trigger user",
                """
                insert into pgquota.counter (tenant, scope, meter, per, start_at, end_at, last_at,
                                             billed, used)
                select s.tenant, s.scope, l.meter, l.per, w.start_at, w.end_at, now(), l.billed, %s
                  from (%s) s (tenant, scope, level)
                  join pgquota.plan_limit l using (level)
                 cross join lateral pgquota.window_at(l.per, now(), 'UTC', '2001-01-01') w
                 where l.meter = any (string_to_array('%s', ','))"""
                        .formatted(used, rows, meters),
                "alter table pgquota.counter enable trigger user");
    }

    @Override
    public void close() {
        own.close();
        if (created) {
            server.dropDatabase(database);
        }
    }
}
