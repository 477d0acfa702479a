package io.github.pgquota.tool;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import javax.sql.DataSource;

/**
 * A schema as text, from the catalog: the place to read a table or a function whole, and a proof of
 * what the migrations add up to. The same on every PostgreSQL from 15 on, and in every run.
 *
 * <p>It reads as SQL but is no script: it is in the order of names, not of dependencies.
 */
public final class SchemaDump {

    /** A partition of a table has its first day at the end of its name: {@code ledger_2026_11}. */
    private static final String PARTITION_SUFFIX = "_p?[0-9]{4}(_?[0-9]{2}){0,2}";

    /**
     * For a view, 15 writes {@code select c.tenant from counter c} and 16 {@code select tenant};
     * for the body of a function all majors write the first. So every view is turned into a
     * temporary function, which the rollback removes.
     */
    private static final String VIEWS_AS_FUNCTIONS = """
            do $do$
            declare
              v record;
            begin
              for v in select c.oid, pg_get_viewdef(c.oid) as definition
                         from pg_class c
                        where c.relkind in ('v', 'm')
                          and c.relnamespace not in ('pg_catalog'::regnamespace,
                                                     'information_schema'::regnamespace)
              loop
                execute format('create function pg_temp.view_%s() returns setof record '
                               'language sql begin atomic %s end', v.oid, v.definition);
              end loop;
            end $do$
            """;

    private static final String QUERY = "schema-dump.sql";

    private SchemaDump() {}

    /** The dump of one schema. */
    public static String of(DataSource database, String schema) {
        try (Connection connection = database.getConnection();
                Statement session = connection.createStatement();
                PreparedStatement query = connection.prepareStatement(query())) {
            connection.setAutoCommit(false);
            // With nothing on the search path the catalog's functions qualify every name.
            session.execute("set local search_path to ''");
            session.execute(VIEWS_AS_FUNCTIONS);
            query.setString(1, schema);
            query.setString(2, PARTITION_SUFFIX + "$");
            String text = text(query);
            connection.rollback();
            return text;
        } catch (SQLException e) {
            throw new IllegalStateException("Cannot dump schema " + schema, e);
        }
    }

    private static String text(PreparedStatement query) throws SQLException {
        StringBuilder text = new StringBuilder(
                "-- The migrated schema, from the catalog. Written by mvn -q -Pgenerate.\n");
        try (ResultSet rows = query.executeQuery()) {
            while (rows.next()) {
                text.append('\n').append(rows.getString("definition").strip()).append('\n');
            }
        }
        return text.toString();
    }

    private static String query() {
        try (InputStream in = SchemaDump.class.getResourceAsStream(QUERY)) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException("Cannot read " + QUERY, e);
        }
    }
}
