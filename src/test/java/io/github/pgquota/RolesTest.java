package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Logins with one of the roles, and nothing else, try to do more than their role may. */
class RolesTest {

    private static final String APPLY = "select status from pgquota.apply('{consume}', '{acme}', "
            + "'{null}', "
            + "'{null}', '{null}', '{1}', '{x}', '{1}', null, null)";

    private static final String APPLY_ONE = "select status from pgquota.apply('consume', 'acme', "
            + "null, null, null, '{x}', '{1}')";

    private static Room room;
    private static final Map<String, String> LOGINS = new HashMap<>();

    @BeforeAll
    static void open() {
        room = new Room();
        room.tenant("acme", Limit.named("x").capacity(5).alertAt(10));
        room.quotas.consume(Request.of("acme").take("x", 2).key("k")).orThrow();
        for (String role : List.of("app", "admin", "report", "nobody")) {
            String login = "try_" + role + "_" + ProcessHandle.current().pid();
            room.run("create role " + login + " login password 'x'");
            if (!role.equals("nobody")) {
                room.run("grant pgquota_" + role + " to " + login);
            }
            LOGINS.put(role, login);
        }
    }

    @AfterAll
    static void close() {
        LOGINS.values().forEach(login -> room.run("drop role " + login));
        room.close();
    }

    private static Connection login(String role) throws SQLException {
        return DriverManager.getConnection(room.database.url(), LOGINS.get(role), "x");
    }

    /** The SQLSTATE that a statement ends with, or ok. */
    private static String run(String role, String sql) throws SQLException {
        try (Connection connection = login(role); Statement statement =
                connection.createStatement()) {
            connection.setAutoCommit(false);
            try {
                statement.execute(sql);
                return "ok";
            } catch (SQLException e) {
                return e.getSQLState();
            } finally {
                connection.rollback();
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "update pgquota.counter set used = 0",
        "update pgquota.plan_limit set capacity = 99",
        "insert into pgquota.ledger select * from pgquota.ledger",
        "delete from pgquota.ledger",
        "delete from pgquota.hold",
        "delete from pgquota.operation_key",
        "delete from pgquota.audit",
        "truncate pgquota.counter",
        "drop table pgquota.counter",
        "alter table pgquota.counter disable trigger all",
        "create table pgquota.mine (x int)",
        "create function pgquota.mine() returns int language sql as 'select 1'",
        "create or replace function pgquota.clock() returns timestamptz language sql as 'select "
        + "now()'",
        "select pgquota.add_ledger_partitions(now(), 1)",
        "select pgquota.reap('{acme}', '{1}', now())",
        "select pgquota.note('acme', 'x', null, null)",
        "set role pgquota_owner",
        "set session_replication_role = 'replica'"})
    void nobodyButTheOwnerMay(String sql) throws SQLException {
        for (String role : List.of("nobody", "app", "admin", "report")) {
            assertThat(run(role, sql)).as("%s: %s", role, sql).isEqualTo("42501");
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            select * from pgquota.balance                                       | app admin report
            select pgquota.schema_version()                                     | app admin report
            select * from pgquota.balances('acme')                              | app admin report
            select * from pgquota.plan_version, pgquota.plan_limit              | app admin
            select * from pgquota.tenant, pgquota.setting                       | app admin
            APPLY                                                               | app admin
            APPLY ONE                                                           | app admin
            select pgquota.upkeep('holds', 1)                                   | app admin
            select * from pgquota.usage                                         | admin report
            select * from pgquota.ledger_line                                   | admin report
            select * from pgquota.alert_line                                    | admin report
            select * from pgquota.audit                                         | admin report
            select * from pgquota.reconcile('acme')                             | admin report
            select * from pgquota.counter                                       | admin
            select * from pgquota.ledger                                        | admin
            select * from pgquota.operation_key                                 | admin
            select * from pgquota.hold                                          | admin
            select * from pgquota.hold_item                                     | admin
            select * from pgquota.adjustment                                    | admin
            select * from pgquota.alert                                         | admin
            select * from pgquota.mark                                          | admin
            select * from pgquota.reset('acme')                                 | admin
            select * from pgquota.repair('acme')                                | admin
            select pgquota.publish('NEW', '[{"name":"x"}]')                     | admin
            insert into pgquota.tenant (tenant, plan) values ('t', 'PLAN-acme') | admin
            update pgquota.tenant set plan = null                               | admin
            update pgquota.setting set default_zone = 'Europe/Berlin'           | admin
            INSERT ADJUSTMENT                                                   | admin
            delete from pgquota.adjustment                                      | admin
            update pgquota.tenant set adjusted = false                          |
            update pgquota.mark set at = now()                                  |
            delete from pgquota.tenant                                          |
            insert into pgquota.plan_version values ('PLAN-acme', 9, now())     |
            update pgquota.plan_limit set until_at = now()                      |
            delete from pgquota.plan_limit                                      |
            """)
    void aRoleMay(String statement, String roles) throws SQLException {
        String sql = statement.equals("APPLY") ? APPLY
                : statement.equals("APPLY ONE") ? APPLY_ONE
                : statement.equals("INSERT ADJUSTMENT")
                        ? "insert into pgquota.adjustment (tenant, scope, limit_name, kind, "
                        + "capacity, from_at) "
                                + "values ('acme', 'acme', 'x', 'boost', 1, now())"
                        : statement;
        List<String> may = new ArrayList<>();
        for (String role : List.of("nobody", "app", "admin", "report")) {
            String state = run(role, sql);
            assertThat(state).as(role).isIn("ok", "42501");
            if (state.equals("ok")) {
                may.add(role);
            }
        }
        assertThat(String.join(" ", may)).isEqualTo(roles == null ? "" : roles);
    }

    /**
     * Tables and functions of the caller's own, first on its path, are not what the engine reads.
     */
    @Test
    void theEngineCannotBeLedAstray() throws SQLException {
        room.run("create schema mine authorization " + LOGINS.get("app"));
        try (Connection connection = login("app"); Statement sql = connection.createStatement()) {
            sql.execute("create temp table counter (like pgquota.tenant)");
            sql.execute("create temp table setting (x int)");
            sql.execute("create temp table plan_limit (x int)");
            sql.execute("create function mine.split_part(text, text, int) returns text language "
                    + "sql "
                    + "as $$ select 'evil' $$");
            sql.execute("create function mine.cardinality(anyarray) returns int language sql "
                    + "as $$ select 99 $$");
            sql.execute("grant usage on schema mine to public");
            sql.execute("set search_path = mine, pg_temp, pgquota, pg_catalog");
            try (var statement = connection.prepareStatement(APPLY)) {
                assertThat(Room.rows(statement)).containsExactly("granted");
            }
            try (var statement = connection.prepareStatement(APPLY_ONE)) {
                assertThat(Room.rows(statement)).containsExactly("granted");
            }
            try (var statement = connection.prepareStatement(
                    "select scope, used from pgquota.balances('acme')")) {
                assertThat(Room.rows(statement)).containsExactly("acme 4");
            }
        } finally {
            room.run("drop schema mine cascade");
        }
    }

    @Test
    void nothingIsGrantedToPublicAndDefinersFixTheirPath() {
        assertThat(room.rows("select p.oid::regprocedure from pg_proc p where p.pronamespace = "
                + "'pgquota'::regnamespace and has_function_privilege('" + LOGINS.get("nobody")
                + "', p.oid, 'execute')")).isEmpty();
        assertThat(room.rows(
                "select c.relname from pg_class c where c.relnamespace = 'pgquota'::regnamespace "
                + "and c.relkind in ('r', 'v', 'p') and has_table_privilege('"
                + LOGINS.get("nobody")
                + "', c.oid, 'select, insert, update, delete, truncate, references, trigger')"))
                .isEmpty();
        assertThat(room.rows(
                "select p.proname from pg_proc p where p.pronamespace = 'pgquota'::regnamespace "
                + "and p.prosecdef and ('search_path=pg_catalog, pg_temp' = any (p.proconfig)) is "
                + "not true")).isEmpty();
    }

    @Test
    void theAdministratorsCallsNeedNoMoreThanTheirRole() throws SQLException {
        try (Quotas quotas = Quotas.on(new org.postgresql.ds.PGSimpleDataSource() {
            private static final long serialVersionUID = 1L;

            @Override
            public Connection getConnection() throws SQLException {
                return login("admin");
            }
        }).build()) {
            Plans plans = quotas.plans("ada", "test");
            plans.publish(Plan.named("ROLE").limit(Limit.named("x").capacity(3)));
            assertThat(plans.plan("ROLE")).isPresent();
            plans.assign("role", "ROLE", Plans.Usage.RESTART);
            plans.zone("role", java.time.ZoneId.of("UTC"));
            plans.anchor("role", null);
            plans.withdraw("role",
                    plans.boost(Scope.of("role"), "x", 1, java.time.Instant.now(), null, "why"));
            assertThat(plans.repair("role")).isEmpty();
            assertThat(plans.reset(Scope.of("role"), false)).isEmpty();
            assertThat(quotas.reports().reconcile("role")).isEmpty();
            assertThat(quotas.upkeep().runOnce(java.time.Duration.ofSeconds(20)).finished())
                    .isTrue();
            assertThat(room.rows(
                    "select distinct who, login from pgquota.audit where tenant = 'role'"))
                    .containsExactly("ada " + LOGINS.get("admin"));
        }
    }

    @Test
    void reportsNeedNoMoreThanTheirRole() throws SQLException {
        try (Quotas quotas = Quotas.on(new org.postgresql.ds.PGSimpleDataSource() {
            private static final long serialVersionUID = 1L;

            @Override
            public Connection getConnection() throws SQLException {
                return login("report");
            }
        }).build()) {
            Reports reports = quotas.reports();
            assertThat(reports.balances("acme")).hasSize(1);
            assertThat(reports.usage("acme", java.time.Instant.MIN)).hasSize(1);
            List<LedgerEntry> lines =
                    reports.ledger("acme", java.time.Instant.MIN, java.time.Instant.MAX, 10);
            assertThat(lines.get(0).amount()).isEqualTo(2);
            assertThat(reports.ledger(lines.get(0).operation())).containsExactly(lines.get(0));
            assertThat(reports.alerts("acme", java.time.Instant.MIN, java.time.Instant.MAX))
                    .singleElement().satisfies(alert -> assertThat(alert.percent()).isEqualTo(10));
            assertThat(reports.reconcile("acme")).isEmpty();
        }
    }

    private static org.postgresql.ds.PGSimpleDataSource source(String role) {
        var source = new org.postgresql.ds.PGSimpleDataSource();
        source.setURL(room.database.url());
        source.setUser(LOGINS.get(role));
        source.setPassword("x");
        return source;
    }

    @Test
    void whoLacksARoleIsToldWhichTheCallNeeds() throws SQLException {
        try (Quotas app = Quotas.on(source("app")).build();
                Quotas report = Quotas.on(source("report")).build();
                Quotas nobody = Quotas.on(source("nobody")).build();
                Connection connection = login("report")) {
            Request call = Request.of("acme").take("x", 1);
            Plan plan = Plan.named("MINE").limit(Limit.named("x").capacity(3));
            Scope acme = Scope.of("acme");
            assertNeeds("admin", "function publish", () -> app.plans().publish(plan));
            assertNeeds("admin", "function repair", () -> app.plans().repair("acme"));
            assertNeeds("admin", "table setting", () -> app.plans().defaultPlan("PLAN-acme"));
            assertNeeds("report", "view usage",
                    () -> app.reports().usage("acme", java.time.Instant.MIN));
            assertNeeds("app", "function apply", () -> report.consume(call));
            assertNeeds("app", "function apply", () -> report.within(connection).consume(call));
            assertNeeds("app", "function upkeep",
                    () -> report.upkeep().runOnce(java.time.Duration.ofSeconds(5)));
            assertNeeds("app", "schema pgquota", () -> nobody.balances(acme));
        }
    }

    private static void assertNeeds(String role, String on,
            org.junit.jupiter.api.function.Executable call) {
        assertThat(org.junit.jupiter.api.Assertions.assertThrows(
                QuotaException.Forbidden.class, call))
                .hasMessage("permission denied for " + on
                        + ": grant the database user the role pgquota_" + role);
    }

    @Test
    void aPublishedVersionIsNotChangedEvenByTheOwner() {
        for (String sql : List.of("update pgquota.plan_limit set capacity = 9",
                "delete from pgquota.plan_limit", "update pgquota.plan_version set from_at = now()",
                "delete from pgquota.plan_version")) {
            org.assertj.core.api.Assertions.assertThatThrownBy(() -> room.run(sql)).cause()
                    .isInstanceOfSatisfying(SQLException.class,
                            e -> assertThat(e.getSQLState()).isEqualTo("PQ003"));
        }
    }
}
