package io.github.pgquota.internal;

import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.List;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/** A row of {@code pgquota.answer}: an answer, or one limit's part of it. */
record Row(
        int change,
        String status,
        @Nullable String detail,
        @Nullable UUID operation,
        Instant at,
        boolean replayed,
        boolean late,
        @Nullable String holdState,
        @Nullable Instant expiresAt,
        @Nullable String limit,
        String meter,
        String scope,
        String mode,
        @Nullable Long capacity,
        @Nullable Long ceiling,
        long used,
        long held,
        @Nullable Instant start,
        @Nullable Instant end,
        boolean fits,
        long granted,
        long overage,
        List<Integer> crossed,
        @Nullable String message) {

    /** What {@link #read} reads, in its order. */
    static final String COLUMNS =
            "change, status, detail, operation, at, replayed, late, hold_state, "
            + "expires_at, limit_name, meter, scope, mode, capacity, ceiling, used, held, "
            + "start_at, "
            + "end_at, fits, granted, overage, crossed, message";

    static Row read(ResultSet r) throws SQLException {
        return new Row(
                r.getInt(1),
                r.getString(2),
                r.getString(3),
                r.getObject(4, UUID.class),
                java.util.Objects.requireNonNull(instant(r, 5)),
                r.getBoolean(6),
                r.getBoolean(7),
                r.getString(8),
                instant(r, 9),
                r.getString(10),
                r.getString(11),
                r.getString(12),
                r.getString(13),
                number(r, 14),
                number(r, 15),
                r.getLong(16),
                r.getLong(17),
                instant(r, 18),
                instant(r, 19),
                r.getBoolean(20),
                r.getLong(21),
                r.getLong(22),
                numbers(r, 23),
                r.getString(24));
    }

    private static @Nullable Long number(ResultSet r, int column) throws SQLException {
        long value = r.getLong(column);
        return r.wasNull() ? null : value;
    }

    /** Null where the database says null or infinity: a lifetime has no ends. */
    static @Nullable Instant instant(ResultSet r, int column) throws SQLException {
        OffsetDateTime time = r.getObject(column, OffsetDateTime.class);
        return time == null || time.equals(OffsetDateTime.MAX) || time.equals(OffsetDateTime.MIN)
                ? null
                : time.toInstant();
    }

    private static List<Integer> numbers(ResultSet r, int column) throws SQLException {
        java.sql.Array array = r.getArray(column);
        if (array == null) {
            return List.of();
        }
        Integer[] values = (Integer[]) array.getArray();
        return values.length == 0 ? List.of() : List.of(values);
    }
}
