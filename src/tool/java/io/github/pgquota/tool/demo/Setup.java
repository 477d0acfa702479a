package io.github.pgquota.tool.demo;

import io.github.pgquota.Limit;
import io.github.pgquota.Plan;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.stream.Collectors;
import javax.sql.DataSource;

/** Publishes the plans of a job and gives its tenants theirs. */
final class Setup {

    private Setup() {}

    /** Does so; {@code prefix} comes before the plans' names. */
    static void run(DataSource source, List<Tenant> tenants, String prefix) throws SQLException {
        Set<Plan> plans = tenants.stream().map(Tenant::plan).collect(Collectors.toSet());
        try (Connection connection = source.getConnection()) {
            connection.setAutoCommit(false);
            for (Plan plan : plans) {
                publish(connection, plan, prefix + plan.name());
            }
            try (PreparedStatement insert = connection.prepareStatement(
                    "insert into pgquota.tenant (tenant, plan) values (?, ?)")) {
                for (Tenant tenant : tenants) {
                    insert.setString(1, tenant.name());
                    insert.setString(2, prefix + tenant.plan().name());
                    insert.addBatch();
                }
                insert.executeBatch();
            }
            connection.commit();
        }
    }

    private static void publish(Connection connection, Plan plan, String name)
            throws SQLException {
        try (PreparedStatement version = connection.prepareStatement(
                "insert into pgquota.plan_version (plan, version, from_at)"
                        + " values (?, 1, pgquota.clock())")) {
            version.setString(1, name);
            version.executeUpdate();
        }
        try (PreparedStatement insert = connection.prepareStatement("insert into"
                + " pgquota.plan_limit (plan, version, ord, from_at, name, meter, level, per,"
                + " capacity, overage, mode, billed, thresholds, message)"
                + " values (?, 1, ?, pgquota.clock(), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")) {
            int ord = 1;
            for (Limit limit : plan.limits()) {
                insert.setString(1, name);
                insert.setInt(2, ord++);
                insert.setString(3, limit.name());
                insert.setString(4, limit.meter());
                insert.setInt(5, limit.level());
                insert.setString(6, limit.window().text());
                insert.setObject(7, limit.capacityOrNull());
                insert.setObject(8, limit.overageOrNull());
                insert.setString(9, limit.mode().name().toLowerCase(Locale.ROOT));
                insert.setBoolean(10, limit.billed());
                insert.setArray(11, connection.createArrayOf("int4", limit.thresholds().toArray()));
                insert.setString(12, limit.messageOrNull());
                insert.executeUpdate();
            }
        }
    }
}
