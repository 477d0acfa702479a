package io.github.pgquota;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;

/** Somebody who has the password of a login with one of the roles, and no other right. */
final class Intruder implements AutoCloseable {

    final String login;
    private final Room room;

    Intruder(Room room, String role) {
        this.room = room;
        this.login = "intruder_" + role + "_" + ProcessHandle.current().pid();
        room.run("create role " + login + " login password 'x'");
        room.run("grant pgquota_" + role + " to " + login);
    }

    Connection connection() throws SQLException {
        return DriverManager.getConnection(room.database.url(), login, "x");
    }

    /** Runs statements, each in its own transaction; the SQLSTATE of one that fails, or ok. */
    String run(String... statements) throws SQLException {
        try (Connection connection = connection(); Statement sql = connection.createStatement()) {
            for (String statement : statements) {
                sql.execute(statement);
            }
            return "ok";
        } catch (SQLException e) {
            return e.getSQLState();
        }
    }

    /** The rows of a query behind other statements, in one session. */
    List<String> rows(String query, String... before) throws SQLException {
        try (Connection connection = connection(); Statement sql = connection.createStatement()) {
            for (String statement : before) {
                sql.execute(statement);
            }
            try (PreparedStatement statement = connection.prepareStatement(query)) {
                return Room.rows(statement);
            }
        }
    }

    /** All rows of all tables of the schema, and all that it is made of, each table as a sum. */
    static List<String> holds(Room room) {
        return room.rows("""
                select c.relname, md5(query_to_xml(
                    format('select t::text from pgquota.%I t order by 1', c.relname), true, true,
                    '')::text)
                  from pg_class c
                 where c.relnamespace = 'pgquota'::regnamespace and c.relkind in ('r', 'p')
                union all
                select 'objects', md5(string_agg(o.o, ';' order by o.o)) from (
                  select c.oid || c.relname || c.relowner || coalesce(c.relacl::text, '')
                         || c.relchecks || c.relhasrules || c.relhastriggers
                    from pg_class c where c.relnamespace = 'pgquota'::regnamespace
                  union all
                  select p.oid || p.proname || p.prosrc || p.proowner || p.prosecdef
                         || coalesce(p.proacl::text, '') || coalesce(p.proconfig::text, '')
                    from pg_proc p where p.pronamespace = 'pgquota'::regnamespace
                  union all
                  select t.oid || t.typname || t.typowner || coalesce(t.typacl::text, '')
                    from pg_type t where t.typnamespace = 'pgquota'::regnamespace
                  union all
                  select t.oid || t.tgname || t.tgenabled::text from pg_trigger t
                   where t.tgrelid::regclass::text like 'pgquota.%'
                  union all
                  select a.oid || a.attname || a.defaclrole from (
                    select d.oid, d.defaclacl::text as attname, d.defaclrole
                      from pg_default_acl d) a
                  union all
                  select n.nspname || n.nspowner || n.nspacl::text from pg_namespace n
                   where n.nspname = 'pgquota') o (o)
                order by 1
                """);
    }

    @Override
    public void close() {
        room.run("drop owned by " + login + " cascade");
        room.run("drop role " + login);
    }
}
