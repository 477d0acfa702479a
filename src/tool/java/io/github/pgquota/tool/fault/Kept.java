package io.github.pgquota.tool.fault;

import java.io.IOException;
import java.io.Reader;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import org.postgresql.PGConnection;

/**
 * What a database held when a run ended, in files beside the journals: a run can be checked again.
 */
final class Kept {

    private static final List<String> TABLES = List.of("pgquota.plan_version",
            "pgquota.plan_limit", "pgquota.tenant", "pgquota.adjustment", "pgquota.counter",
            "pgquota.ledger", "pgquota.hold", "pgquota.hold_item", "pgquota.operation_key",
            "pgquota.alert", "pgquota.audit", "kept.counter", "kept.hold");

    private Kept() {}

    /** Writes a file for each table. */
    static void write(Connection connection, Path folder) throws IOException, SQLException {
        for (String table : TABLES) {
            try (Writer file = Files.newBufferedWriter(folder.resolve(table))) {
                connection.unwrap(PGConnection.class).getCopyAPI().copyOut("copy (select "
                        + columns(connection, table) + " from " + table + ") to stdout", file);
            }
        }
    }

    /** Puts them into an empty database with the same schema. */
    static void read(Connection connection, Path folder) throws IOException, SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("set session_replication_role = replica"); // no triggers
            for (String table : TABLES) {
                try (Reader file = Files.newBufferedReader(folder.resolve(table))) {
                    connection.unwrap(PGConnection.class).getCopyAPI().copyIn("copy " + table
                            + " (" + columns(connection, table) + ") from stdin", file);
                }
            }
        }
    }

    /** Without what is computed from the others. */
    private static String columns(Connection connection, String table) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery("select string_agg(attname, ', ' order by"
                        + " attnum) from pg_attribute where attrelid = '" + table
                        + "'::regclass and attnum > 0 and not attisdropped"
                        + " and attgenerated = ''")) {
            row.next();
            return row.getString(1);
        }
    }
}
