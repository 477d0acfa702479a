package io.github.pgquota.internal;

import java.sql.Array;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;

/** Sends changes to {@code pgquota.apply} and reads its answers: the only caller of the engine. */
final class Store {

    private static final String APPLY =
            "select " + Row.COLUMNS + " from pgquota.apply(?, ?, ?, ?, ?, ?, ?, ?)";

    private Store() {}

    /**
     * The answers to the changes, in their order; an answer is a row for each limit, at least one.
     */
    static List<List<Row>> apply(Connection connection, List<Change> changes) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(APPLY)) {
            bind(connection, statement, changes);
            List<List<Row>> answers = new ArrayList<>(changes.size());
            changes.forEach(c -> answers.add(new ArrayList<>(2)));
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    Row row = Row.read(rows);
                    answers.get(row.change() - 1).add(row);
                }
            }
            return answers;
        }
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
