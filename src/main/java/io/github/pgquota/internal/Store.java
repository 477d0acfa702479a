package io.github.pgquota.internal;

import io.github.pgquota.QuotaException;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** Sends changes to {@code pgquota.apply} and reads its answers: the only caller of the engine. */
final class Store {

    private static final String APPLY =
            "select " + Row.COLUMNS + " from pgquota.apply(?, ?, ?, ?, ?, ?, ?, ?, ?, ";

    /**
     * The same for one change, by its number of amounts, of which a request has at most 16. Arrays
     * of the driver would cost more than all else that a call does in this process.
     */
    private static final List<String> APPLY_ONE =
            IntStream.rangeClosed(0, 16).mapToObj(Store::applyOne).toList();

    /** In the caller's transaction: as long for a lock as that waits, if it says so. */
    private static final String AS_THE_CALLER = "nullif((extract(epoch from"
            + " current_setting('lock_timeout')::interval) * 1000)::int, 0))";

    /** What the plan no longer limits comes last. */
    private static final Comparator<Row> PLAN_ORDER =
            Comparator.comparing(Row::ord, Comparator.nullsLast(Comparator.naturalOrder()));

    private Store() {}

    private static String applyOne(int amounts) {
        String places = String.join(", ", Collections.nCopies(amounts, "?"));
        return "select " + Row.COLUMNS + " from pgquota.apply(?, ?, ?, ?::uuid, ?, array[" + places
                + "]::text[], array[" + places + "]::bigint[], ?, ";
    }

    /**
     * A text that nothing else has checked. The driver would write a question mark for half of a
     * surrogate pair: another text.
     */
    static String storable(String field, String text) {
        if (!StandardCharsets.UTF_8.newEncoder().canEncode(text)) {
            throw new QuotaException.Invalid(field, text, "contains half of a surrogate pair");
        }
        return text;
    }

    /**
     * The answers to the changes, in their order; an answer is a row for each limit, at least one,
     * in the order of the plan. A change that stands for several equal calls may have two answers:
     * one for those that are granted, and one for the rest.
     *
     * @param times how many calls each change stands for; null for one each
     * @param waits null in the caller's transaction: as that has them
     * @throws SQLException also when all went well, but for the wait for the standby
     */
    static List<List<Row>> apply(
            Connection connection, List<Change> changes, int @Nullable [] times,
            @Nullable Waits waits)
            throws SQLException {
        Change only = changes.size() == 1 ? changes.get(0) : null;
        String apply = only == null ? APPLY : APPLY_ONE.get(only.amounts().size());
        try (PreparedStatement statement = connection.prepareStatement(
                waits == null ? apply + AS_THE_CALLER : Waits.BOUND + apply + "?)")) {
            int place = 1;
            if (waits != null) {
                statement.setInt(place++, waits.statement());
            }
            place = only == null ? bind(connection, statement, place, changes, times)
                    : bind(statement, place, only, times == null ? 1 : times[0]);
            if (waits != null) {
                statement.setInt(place, waits.lock());
            }
            List<List<Row>> answers = new ArrayList<>(changes.size());
            for (int i = 0; i < changes.size(); i++) {
                answers.add(new ArrayList<>(1));
            }
            try (ResultSet rows = waits == null ? statement.executeQuery()
                    : Waits.rows(statement)) {
                while (rows.next()) {
                    Row row = Row.read(rows, changes);
                    answers.get(row.change() - 1).add(row);
                }
            }
            SqlStates.replicated(statement.getWarnings());
            answers.forEach(rows -> rows.sort(PLAN_ORDER));
            return answers;
        }
    }

    /** From a place on; returns the next one. */
    private static int bind(PreparedStatement statement, int from, Change change, int times)
            throws SQLException {
        statement.setString(from, change.verb());
        statement.setString(from + 1, change.scope().path());
        statement.setString(from + 2, change.key());
        // Not a null of no type: the driver would ask for it, and from then on send what stands
        // before the call, see Waits, by itself.
        statement.setString(from + 3, change.ref() == null ? null : change.ref().toString());
        statement.setObject(from + 4, change.ttlMillis(), Types.BIGINT);
        int meter = from + 5;
        int amount = meter + change.amounts().size();
        for (var entry : change.amounts().entrySet()) {
            statement.setString(meter++, entry.getKey());
            statement.setLong(amount++, entry.getValue());
        }
        statement.setInt(amount, times);
        return amount + 1;
    }

    private static int bind(Connection connection, PreparedStatement statement, int from,
            List<Change> changes, int @Nullable [] times)
            throws SQLException {
        int n = changes.size();
        int amounts = changes.stream().mapToInt(c -> c.amounts().size()).sum();
        String[] verbs = new String[n];
        String[] scopes = new String[n];
        String[] keys = new String[n];
        Object[] refs = new Object[n];
        Long[] ttls = new Long[n];
        Integer[] owners = new Integer[amounts];
        String[] meters = new String[amounts];
        Long[] units = new Long[amounts];
        int next = 0;
        for (int i = 0; i < n; i++) {
            Change change = changes.get(i);
            verbs[i] = change.verb();
            scopes[i] = change.scope().path();
            keys[i] = change.key();
            refs[i] = change.ref();
            ttls[i] = change.ttlMillis();
            for (var amount : change.amounts().entrySet()) {
                owners[next] = i + 1;
                meters[next] = amount.getKey();
                units[next++] = amount.getValue();
            }
        }
        Array[] arrays = { // of known types, all of them: see above
            connection.createArrayOf("text", verbs),
            connection.createArrayOf("text", scopes),
            connection.createArrayOf("text", keys),
            connection.createArrayOf("uuid", refs),
            connection.createArrayOf("int8", ttls),
            connection.createArrayOf("int4", owners),
            connection.createArrayOf("text", meters),
            connection.createArrayOf("int8", units),
            connection.createArrayOf("int4", IntStream.range(0, n)
                    .mapToObj(i -> times == null ? 1 : times[i]).toArray(Integer[]::new)),
        };
        for (int i = 0; i < arrays.length; i++) {
            statement.setArray(from + i, arrays[i]);
        }
        return from + arrays.length;
    }
}
