package io.github.pgquota.tool.bench;

import com.zaxxer.hikari.HikariDataSource;
import io.github.pgquota.Quotas;
import io.github.pgquota.Schema;
import io.github.pgquota.tool.PostgresServer;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import javax.sql.DataSource;

/**
 * A database with plan, tenants and open windows, a plain table beside them, and the one pool
 * through which everybody goes. Dropped on {@link #close()}.
 */
final class Stage implements AutoCloseable {

    /** The hot scope. */
    static final String HOT = "hot/one";

    /** A scope that is full. */
    static final String FULL = "hot/full";

    static final int TENANTS = 250;
    static final int POOL = 16;

    private final PostgresServer server;
    private final String database;
    private final String[] scopes;
    private final HikariDataSource pool;
    private final Quotas quotas;

    private Stage(PostgresServer server, String database, int scopes) {
        this.server = server;
        this.database = database;
        this.scopes = new String[scopes];
        for (int i = 0; i < scopes; i++) {
            this.scopes[i] = "t" + i % TENANTS + "/s" + i;
        }
        this.pool = server.pool(database, POOL);
        this.quotas = Quotas.on(pool).build();
    }

    /** A stage with so many scopes, spread over the tenants. */
    static Stage create(PostgresServer server, String name, int scopes) throws SQLException {
        String database = "pgquota_bench_" + name + "_" + ProcessHandle.current().pid();
        server.createDatabase(database, null);
        Schema.of(server.dataSource(database)).migrate();
        Stage stage = new Stage(server, database, scopes);
        stage.fill();
        return stage;
    }

    /** Scope number i, from 0. */
    String scope(int i) {
        return scopes[i];
    }

    int scopes() {
        return scopes.length;
    }

    DataSource pool() {
        return pool;
    }

    Quotas quotas() {
        return quotas;
    }

    PostgresServer server() {
        return server;
    }

    String url() {
        return server.url(database);
    }

    /** Executes statements. */
    void execute(String... statements) throws SQLException {
        try (Connection connection = pool.getConnection();
                Statement statement = connection.createStatement()) {
            for (String sql : statements) {
                statement.execute(sql);
            }
        }
    }

    /** The first column of a query's first row. */
    String ask(String query) throws SQLException {
        try (Connection connection = pool.getConnection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(query)) {
            row.next();
            return row.getString(1);
        }
    }

    long number(String query) throws SQLException {
        return Long.parseLong(ask(query));
    }

    /** From now on a commit is acknowledged before it is on disk: for what is not about speed. */
    void stopFlushing() throws SQLException {
        execute("alter database \"" + database + "\" set synchronous_commit = off");
        pool.getHikariPoolMXBean().softEvictConnections();
    }

    /** What a load leaves to be done later is done now, and not within somebody's slice. */
    void settleDown() throws SQLException {
        execute("vacuum (freeze, analyze)", "checkpoint");
    }

    /**
     * A meter for each path, each with one limit. No window but the month can end while a benchmark
     * runs. The full scope is full from the start.
     */
    private void fill() throws SQLException {
        String most = "1000000000000000";
        execute(
                """
                insert into pgquota.plan_version (plan, version, from_at)
                values ('BENCH', 1, pgquota.clock())""",
                """
                insert into pgquota.plan_limit
                       (plan, version, ord, from_at, name, meter, level, per, capacity, overage,
                        mode, billed, leads, alone)
                select 'BENCH', 1, ord, pgquota.clock(), meter, meter, 1, per, capacity, 0,
                       'enforce', billed, true, true
                  from (values (1, 'requests', 'fixed:43200', %1$s, false),
                               (2, 'keyed', 'month', %1$s, true),
                               (3, 'reserved', 'fixed:43200', %1$s, false),
                               (4, 'scarce', 'fixed:43200', 100, false))
                       l (ord, meter, per, capacity, billed)""".formatted(most),
                """
                insert into pgquota.tenant (tenant, plan)
                select 't' || t, 'BENCH' from generate_series(0, %d) t
                union all select 'hot', 'BENCH'""".formatted(TENANTS - 1),
                """
                create table scope as
                select 't' || i %% %d as tenant, 't' || i %% %1$d || '/s' || i as scope
                  from generate_series(0, %d) i""".formatted(TENANTS, scopes() - 1),
                """
                insert into pgquota.counter (tenant, scope, meter, per, start_at, end_at, last_at,
                                             billed, used)
                select s.tenant, s.scope, l.meter, l.per, w.start_at, w.end_at, now(), l.billed,
                       s.used
                  from pgquota.plan_limit l
                  join (select tenant, scope, null as meter, 0 as used from scope
                        union all values ('hot', '%s', 'requests', 0), ('hot', '%s', 'scarce', 100))
                       s (tenant, scope, meter, used)
                    on coalesce(s.meter = l.meter, l.meter <> 'scarce')
                 cross join lateral pgquota.window_at(l.per, now(), 'UTC', '2001-01-01') w
                """.formatted(HOT, FULL),
                // as much room on a page as the counters have, so that both are updated in place
                """
                do $$ begin
                  execute 'create table bare (id bigint primary key, capacity bigint not null,'
                       || ' used bigint not null default 0) with ('
                       || (select array_to_string(reloptions, ',') from pg_class
                            where oid = 'pgquota.counter'::regclass) || ')';
                end $$""",
                // ids from 0 are spread, -1 is hot
                "insert into bare select i, %s from generate_series(-1, %d) i"
                        .formatted(most, scopes() - 1));
        settleDown();
    }

    @Override
    public void close() {
        quotas.close();
        pool.close();
        server.dropDatabase(database);
    }
}
