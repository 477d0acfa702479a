package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.pgquota.tool.SchemaDump;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import org.junit.jupiter.api.Test;

/** What the dump tells and what it leaves out, the same on every major. */
class SchemaDumpTest {

    private static final String DDL = """
            create schema sample;
            create type sample.mode as enum ('on', 'off');
            create table sample.counter (
              tenant text collate "C" not null, used bigint default 0 check (used >= 0),
              mode sample.mode, primary key (tenant)) with (fillfactor=70);
            create table sample.ledger (at date not null) partition by range (at);
            create table sample.ledger_2026_11 partition of sample.ledger
              for values from ('2026-11-01') to ('2026-12-01');
            create index busy on sample.counter (used) where used > 0;
            create view sample.usage as select c.tenant, c.used from sample.counter c;
            create function sample.touch() returns trigger language plpgsql
              as $$ begin return new; end $$;
            create trigger touch before update on sample.counter
              for each row execute function sample.touch();
            revoke all on function sample.touch() from public;
            grant select (tenant) on sample.counter to public;
            comment on column sample.counter.used is 'It''s in whole units';
            """;

    private static final String DUMP = """
            -- The migrated schema, from the catalog. Written by mvn -q -Pgenerate.

            create schema sample; -- owner OWNER

            create type sample.mode as enum ('on', 'off');

            create table sample.counter (
              tenant text collate "C" not null,
              used bigint default 0,
              mode sample.mode,
              constraint counter_pkey PRIMARY KEY (tenant),
              constraint counter_used_check CHECK ((used >= 0))
            ) with (fillfactor=70); -- owner OWNER
            comment on column sample.counter.used is 'It''s in whole units';
            grant select on sample.counter (tenant) to public;

            CREATE INDEX busy ON sample.counter USING btree (used) WHERE (used > 0);

            CREATE TRIGGER touch BEFORE UPDATE ON sample.counter\
             FOR EACH ROW EXECUTE FUNCTION sample.touch();

            create table sample.ledger (
              at date not null
            ) partition by RANGE (at); -- owner OWNER

            create view sample.usage as
             SELECT c.tenant,
                 c.used
                FROM sample.counter c; -- owner OWNER

            CREATE OR REPLACE FUNCTION sample.touch()
             RETURNS trigger
             LANGUAGE plpgsql
            AS $function$ begin return new; end $function$; -- owner OWNER
            """;

    @Test
    void everythingIsToldInOrderOfNames() throws SQLException {
        try (TestDatabase database = TestDatabase.empty()) {
            try (Connection connection = database.connection();
                    Statement statement = connection.createStatement()) {
                statement.execute(DDL);
            }
            assertThat(SchemaDump.of(database.dataSource(), "sample"))
                    .isEqualTo(DUMP.replace("OWNER", TestDatabase.server().user()));
        }
    }
}
