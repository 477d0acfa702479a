package io.github.pgquota;

import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;

/** A database of its own for tests of administration: plans are published as users do it. */
final class Room implements AutoCloseable {

    final TestDatabase database;
    final HikariDataSource pool;
    final Quotas quotas;
    final Plans plans;

    Room() {
        this(TestDatabase.create());
    }

    /** Closes the database when it is closed. */
    Room(TestDatabase database) {
        this.database = database;
        this.pool = database.pool(8);
        this.quotas = Quotas.on(pool).build();
        this.plans = quotas.plans();
    }

    /** Publishes a plan of these limits, named after the tenant, and gives it to the tenant. */
    Room tenant(String tenant, Limit... limits) {
        Plan plan = new Plan("PLAN-" + tenant, List.of(limits));
        plans.publish(plan);
        plans.assign(tenant, plan.name());
        return this;
    }

    /** The database's clock stands still from here on. */
    void clock(String at) {
        run("create table if not exists public.test_clock (at timestamptz)");
        run("grant select on public.test_clock to public");
        run("delete from public.test_clock");
        run("insert into public.test_clock values ('" + at + "')");
        run("create or replace function pgquota.clock() returns timestamptz language sql volatile "
                + "as 'select at from public.test_clock'");
    }

    Instant now() {
        return Instant.parse(rows("select to_char(pgquota.clock() at time zone 'UTC', "
                + "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')").get(0));
    }

    /** Runs statements as the superuser. */
    int run(String sql, Object... values) {
        try (Connection connection = database.connection();
                PreparedStatement statement = connection.prepareStatement(sql)) {
            bind(statement, values);
            statement.execute();
            return statement.getUpdateCount();
        } catch (SQLException e) {
            throw new IllegalStateException(sql, e);
        }
    }

    /** A query's rows, their columns separated by blanks. */
    List<String> rows(String sql, Object... values) {
        try (Connection connection = database.connection();
                PreparedStatement statement = connection.prepareStatement(sql)) {
            bind(statement, values);
            return rows(statement);
        } catch (SQLException e) {
            throw new IllegalStateException(sql, e);
        }
    }

    static List<String> rows(PreparedStatement statement) throws SQLException {
        List<String> rows = new ArrayList<>();
        try (ResultSet result = statement.executeQuery()) {
            while (result.next()) {
                List<String> row = new ArrayList<>();
                for (int i = 1; i <= result.getMetaData().getColumnCount(); i++) {
                    row.add(String.valueOf(result.getString(i)));
                }
                rows.add(String.join(" ", row));
            }
        }
        return rows;
    }

    private static void bind(PreparedStatement statement, Object... values) throws SQLException {
        for (int i = 0; i < values.length; i++) {
            statement.setObject(i + 1, values[i]);
        }
    }

    @Override
    public void close() {
        quotas.close();
        pool.close();
        database.close();
    }
}
