package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * Every right that a role has, read from the catalog: what is new is no exception until somebody
 * writes it here, and into {@code SECURITY.md}.
 */
class RightsTest {

    private static Room room;

    @BeforeAll
    static void open() {
        room = new Room();
    }

    @AfterAll
    static void close() {
        room.close();
    }

    @Test
    void rolesHaveTheseRightsOnTablesAndNoOthers() {
        assertThat(room.rows("""
                select a.grantee::regrole, string_agg(distinct lower(a.privilege_type) || ' '
                       || c.relname || a.attname, ', ' order by lower(a.privilege_type) || ' '
                       || c.relname || a.attname)
                  from pg_class c
                 cross join lateral (
                       select x.grantee, x.privilege_type, '' as attname
                         from aclexplode(c.relacl) x
                       union all
                       select x.grantee, x.privilege_type, '.' || t.attname
                         from pg_attribute t cross join lateral aclexplode(t.attacl) x
                        where t.attrelid = c.oid) a
                 where c.relnamespace = 'pgquota'::regnamespace
                   and a.grantee <> 'pgquota_owner'::regrole
                 group by 1 order by 1::text
                """)).containsExactlyInAnyOrder(
                "pgquota_app select balance, select plan_limit, select plan_version, "
                + "select setting, select tenant",
                "pgquota_admin delete adjustment, insert adjustment, insert tenant, "
                + "select adjustment, select alert, select alert_line, select audit, "
                + "select balance, select counter, select hold, select hold_item, select ledger, "
                + "select ledger_line, select mark, select operation_key, select plan_limit, "
                + "select plan_version, select setting, select tenant, select usage, "
                + "update adjustment.reason, update adjustment.until_at, update setting, "
                + "update tenant.anchor, update tenant.plan, update tenant.zone",
                "pgquota_report select alert_line, select audit, select balance, "
                + "select ledger_line, select usage");
    }

    @Test
    void rolesMayCallTheseFunctionsAndNoOthers() {
        Map<String, List<String>> may = Map.of(
                "app", List.of("apply", "apply", "balances", "clock", "schema_version", "upkeep"),
                "admin", List.of("apply", "apply", "balances", "clock", "is_scope",
                "operation_at", "publish", "reconcile", "repair", "reset", "schema_version",
                "upkeep"),
                "report", List.of("balances", "clock", "operation_at", "reconcile",
                "schema_version"));
        may.forEach((role, functions) -> assertThat(room.rows("select p.proname from pg_proc p "
                + "where p.pronamespace = 'pgquota'::regnamespace and "
                + "has_function_privilege('pgquota_" + role + "', p.oid, 'execute') order by 1"))
                .as(role).isEqualTo(functions));
    }

    /** Nobody but who runs migrations and the three roles has a right on the schema at all. */
    @Test
    void nothingElseIsGranted() {
        assertThat(room.rows("select a.grantee::regrole, a.privilege_type, a.is_grantable "
                + "from pg_namespace n cross join lateral aclexplode(n.nspacl) a "
                + "where n.nspname = 'pgquota' and a.grantee <> 'pgquota_owner'::regrole "
                + "and a.grantee <> current_user::regrole"))
                .containsExactlyInAnyOrder("pgquota_app USAGE f", "pgquota_admin USAGE f",
                        "pgquota_report USAGE f");
        assertThat(room.rows("select p.oid::regprocedure from pg_proc p where p.pronamespace = "
                + "'pgquota'::regnamespace and (p.proacl is null or exists (select from "
                + "aclexplode(p.proacl) a where a.grantee = 0 or a.is_grantable "
                + "and a.grantee <> p.proowner))"))
                .as("functions of everybody, or to be handed on").isEmpty();
        assertThat(room.rows("select d.defaclobjtype, a.grantee from pg_default_acl d "
                + "cross join lateral aclexplode(d.defaclacl) a "
                + "where a.grantee <> 'pgquota_owner'::regrole"))
                .as("what new objects grant").isEmpty();
    }

    @Test
    void allOfItBelongsToTheOwner() {
        assertThat(room.rows("""
                select o from (
                  select c.relname, c.relowner from pg_class c
                   where c.relnamespace = 'pgquota'::regnamespace
                  union all select p.proname, p.proowner from pg_proc p
                   where p.pronamespace = 'pgquota'::regnamespace
                  union all select t.typname, t.typowner from pg_type t
                   where t.typnamespace = 'pgquota'::regnamespace
                  union all select n.nspname, n.nspowner from pg_namespace n
                   where n.nspname = 'pgquota') o (o, owner)
                 where o.owner <> 'pgquota_owner'::regrole
                   and o !~ '^_?schema_history' -- Flyway's, of whoever migrates
                """)).isEmpty();
    }

    @Test
    void theRolesAreNothingBesides() {
        assertThat(room.rows("select rolname from pg_roles where rolname like 'pgquota\\_%' "
                + "and rolname in ('pgquota_owner', 'pgquota_app', 'pgquota_admin', "
                + "'pgquota_report') and (rolcanlogin or rolsuper or rolcreaterole or "
                + "rolcreatedb or rolbypassrls or rolreplication or rolconfig is not null)"))
                .isEmpty();
        assertThat(room.rows("select m.member::regrole from pg_auth_members m where m.member in ("
                + "'pgquota_owner'::regrole, 'pgquota_app'::regrole, 'pgquota_admin'::regrole, "
                + "'pgquota_report'::regrole)")).as("members of others").isEmpty();
    }

    /**
     * What runs with the owner's rights, and what it may call, is written in a language that cannot
     * leave the database, and looks up nothing but its own schema and the system's.
     */
    @Test
    void functionsWithTheOwnersRightsAreClosed() {
        assertThat(room.rows("select p.proname from pg_proc p join pg_language l on l.oid = "
                + "p.prolang where p.pronamespace = 'pgquota'::regnamespace and l.lanname not in "
                + "('sql', 'plpgsql')")).isEmpty();
        assertThat(room.rows("select p.oid::regprocedure, p.proconfig from pg_proc p where "
                + "p.pronamespace = 'pgquota'::regnamespace and p.prosecdef and (p.proowner <> "
                + "'pgquota_owner'::regrole or not coalesce(p.proconfig @> "
                + "array['search_path=pg_catalog, pg_temp'], false))")).isEmpty();
        // polymorphic or pseudo types could bring the caller's own functions in
        assertThat(room.rows("select p.oid::regprocedure from pg_proc p cross join lateral "
                + "unnest(p.proargtypes) a (type) join pg_type t on t.oid = a.type "
                + "where p.pronamespace = 'pgquota'::regnamespace and t.typtype = 'p'")).isEmpty();
        // names, and templates for names, are put together in one place only
        assertThat(room.rows("select p.proname from pg_proc p where p.pronamespace = "
                + "'pgquota'::regnamespace and p.prosrc ~* '\\mexecute\\M' order by 1"))
                .containsExactly("add_ledger_partitions", "upkeep");
    }
}
