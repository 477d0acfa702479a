package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/**
 * A session of the application's role that is set up to mislead the engine: by objects of the same
 * names, and by each setting of the server that a user may change.
 */
class HostileSessionTest {

    private static final String CONSUME =
            "select distinct status from pgquota.apply('consume', 'acme/u', null, null, null, "
            + "'{x}', '{%d}')";
    private static final String CONSUME_LIST = "select distinct status from pgquota.apply("
            + "'{consume}', '{acme/u}', '{null}', '{null}', '{null}', '{1}', '{x}', '{%d}', null, "
            + "null)";

    private Room room;
    private Intruder app;

    @BeforeEach
    void open() {
        room = new Room();
        room.tenant("acme", Limit.named("x").capacity(100).alertAt(50),
                Limit.named("each").on("x").level(1).per(Window.hour()).capacity(100));
        app = new Intruder(room, "app");
    }

    @AfterEach
    void close() {
        app.close();
        room.close();
    }

    private void assertUsed(long used) {
        assertThat(room.rows("select used, held from pgquota.counter order by scope"))
                .containsExactly(used + " 0", used + " 0");
        assertThat(room.rows("select coalesce(sum(amount), 0), count(distinct entry) = count(*) "
                + "from pgquota.ledger")).containsExactly(used + " t");
        assertThat(room.quotas.reports().reconcile("acme")).isEmpty();
    }

    /** In a schema of its own and in pg_temp, first on its path, for good. */
    @Test
    void objectsOfTheSameNamesAreNotUsed() throws SQLException {
        room.run("create schema mine authorization " + app.login);
        List<String> shadows = new ArrayList<>(List.of(
                "create table mine.counter (like pgquota.tenant)",
                "create table mine.pg_class (x int)", "create table mine.pg_timezone_names (x int)",
                "create function mine.never(bigint, bigint) returns boolean language sql "
                + "immutable as 'select true'",
                "create function mine.never(timestamptz, timestamptz) returns boolean "
                + "language sql immutable as 'select true'",
                "create function mine.none(bigint, bigint) returns bigint language sql "
                + "immutable as 'select 0::bigint'",
                "create operator mine.<= (leftarg = bigint, rightarg = bigint, "
                + "function = mine.never)",
                "create operator mine.> (leftarg = timestamptz, rightarg = timestamptz, "
                + "function = mine.never)",
                "create operator mine.+ (leftarg = bigint, rightarg = bigint, "
                + "function = mine.none)",
                "create domain mine.bigint as int", "create type mine.text as (x int)",
                "create aggregate mine.sum(bigint) (sfunc = mine.none, stype = bigint)",
                "create function mine.clock_timestamp() returns timestamptz language sql "
                + "as 'select timestamptz ''2000-01-01'' '",
                "create function mine.unnest(anyarray) returns setof anyelement language sql "
                + "as 'select null::int where false'",
                "create temp table counter (x int)", "create temp table plan_limit (x int)",
                "create temp view setting as select 'x'::name as default_plan"));
        shadows.add("alter role " + app.login + " set search_path = mine, pg_temp, pgquota, "
                + "pg_catalog");
        assertThat(app.run(shadows.toArray(String[]::new))).isEqualTo("ok");
        try (Connection connection = app.connection(); Statement sql =
                connection.createStatement()) {
            sql.execute("create temp table counter (x int)");
            sql.execute("create function pg_temp.clock() returns timestamptz language sql "
                    + "as 'select timestamptz ''2000-01-01'' '");
            sql.execute("create function pg_temp.is_scope(text) returns boolean language sql "
                    + "as 'select true'");
            for (String call : List.of(CONSUME.formatted(60), CONSUME_LIST.formatted(40))) {
                try (PreparedStatement statement = connection.prepareStatement(call)) {
                    assertThat(Room.rows(statement)).containsExactly("granted");
                }
            }
            for (String call : List.of(CONSUME.formatted(1), CONSUME_LIST.formatted(1))) {
                try (PreparedStatement statement = connection.prepareStatement(call)) {
                    assertThat(Room.rows(statement)).containsExactly("denied");
                }
            }
            sql.execute("select pgquota.upkeep(t, 10) from pg_catalog.unnest("
                    + "'{holds,ended,keys,windows,entries,dropped,made}'::pg_catalog.text[]) t");
        }
        assertUsed(100);
        assertThat(room.rows("select percent, used from pgquota.alert")).containsExactly("50 60");
    }

    /** Every setting that a user may change, at its ends: what does not fit is never granted. */
    @Test
    void noSettingOfTheSessionRaisesALimit() throws SQLException {
        List<String> settings = room.rows("""
                select 'set "' || name || '" = ' || quote_literal(v.v)
                  from pg_settings
                 cross join lateral unnest(case vartype
                         when 'bool' then array[case setting when 'on' then 'off' else 'on' end]
                         when 'enum' then array_remove(enumvals, setting)
                         when 'string' then '{}'
                         else array[min_val, max_val] end) v (v)
                 where context = 'user' and name not in ('client_encoding', 'log_statement_stats')
                   and category <> 'Client Connection Defaults / Shared Library Preloading'
                """);
        assertThat(settings).hasSizeGreaterThan(150);
        settings.addAll(List.of("set timezone = 'Asia/Kolkata'",
                "set timezone_abbreviations = 'India'", "set default_tablespace = 'pg_global'",
                "set search_path = ''", "set pgquota.who = 'postgres'", "set role = 'none'",
                "set pgquota.clock = '2000-01-01'", "set session characteristics as transaction "
                + "isolation level serializable", "set default_text_search_config = 'simple'"));
        app.rows(CONSUME.formatted(99));
        int denied = 0;
        for (String setting : settings) {
            try {
                assertThat(app.rows(CONSUME.formatted(2) + " union all "
                        + CONSUME_LIST.formatted(2), setting)).as(setting)
                        .containsExactly("denied", "denied");
                denied++;
            } catch (SQLException e) {
                // it refuses to be set, or the call to run: a read-only transaction
                assertThat(e.getSQLState()).as(setting).matches("22...|25006|42...|5....");
            }
        }
        assertThat(denied).isGreaterThan(settings.size() * 3 / 4);
        assertUsed(99);
    }

    /**
     * Upkeep makes the ledger's partitions for whoever calls it: their bounds are instants, however
     * the caller's session writes and reads times. (In the caller's way 00:00 IST would be read as
     * midnight in Israel.)
     */
    @Test
    void noSettingOfTheSessionMovesAPartition() throws SQLException {
        String bounds = "select c.relname, pg_get_expr(c.relpartbound, c.oid) from pg_class c "
                + "where c.relnamespace = 'pgquota'::regnamespace and c.relispartition "
                + "and c.relkind = 'r' order by 1";
        List<String> right = room.rows(bounds);
        String last = room.rows("select max(relname) from pg_class where relname ~ "
                + "'^ledger_[0-9]{4}_[0-9]{2}$'").get(0);
        for (String style : List.of("SQL, DMY", "Postgres, DMY", "German")) {
            for (String zone : List.of("Asia/Kolkata", "Asia/Shanghai", "America/New_York")) {
                room.run("drop table pgquota." + last);
                // the driver of this test would not bear it in the session itself
                assertThat(app.rows("select pg_temp.made()", "create function pg_temp.made() "
                        + "returns int language sql set datestyle = '" + style + "' "
                        + "set timezone = '" + zone + "' as 'select pgquota.upkeep(''made'', 1)'"))
                        .containsExactly("1");
                assertThat(room.rows(bounds)).as(style + " " + zone).isEqualTo(right);
            }
        }
    }
}
