package io.github.pgquota.internal;

import io.github.pgquota.Alert;
import io.github.pgquota.Balance;
import io.github.pgquota.LedgerEntry;
import io.github.pgquota.OperationId;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Reports;
import io.github.pgquota.Scope;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/** Reads the views, so that the role for reports is enough. */
final class PgReports implements Reports {

    private static final String LINES =
            "select tenant, operation, at, verb, scope, meter, start_at, entry, "
            + "amount, used_after, ref from pgquota.ledger_line where tenant = ? and ";

    private final Database database;

    PgReports(Database database) {
        this.database = database;
    }

    @Override
    public List<Balance> balances(String scope) {
        Scope valid = new Scope(scope);
        return database.report(connection -> Balances.read(connection, valid, null));
    }

    @Override
    public List<WindowUsage> usage(String tenant, Instant since) {
        String sql = "select scope, meter, per, start_at, end_at, used, held from pgquota.usage "
                + "where tenant = ? and (end_at > ? or end_at is null) "
                + "order by start_at desc nulls last, scope, meter, per";
        return list(sql, List.of(tenant, since), r -> new WindowUsage(new Scope(r.getString(1)),
                r.getString(2), r.getString(3), Row.instant(r, 4), Row.instant(r, 5), r.getLong(6),
                r.getLong(7)));
    }

    @Override
    public List<LedgerEntry> ledger(OperationId operation) {
        return list(LINES + "operation = ? and at = pgquota.operation_at(?) order by scope, "
                + "meter, per, entry",
                List.of(operation.tenant(), operation.uuid(), operation.uuid()), PgReports::entry);
    }

    @Override
    public List<LedgerEntry> ledger(String tenant, Instant from, Instant until, int most) {
        if (most < 0) {
            throw new QuotaException.Invalid("most", most, "is negative");
        }
        return list(LINES
                + "at >= ? and at < ? order by at, operation, scope, meter, per, entry limit ?",
                List.of(tenant, from, until, most), PgReports::entry);
    }

    @Override
    public List<Alert> alerts(String tenant, Instant from, Instant until) {
        String sql = "select scope, limit_name, start_at, percent, capacity, used, operation, at "
                + "from pgquota.alert_line where tenant = ? and at >= ? and at < ? "
                + "order by at, operation, scope, limit_name, percent";
        return list(sql, List.of(tenant, from, until), r -> new Alert(new Scope(r.getString(1)),
                r.getString(2), Row.instant(r, 3), r.getInt(4), r.getLong(5), r.getLong(6),
                new OperationId(tenant, r.getObject(7, UUID.class)), time(r, 8)));
    }

    @Override
    public List<Difference> reconcile(String tenant) {
        return database.report(connection -> differences(connection, "reconcile", tenant));
    }

    /** What {@code pgquota.reconcile} or {@code pgquota.repair} returns for a tenant. */
    static List<Difference> differences(Connection connection, String function, String tenant)
            throws SQLException {
        String sql = "select scope, meter, start_at, problem, expected, found from pgquota."
                + function + "(?)";
        return list(connection, sql, List.of(tenant), r -> new Difference(new Scope(r.getString(1)),
                r.getString(2), Row.instant(r, 3), r.getString(4), number(r, 5), number(r, 6)));
    }

    private static LedgerEntry entry(ResultSet r) throws SQLException {
        String tenant = r.getString(1);
        UUID ref = r.getObject(11, UUID.class);
        return new LedgerEntry(new OperationId(tenant, r.getObject(2, UUID.class)), time(r, 3),
                r.getString(4), new Scope(r.getString(5)), r.getString(6), Row.instant(r, 7),
                r.getLong(8),
                r.getLong(9), r.getLong(10), ref == null ? null : new OperationId(tenant, ref));
    }

    private static Instant time(ResultSet r, int column) throws SQLException {
        return Objects.requireNonNull(Row.instant(r, column));
    }

    private static OptionalLong number(ResultSet r, int column) throws SQLException {
        long value = r.getLong(column);
        return r.wasNull() ? OptionalLong.empty() : OptionalLong.of(value);
    }

    private <T> List<T> list(String sql, List<Object> values, Reader<T> reader) {
        return database.report(connection -> list(connection, sql, values, reader));
    }

    private static <T> List<T> list(
            Connection connection, String sql, List<Object> values, Reader<T> reader)
            throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < values.size(); i++) {
                statement.setObject(i + 1, bound(values.get(i)));
            }
            List<T> list = new ArrayList<>();
            try (ResultSet row = statement.executeQuery()) {
                while (row.next()) {
                    list.add(reader.read(row));
                }
            }
            return list;
        }
    }

    /** The ends of time are the database's infinities, so that "everything" can be asked for. */
    private static @Nullable Object bound(Object value) {
        if (!(value instanceof Instant instant)) {
            return value instanceof String tenant ? Store.storable("tenant", tenant) : value;
        }
        return instant.equals(Instant.MAX) ? OffsetDateTime.MAX
                : instant.equals(Instant.MIN) ? OffsetDateTime.MIN
                : instant.atOffset(ZoneOffset.UTC);
    }

    @FunctionalInterface
    private interface Reader<T> {
        T read(ResultSet row) throws SQLException;
    }
}
