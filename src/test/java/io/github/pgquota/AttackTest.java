package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Somebody has an application's password, or a report's or an administrator's, and tries to get
 * more than their role may. Told by what the database holds afterwards.
 */
class AttackTest {

    private static final List<String> ROLES = List.of("app", "report", "admin");
    private static final String EVIL = "x'; drop table pgquota.counter; -- \" $$ \\ %s %I {used}";

    private static Room room;
    private static Intruder app;
    private static Intruder report;
    private static Intruder admin;
    private static OperationId operation;
    private static OperationId foreign;
    private static OperationId foreignHold;

    @BeforeAll
    static void open() {
        room = new Room();
        Limit x = Limit.named("x").capacity(10).alertAt(50);
        room.tenant("acme", x).tenant("rival", x);
        operation = room.quotas.consume(Request.of("acme").take("x", 6).key("k")).orThrow()
                .operation();
        foreign = room.quotas.consume(Request.of("rival").take("x", 3).key("their key")).orThrow()
                .operation();
        foreignHold = room.quotas.reserve(Request.of("rival").take("x", 2), Duration.ofHours(1))
                .orThrow().operation();
        room.plans.boost(Scope.of("rival"), "x", 1, java.time.Instant.now(), null, "their reason");
        app = new Intruder(room, "app");
        report = new Intruder(room, "report");
        admin = new Intruder(room, "admin");
    }

    @AfterAll
    static void close() {
        for (Intruder intruder : List.of(app, report, admin)) {
            intruder.close();
        }
        room.close();
    }

    private static Intruder of(String role) {
        return Map.of("app", app, "report", report, "admin", admin).get(role);
    }

    /** None of them gets through, and all is as it was. */
    private static void repelled(Intruder intruder, List<String> attacks) throws SQLException {
        repelled(intruder, attacks, "42501");
    }

    /** Any other error would say that the right was there: of a view, that it takes no rows. */
    private static void repelled(Intruder intruder, List<String> attacks, String states)
            throws SQLException {
        List<String> before = Intruder.holds(room);
        List<String> through = new ArrayList<>();
        for (String attack : attacks) {
            String state = intruder.run(attack);
            if (!state.matches(states)) {
                through.add(state + " " + attack);
            }
        }
        assertThat(through).as("as %s", intruder.login).isEmpty();
        assertThat(Intruder.holds(room)).isEqualTo(before);
    }

    /** Each table and view of the schema, each way to change it. */
    @Test
    void noTableIsWritten() throws SQLException {
        for (String table : room.rows("select c.relname from pg_class c where c.relnamespace = "
                + "'pgquota'::regnamespace and c.relkind in ('r', 'p', 'v')")) {
            List<String> attacks = new ArrayList<>();
            for (String ddl : List.of("alter table T add column mine int", "drop table T",
                    "alter table T disable trigger all", "truncate T", "comment on table T is 'x'",
                    "create trigger t before insert on T execute function "
                    + "suppress_redundant_updates_trigger()", "alter table T owner to current_user",
                    "create rule r as on insert to T do instead nothing",
                    "create index on T ((1))", "alter table T enable row level security",
                    "alter table T set (fillfactor = 10)")) {
                attacks.add(ddl.replace("T", "pgquota." + table));
            }
            boolean view = room.rows("select relkind from pg_class where oid = 'pgquota." + table
                    + "'::regclass").contains("v");
            if (!view) {
                for (String role : ROLES) {
                    repelled(of(role), attacks);
                }
            }
            for (String role : List.of("app", "report")) {
                String column = room.rows("select attname from pg_attribute where attrelid = "
                        + "'pgquota." + table + "'::regclass and attnum = 1").get(0);
                // an administrator may lock what it may update
                List<String> writes = List.of(
                        "do 'begin lock pgquota." + table + " in share row exclusive mode; end'",
                        "insert into pgquota." + table + " default values",
                        "update pgquota." + table + " set " + column + " = " + column,
                        "delete from pgquota." + table,
                        "copy pgquota." + table + " from program 'true'",
                        "merge into pgquota." + table + " t using (select 1) s on false "
                        + "when not matched then insert default values");
                repelled(of(role), writes, view ? "42501|55000|42809" : "42501");
            }
        }
    }

    /** Each function that the role was not given, called, replaced, altered, bound to a trigger. */
    @Test
    void noInnerFunctionIsReached() throws SQLException {
        for (String role : ROLES) {
            List<String> attacks = new ArrayList<>();
            for (String function : room.rows("select p.oid::regprocedure from pg_proc p "
                    + "where p.pronamespace = 'pgquota'::regnamespace")) {
                attacks.add("alter function " + function + " reset all");
                attacks.add("alter function " + function + " security invoker");
                attacks.add("drop function " + function + " cascade");
                attacks.add("grant execute on function " + function + " to public");
            }
            attacks.removeIf(a -> a.startsWith("grant")); // only warns where nothing is granted
            attacks.addAll(room.rows("select 'select pgquota.' || p.proname || '(' || array_to_string("
                    + "array(select 'null::' || format_type(t, null) from unnest(p.proargtypes) t), "
                    + "', ') || ')' from pg_proc p where p.pronamespace = 'pgquota'::regnamespace "
                    + "and p.prorettype <> 'trigger'::regtype and not has_function_privilege("
                    + "'pgquota_" + role + "', p.oid, 'execute')"));
            repelled(of(role), attacks);
            for (String trigger : room.rows("select p.oid::regprocedure from pg_proc p "
                    + "where p.pronamespace = 'pgquota'::regnamespace and p.prorettype = "
                    + "'trigger'::regtype")) {
                assertThat(of(role).run("create temp table tenant (tenant text)",
                        "create trigger t after insert on tenant for each row execute function "
                        + trigger)).as(trigger).isEqualTo("42501");
            }
        }
    }

    @Test
    void nothingIsMadeInTheSchemaAndNoRoleIsTaken() throws SQLException {
        for (String role : ROLES) {
            repelled(of(role), List.of(
                    "create view pgquota.mine as select 1", "create type pgquota.mine as (x int)",
                    "create domain pgquota.mine as int", "create sequence pgquota.mine",
                    "create procedure pgquota.mine() language sql as ''",
                    "create operator pgquota.= (leftarg = int, rightarg = int, function = int4eq)",
                    "create aggregate pgquota.mine(int) (sfunc = int4pl, stype = int)",
                    "create function pgquota.clock(int) returns timestamptz language sql "
                    + "as 'select now()'",
                    "alter default privileges for role pgquota_owner grant all on tables to public",
                    "alter default privileges for role pgquota_owner in schema pgquota grant "
                    + "execute on functions to public",
                    "alter schema pgquota owner to current_user", "drop schema pgquota cascade",
                    "grant pgquota_owner to current_user", "set role pgquota_owner",
                    "set session authorization pgquota_owner", "reassign owned by pgquota_owner "
                    + "to current_user", "drop owned by pgquota_owner",
                    "alter role pgquota_app superuser", "alter role pgquota_owner login",
                    "alter system set fsync = off", "set session_replication_role = replica",
                    "copy (select 1) to program 'true'", "copy (select 1) to '/tmp/pgquota-x'",
                    "select pg_read_file('PG_VERSION')", "select lo_import('/etc/hostname')"));
        }
        assertThat(app.run("set role pgquota_admin")).isEqualTo("42501");
        assertThat(report.run("set role pgquota_app")).isEqualTo("42501");
    }

    /** What the role cannot select it cannot copy, join or look at by a view of its own either. */
    @Test
    void whatMayNotBeReadIsNotRead() throws SQLException {
        for (String role : List.of("app", "report")) {
            List<String> attacks = new ArrayList<>();
            for (String table : room.rows("select c.relname from pg_class c where c.relnamespace = "
                    + "'pgquota'::regnamespace and c.relkind in ('r', 'p', 'v') and not "
                    + "has_table_privilege('pgquota_" + role + "', c.oid, 'select')")) {
                attacks.add("copy pgquota." + table + " to stdout");
                attacks.add("select count(*) from pgquota." + table);
                attacks.add("create temp table t as table pgquota." + table);
                attacks.add("create temp view v as table pgquota." + table + "; table v");
                attacks.add("select 1 from pgquota.plan_version where exists (select from pgquota."
                        + table + ")");
                attacks.add("do 'begin lock pgquota." + table + " in access share mode; end'");
            }
            assertThat(attacks).hasSizeGreaterThan(30);
            repelled(of(role), attacks);
        }
    }

    private interface Query {
        List<String> rows(String sql) throws SQLException;
    }

    /** All rows of all tables and views that somebody may read, and what the functions tell. */
    private static Map<String, String> seen(Query query) throws SQLException {
        Map<String, String> seen = new TreeMap<>();
        for (String table : room.rows("select c.relname from pg_class c where c.relnamespace = "
                + "'pgquota'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')")) {
            try {
                seen.put(table, String.join("\n", query.rows("select t from pgquota." + table
                        + " t where strpos(t::text, 'rival') > 0 or strpos(t::text, '"
                        + foreignHold.uuid() + "') > 0")));
            } catch (SQLException e) {
                assertThat(e.getSQLState()).as(table).isEqualTo("42501");
            }
        }
        seen.put("balances()", query.rows("select * from pgquota.balances('rival')").toString());
        seen.put("check", query.rows("select a from pgquota.apply('check', 'rival', null, null, "
                + "null, '{x}', '{99}') a").toString());
        return seen;
    }

    /** Roles separate duties, not tenants: so this is what an application sees of all of them. */
    @Test
    void ofAnotherTenantAnApplicationSeesPlanAndBalancesAndNoMore() throws SQLException {
        Map<String, String> seen = seen(sql -> app.rows(sql));
        assertThat(seen.keySet()).containsExactly("balance", "balances()", "check", "plan_limit",
                "plan_version", "setting", "tenant");
        assertThat(room.rows("select attrelid::regclass, string_agg(attname, ' ' order by attnum) "
                + "from pg_attribute where attnum > 0 and attrelid in "
                + "('pgquota.balance'::regclass, 'pgquota.tenant'::regclass) group by 1"))
                .containsExactlyInAnyOrder(
                "pgquota.balance tenant scope limit_name meter mode per capacity used held "
                + "remaining over start_at resets_at plan",
                "pgquota.tenant tenant plan zone anchor adjusted");
        assertThat(app.rows("select scope, limit_name, capacity, used, held, plan from "
                + "pgquota.balance where tenant = 'rival'"))
                .containsExactly("rival x 11 3 2 PLAN-rival");
        List<String> secrets = List.of(foreign.uuid().toString(), foreignHold.uuid().toString(),
                "their key", "their reason");
        assertThat(seen(sql -> room.rows(sql)).toString()).as("a superuser").contains(secrets);
        assertThat(seen.toString()).doesNotContain(secrets);
        // who knows a key, and what was asked with it, is answered as its owner is
        String asked = "select status, operation from pgquota.apply('consume', 'rival', "
                + "'their key', null, null, '{x}', ";
        assertThat(app.rows(asked + "'{4}')")).containsExactly("key_conflict null");
        assertThat(app.rows(asked + "'{3}')")).containsExactly("granted " + foreign.uuid());
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            'refund', 'acme', null, OPERATION, null, '{x}', '{7}'           | refund_too_large
            'refund', 'acme', null, OPERATION, null, '{x}', '{-1}'          | PQ001
            'refund', 'acme', null, OPERATION, null, '{x}', '{9223372036854}' | refund_too_large
            'refund', 'acme', null, FOREIGN, null, '{x}', '{1}'             | unknown_operation
            'refund', 'acme/', null, OPERATION, null, '{x}', '{1}'          | PQ001
            'refund', 'acme', null, FOREIGNHOLD, null, '{x}', '{1}'         | unknown_operation
            'refund', 'rival', null, FOREIGNHOLD, null, '{x}', '{1}'        | unknown_operation
            'settle', 'acme', null, FOREIGNHOLD, null, '{x}', '{0}'         | unknown_hold
            'release', 'acme', null, FOREIGNHOLD, null, '{}', '{}'          | unknown_hold
            'extend', 'acme', null, FOREIGNHOLD, 9999, '{}', '{}'           | unknown_hold
            'settle', 'acme', null, OPERATION, null, '{x}', '{0}'           | unknown_hold
            'release', 'rival', null, FOREIGN, null, '{}', '{}'             | unknown_hold
            'settle', 'rival', null, FOREIGNHOLD, null, '{x}', '{-5}'       | PQ001
            'settle', 'rival', null, FOREIGNHOLD, null, '{y}', '{5}'        | meter_not_held
            'consume', 'acme', null, null, null, '{x}', '{-5}'              | PQ001
            'consume', 'acme', null, null, null, '{x}', '{9223372036854775807}' | PQ001
            'consume', 'acme', null, null, null, '{x}', '{5}'               | denied
            'consume', 'acme', null, null, null, '{x}', '{5}', 300000000    | denied
            'consume', 'acme', null, null, null, '{x}', '{5}', 2147483647   | denied
            'reserve', 'acme', null, null, 9223372036854775807, '{x}', '{5}' | 22008
            'reserve', 'acme', null, null, -1, '{x}', '{1}'                 | PQ001
            'consume', 'acme', 'k', null, null, '{x}', '{1}'                | key_conflict
            'record', 'acme', 'k', null, null, '{x}', '{6}'                 | key_conflict
            'reset', 'acme', null, null, null, '{x}', '{6}'                 | PQ001
            'repair', 'acme', null, null, null, '{x}', '{6}'                | PQ001
            'consume', 'acme', null, null, null, '{x}', '{1}', 1, -1        | 22023
            """)
    void noVerbGivesMoreThanItsOwn(String arguments, String outcome) throws SQLException {
        String call = "select distinct status from pgquota.apply(" + arguments
                .replace("FOREIGNHOLD", "'" + foreignHold.uuid() + "'")
                .replace("FOREIGN", "'" + foreign.uuid() + "'")
                .replace("OPERATION", "'" + operation.uuid() + "'") + ")";
        List<String> before = Intruder.holds(room);
        try {
            assertThat(app.rows(call)).containsExactly(outcome);
        } catch (SQLException e) {
            assertThat(e.getSQLState()).as(e.getMessage()).isEqualTo(outcome);
        }
        assertThat(Intruder.holds(room)).isEqualTo(before);
    }

    /** A hold is no way to block a tenant for longer than the setting says, extended or not. */
    @Test
    void aHoldLivesNoLongerThanTheLongest() throws SQLException {
        room.tenant("held", Limit.named("x").capacity(10));
        String id = app.rows("select operation from pgquota.apply('reserve', 'held', null, null, "
                + "3000000000000, '{x}', '{9}')").get(0);
        app.rows("select status from pgquota.apply('extend', 'held', null, '" + id + "', "
                + "3000000000000, '{x}', '{1}')");
        assertThat(room.rows("select expires_at <= pgquota.clock() + interval '1 day', held from "
                + "pgquota.hold h join pgquota.counter c using (tenant) where h.tenant = 'held'"))
                .containsExactly("t 10");
    }

    /** Strings that would like to be SQL, in each place of each function that the role may call. */
    @Test
    void noStringBecomesSql() throws SQLException {
        List<String> schema = room.rows("select c.oid, c.relname from pg_class c where "
                + "c.relnamespace = 'pgquota'::regnamespace order by 1");
        List<String> used = room.rows("select tenant, scope, used from pgquota.counter order by 2");
        for (String role : ROLES) {
            for (String call : room.rows("""
                    select format('select * from pgquota.%I(%s)', p.proname, (
                             select string_agg(case t.typname
                                      when 'text' then quote_literal(X)
                                      when '_text' then format('array[%L]', X)
                                      when 'jsonb' then quote_literal(jsonb_build_array(
                                             jsonb_build_object('name', X, 'meter', X,
                                                                'message', X)))
                                      else 'null::' || format_type(t.oid, null) end, ', '
                                    order by a.place)
                               from unnest(p.proargtypes) with ordinality a (type, place)
                               join pg_type t on t.oid = a.type))
                      from pg_proc p
                     where p.pronamespace = 'pgquota'::regnamespace
                       and has_function_privilege('pgquota_ROLE', p.oid, 'execute')
                    """.replace("ROLE", role).replace("X", "'" + EVIL.replace("'", "''") + "'"))) {
                assertThat(of(role).run(call)).as(call)
                        .matches("ok|PQ00[12]|22...|23...");
            }
        }
        assertThat(room.rows("select c.oid, c.relname from pg_class c where "
                + "c.relnamespace = 'pgquota'::regnamespace order by 1")).isEqualTo(schema);
        assertThat(room.rows("select tenant, scope, used from pgquota.counter order by 2"))
                .isEqualTo(used);
        assertThat(room.rows("select name, meter, message from pgquota.plan_limit where plan = ?",
                EVIL)).containsExactly(EVIL + " " + EVIL + " " + EVIL);
    }

    /** The same strings through every door of the library: kept as they are. */
    @Test
    void theLibraryKeepsStringsAsTheyAre() {
        String name = EVIL.replace("{used}", "") + "!";
        Limit limit = Limit.named(name).on(name).capacity(5).alertAt(20).message(name);
        Plans plans = room.quotas.plans(EVIL, EVIL);
        plans.publish(Plan.named(name).limit(limit));
        String tenant = name.replace("/", "-");
        plans.assign(tenant, name);
        plans.boost(Scope.of(tenant), name, 1, java.time.Instant.now(), null, EVIL);
        Request call = Request.of(tenant + "/" + tenant).take(name, 2).key(EVIL);
        OperationId id = room.quotas.consume(call).orThrow().operation();
        assertThat(OperationId.parse(id.toString())).isEqualTo(id);
        assertThat(room.quotas.consume(call).orThrow().replayed()).isTrue();
        assertThat(room.quotas.consumeAll(List.of(call, call)))
                .allMatch(d -> d.orThrow().replayed());
        assertThat(plans.plan(name)).contains(Plan.named(name).limit(limit));
        assertThat(room.quotas.reports().ledger(id)).singleElement()
                .satisfies(entry -> assertThat(entry.meter()).isEqualTo(name));
        assertThat(room.quotas.reports().reconcile(tenant)).isEmpty();
        plans.reset(Scope.of(tenant), false);
        assertThat(room.rows("select distinct who, why from pgquota.audit where tenant = ?",
                tenant))
                .containsExactly(EVIL + " " + EVIL);
        assertThat(room.rows("select key, scope, meters = array[?::text] from "
                + "pgquota.operation_key where tenant = ?", name, tenant))
                .containsExactly(EVIL + " " + tenant + "/" + tenant + " t");
    }

    @ParameterizedTest
    @ValueSource(strings = {"a\ud800", "\udfffa", "a\0"})
    void whatTheDatabaseCannotKeepIsRefusedAndNotChanged(String text) {
        List<String> before = Intruder.holds(room);
        List<org.assertj.core.api.ThrowableAssert.ThrowingCallable> calls = List.of(
                () -> room.quotas.plans(text, null).zone("acme", null),
                () -> room.quotas.plans(null, text).zone("acme", null),
                () -> room.plans.boost(Scope.of("acme"), "x", 1, java.time.Instant.now(), null,
                text),
                () -> room.plans.boost(Scope.of("acme"), text, 1, java.time.Instant.now(), null,
                "why"),
                () -> room.plans.assign("acme", text),
                () -> room.plans.defaultPlan(text),
                () -> room.plans.repair(text));
        for (var call : calls) {
            org.assertj.core.api.Assertions.assertThatThrownBy(call)
                    .isInstanceOfAny(QuotaException.Invalid.class, QuotaException.NotFound.class);
        }
        assertThat(Intruder.holds(room)).isEqualTo(before);
    }

    /** The audit tells who it was, whatever they say. */
    @Test
    void anAdministratorLeavesALogin() throws SQLException {
        assertThat(admin.run("set pgquota.who = 'somebody else'",
                "update pgquota.setting set ledger_retention = '32 days'")).isEqualTo("ok");
        assertThat(room.rows("select who, login, after->>'ledger_retention' from pgquota.audit "
                + "where what = 'setting' order by at desc limit 1"))
                .containsExactly("somebody else " + admin.login + " 32 days");
        assertThat(admin.run("update pgquota.setting set ledger_retention = '31 days'"))
                .isEqualTo("23514");
        room.run("update pgquota.setting set ledger_retention = '400 days'");
        try (Connection connection = admin.connection()) {
            for (String sql : List.of("delete from pgquota.audit",
                    "update pgquota.audit set login = 'x'")) {
                try (PreparedStatement statement = connection.prepareStatement(sql)) {
                    statement.execute();
                    throw new AssertionError(sql);
                } catch (SQLException e) {
                    assertThat(e.getSQLState()).isEqualTo("42501");
                }
            }
        }
    }
}
