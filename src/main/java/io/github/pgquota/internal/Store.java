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
            "select " + Row.COLUMNS + " from pgquota.apply(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

    /**
     * The same for one change, by its number of amounts, of which a request has at most 16. Arrays
     * of the driver would cost more than all else that a call does in this process.
     */
    private static final List<String> APPLY_ONE =
            IntStream.rangeClosed(0, 16).mapToObj(Store::applyOne).toList();

    /** What the plan no longer limits comes last. */
    private static final Comparator<Row> PLAN_ORDER =
            Comparator.comparing(Row::ord, Comparator.nullsLast(Comparator.naturalOrder()));

    private Store() {}

    private static String applyOne(int amounts) {
        String places = String.join(", ", Collections.nCopies(amounts, "?"));
        return "select " + Row.COLUMNS + " from pgquota.apply(?, ?, ?, ?, ?, array[" + places
                + "]::text[], array[" + places + "]::bigint[], ?, ?)";
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
     * @param patience milliseconds to wait for a locked counter; null for as long as is set
     */
    static List<List<Row>> apply(
            Connection connection, List<Change> changes, int @Nullable [] times,
            @Nullable Integer patience)
            throws SQLException {
        Change only = changes.size() == 1 ? changes.get(0) : null;
        try (PreparedStatement statement = connection.prepareStatement(
                only == null ? APPLY : APPLY_ONE.get(only.amounts().size()))) {
            if (only == null) {
                bind(connection, statement, changes, times);
            } else {
                bind(statement, only, times == null ? 1 : times[0]);
            }
            statement.setObject(only == null ? 10 : 7 + 2 * only.amounts().size(), patience,
                    Types.INTEGER);
            List<List<Row>> answers = new ArrayList<>(changes.size());
            for (int i = 0; i < changes.size(); i++) {
                answers.add(new ArrayList<>(1));
            }
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    Row row = Row.read(rows, changes);
                    answers.get(row.change() - 1).add(row);
                }
            }
            answers.forEach(rows -> rows.sort(PLAN_ORDER));
            return answers;
        }
    }

    private static void bind(PreparedStatement statement, Change change, int times)
            throws SQLException {
        statement.setString(1, change.verb());
        statement.setString(2, change.scope().path());
        statement.setString(3, change.key());
        statement.setObject(4, change.ref(), Types.OTHER);
        statement.setObject(5, change.ttlMillis(), Types.BIGINT);
        int meter = 6;
        int amount = meter + change.amounts().size();
        for (var entry : change.amounts().entrySet()) {
            statement.setString(meter++, entry.getKey());
            statement.setLong(amount++, entry.getValue());
        }
        statement.setInt(amount, times);
    }

    private static void bind(Connection connection, PreparedStatement statement,
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
        @Nullable Array[] arrays = {
            connection.createArrayOf("text", verbs),
            connection.createArrayOf("text", scopes),
            connection.createArrayOf("text", keys),
            connection.createArrayOf("uuid", refs),
            connection.createArrayOf("int8", ttls),
            connection.createArrayOf("int4", owners),
            connection.createArrayOf("text", meters),
            connection.createArrayOf("int8", units),
            times == null ? null : connection.createArrayOf("int4",
                    IntStream.of(times).boxed().toArray(Integer[]::new)),
        };
        for (int i = 0; i < arrays.length; i++) {
            statement.setArray(i + 1, arrays[i]);
        }
    }
}
