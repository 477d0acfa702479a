-- What a next release may do to a schema in use. NextVersion puts its number in the place of @.
set local role pgquota_owner;

-- First what everybody needs, so that whoever is under way ends before anything is changed.
lock table pgquota.counter, pgquota.ledger in access exclusive mode;

alter table pgquota.counter add column next_@ bigint not null default @;
alter table pgquota.ledger add column next_@ text default 'V@';
-- who has many counters can build it before, concurrently
create index if not exists counter_next on pgquota.counter (tenant, scope, start_at);

-- New bodies under the old names and signatures.
do $do$
declare
  v_function regprocedure;
begin
  for v_function in
    select oid from pg_proc where pronamespace = 'pgquota'::regnamespace and proname in ('apply', 'balances')
  loop
    execute regexp_replace(pg_get_functiondef(v_function), '\$function\$', '$function$ -- V@');
  end loop;
end $do$;

create or replace function pgquota.schema_version() returns int
  language sql immutable
  return @;

reset role;
