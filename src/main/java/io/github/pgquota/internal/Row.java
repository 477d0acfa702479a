package io.github.pgquota.internal;

import io.github.pgquota.Limit;
import io.github.pgquota.OperationId;
import java.nio.ByteBuffer;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.List;
import java.util.Objects;
import java.util.UUID;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** A row of {@code pgquota.answer}: an answer, or one limit's part of it. */
record Row(
        int change,
        String status,
        @Nullable String detail,
        @Nullable OperationId operation,
        Instant at,
        boolean replayed,
        boolean late,
        @Nullable String holdState,
        @Nullable Instant expiresAt,
        @Nullable Long ord,
        @Nullable String limit,
        String meter,
        String scope,
        Limit.@Nullable Mode mode,
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
        @Nullable String message,
        int times,
        List<Integer> nth) {

    private static final long NODE = (1L << 48) - 1;

    /** The epoch of the database's times in their binary form, in seconds of Java's. */
    private static final long EPOCH = Instant.parse("2000-01-01T00:00:00Z").getEpochSecond();

    /**
     * What {@link #read} reads, in its order. Times come as the eight bytes that they are: of a
     * decision's work in this process, the driver's calendar would be a fifth.
     */
    static final String COLUMNS =
            "change, status, detail, operation, timestamptz_send(at), replayed, late, hold_state, "
            + "timestamptz_send(expires_at), ord, limit_name, meter, scope, mode, capacity, "
            + "ceiling, used, held, timestamptz_send(start_at), timestamptz_send(end_at), fits, "
            + "granted, overage, nullif(crossed, '{}'), message, times, nth";

    /** @param changes what was asked */
    static Row read(ResultSet r, List<Change> changes) throws SQLException {
        int change = r.getInt(1);
        String tenant = changes.get(change - 1).scope().tenant();
        return new Row(
                change,
                r.getString(2),
                r.getString(3),
                operation(tenant, r.getObject(4, UUID.class)),
                Objects.requireNonNull(time(r, 5)),
                r.getBoolean(6),
                r.getBoolean(7),
                r.getString(8),
                time(r, 9),
                number(r, 10),
                r.getString(11),
                r.getString(12),
                r.getString(13),
                mode(r.getString(14)),
                number(r, 15),
                number(r, 16),
                r.getLong(17),
                r.getLong(18),
                time(r, 19),
                time(r, 20),
                r.getBoolean(21),
                r.getLong(22),
                r.getLong(23),
                numbers(r, 24),
                r.getString(25),
                r.getInt(26),
                numbers(r, 27));
    }

    boolean isGranted() {
        return status.equals("granted");
    }

    /** Whether its figures are those after the last of several calls. */
    private boolean isOfMany() {
        return times > 1 && isGranted();
    }

    // What follows is of one of the calls that this row is of, from 0.

    long used(int call) {
        return isOfMany() ? used - (times - 1L - call) * granted : used;
    }

    boolean fits(int call) {
        return isOfMany() ? granted <= 0 || ceiling == null || used(call) - ceiling + held <= 0
                : fits;
    }

    long overage(int call) {
        return !isOfMany() ? overage
                : capacity == null ? 0
                : Math.min(granted, Math.max(0, used(call) - capacity + held));
    }

    List<Integer> crossed(int call) {
        return !isOfMany() || crossed.isEmpty() ? crossed
                : IntStream.range(0, crossed.size()).filter(i -> nth.get(i) == call + 1)
                        .mapToObj(crossed::get).toList();
    }

    /** The ids of equal calls are counted up in their last 48 bits. */
    @Nullable OperationId operation(int call) {
        if (operation == null || !isOfMany()) {
            return operation;
        }
        UUID first = operation.uuid();
        long low = first.getLeastSignificantBits();
        return new OperationId(operation.tenant(),
                new UUID(first.getMostSignificantBits(), low & ~NODE | low + call & NODE));
    }

    private static @Nullable OperationId operation(String tenant, @Nullable UUID uuid) {
        return uuid == null ? null : new OperationId(tenant, uuid);
    }

    /** Null of an answer without a limit. */
    private static Limit.@Nullable Mode mode(@Nullable String name) {
        return name == null ? null : Answers.mode(name);
    }

    private static @Nullable Long number(ResultSet r, int column) throws SQLException {
        long value = r.getLong(column);
        return r.wasNull() ? null : value;
    }

    /** Null where the database says null or infinity: a lifetime has no ends. */
    private static @Nullable Instant time(ResultSet r, int column) throws SQLException {
        byte[] bytes = r.getBytes(column);
        long micros = bytes == null ? Long.MAX_VALUE : ByteBuffer.wrap(bytes).getLong();
        if (micros == Long.MAX_VALUE || micros == Long.MIN_VALUE) {
            return null;
        }
        return Instant.ofEpochSecond(
                EPOCH + Math.floorDiv(micros, 1_000_000L),
                Math.floorMod(micros, 1_000_000L) * 1_000L);
    }

    /** The same of a column that is a time. */
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
        return List.of((Integer[]) array.getArray());
    }
}
