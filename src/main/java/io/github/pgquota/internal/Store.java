package io.github.pgquota.internal;

import java.sql.Array;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;

/** Sends changes to {@code pgquota.apply} and reads its answers: the only caller of the engine. */
final class Store {

    private static final String CALL = "select " + Row.COLUMNS + " from pgquota.apply(%s)";

    private static final String APPLY = CALL.formatted("?, ?, ?, ?, ?, ?, ?, ?");

    /**
     * The same for one change of one meter, the call that there are most of: the driver spends more
     * on eight arrays than on reading the answer.
     */
    private static final String APPLY_ONE = CALL.formatted("array[?], array[?], array[?],"
            + " array[?::uuid], array[?::bigint], '{1}', array[?], array[?::bigint]");

    private Store() {}

    /**
     * The answers to the changes, in their order; an answer is a row for each limit, at least one.
     */
    static List<List<Row>> apply(Connection connection, List<Change> changes) throws SQLException {
        boolean one = changes.size() == 1 && changes.get(0).amounts().size() == 1;
        try (PreparedStatement statement = connection.prepareStatement(one ? APPLY_ONE : APPLY)) {
            if (one) {
                bind(statement, changes.get(0));
            } else {
                bind(connection, statement, changes);
            }
            List<List<Row>> answers = new ArrayList<>(changes.size());
            for (int i = 0; i < changes.size(); i++) {
                answers.add(new ArrayList<>(1));
            }
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    Row row = Row.read(rows);
                    answers.get(row.change() - 1).add(row);
                }
            }
            return answers;
        }
    }

    private static void bind(PreparedStatement statement, Change change) throws SQLException {
        var amount = change.amounts().entrySet().iterator().next();
        statement.setString(1, change.verb());
        statement.setString(2, change.scope().path());
        statement.setString(3, change.key());
        statement.setObject(4, change.ref(), Types.OTHER);
        statement.setObject(5, change.ttlMillis(), Types.BIGINT);
        statement.setString(6, amount.getKey());
        statement.setLong(7, amount.getValue());
    }

    private static void bind(Connection connection, PreparedStatement statement,
            List<Change> changes)
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
        Array[] arrays = {
            connection.createArrayOf("text", verbs),
            connection.createArrayOf("text", scopes),
            connection.createArrayOf("text", keys),
            connection.createArrayOf("uuid", refs),
            connection.createArrayOf("int8", ttls),
            connection.createArrayOf("int4", owners),
            connection.createArrayOf("text", meters),
            connection.createArrayOf("int8", units),
        };
        for (int i = 0; i < arrays.length; i++) {
            statement.setArray(i + 1, arrays[i]);
        }
    }
}
