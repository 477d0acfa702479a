-- From part 1's schema to one that today's library and part 1's can use at the same time.
set local role pgquota_owner;
-- functions come in the order in which they were made, and call each other
set local check_function_bodies = off;

-- First what every call needs, so that nobody is in the midst of one that writes.
lock table pgquota.counter in access exclusive mode;

alter type pgquota.answer add attribute times int, add attribute nth int[];
create index counter_ended on pgquota.counter (tenant, scope, meter, per, start_at) where not current;
drop index pgquota.counter_window;

-- functions --

-- What part 1's library calls.
create or replace function pgquota.apply(
    p_verb text[], p_scope text[], p_key text[], p_ref uuid[], p_ttl bigint[],
    p_change int[], p_meter text[], p_amount bigint[])
  returns setof pgquota.answer
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
  select * from pgquota.apply(p_verb, p_scope, p_key, p_ref, p_ttl, p_change, p_meter, p_amount,
                              null::int[], null::int)
$$;
create or replace function pgquota.apply(
    p_verb text, p_scope text, p_key text, p_ref uuid, p_ttl bigint, p_meter text[], p_amount bigint[])
  returns setof pgquota.answer
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
  select * from pgquota.apply(p_verb, p_scope, p_key, p_ref, p_ttl, p_meter, p_amount, 1, null::int)
$$;

grant execute on function
  pgquota.apply(text, text, text, uuid, bigint, text[], bigint[], int, int),
  pgquota.apply(text[], text[], text[], uuid[], bigint[], int[], text[], bigint[], int[], int)
  to pgquota_app, pgquota_admin;

create or replace function pgquota.schema_version() returns int
  language sql immutable
  return 6;

reset role;
