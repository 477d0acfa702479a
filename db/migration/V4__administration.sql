-- Administration: plans are published, tenants get settings, usage is reset. Every change is audited by
-- triggers, so one that is made in plain SQL leaves the same trace.
--
-- SQLSTATEs of the library: PQ001 malformed (COLUMN names the field, DETAIL holds the value),
-- PQ002 not found (COLUMN names the kind, DETAIL the name), PQ003 a published version is never changed.
set local role pgquota_owner;

alter table pgquota.tenant
  add constraint tenant_anchor check (anchor >= '1900-01-01' and anchor < '2201-01-01');

create function pgquota.note(p_tenant text, p_what text, p_before jsonb, p_after jsonb) returns void
  language sql volatile
as $$
  insert into pgquota.audit (tenant, who, why, what, before, after)
  values (p_tenant, coalesce(nullif(current_setting('pgquota.who', true), ''), session_user),
          nullif(current_setting('pgquota.why', true), ''), p_what, p_before, p_after)
$$;
comment on function pgquota.note(text, text, jsonb, jsonb) is
  'Writes the audit. Who and why are what the transaction set as pgquota.who and pgquota.why; the login '
  'is kept beside them, so who cannot be made up unseen';

-- Runs as the owner: an administrator changes settings, and only sees the audit.
create function pgquota.audit_row() returns trigger
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_unsaid constant text[] := '{adjusted,only_row}';
  v_before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) - v_unsaid end;
  v_after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) - v_unsaid end;
begin
  if v_before is distinct from v_after then
    perform pgquota.note(coalesce(v_after, v_before)->>'tenant',
                         coalesce(coalesce(v_after, v_before)->>'kind', tg_table_name),
                         v_before, v_after);
  end if;
  return null;
end $$;

create trigger audit after insert or update or delete on pgquota.tenant
  for each row execute function pgquota.audit_row();
create trigger audit after insert or update or delete on pgquota.adjustment
  for each row execute function pgquota.audit_row();
create trigger audit after insert or update or delete on pgquota.setting
  for each row execute function pgquota.audit_row();

-- The limits of a version as pgquota.publish takes them.
create function pgquota.version_limits(p_plan text, p_version int) returns jsonb
  language sql stable
as $$
  select coalesce(jsonb_agg(to_jsonb(l) - '{plan,version,ord,from_at,until_at,ceiling,calm,leads,
                                            alone,shared}'::text[]
                            order by l.ord), '[]')
    from pgquota.plan_limit l
   where l.plan = p_plan and l.version = p_version
$$;

-- The version that is in force at a time; of several from the same time on the last one.
create function pgquota.version_at(p_plan text, p_at timestamptz) returns int
  language sql stable
as $$
  select v.version from pgquota.plan_version v
   where v.plan = p_plan and v.from_at <= p_at
   order by v.from_at desc, v.version desc
   limit 1
$$;

-- At the end of the transaction, when a version has all its limits: one row for all of it.
create function pgquota.audit_version() returns trigger
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_before int := (select v.version from pgquota.plan_version v
                    where v.plan = new.plan and (v.from_at, v.version) < (new.from_at, new.version)
                    order by v.from_at desc, v.version desc
                    limit 1);
begin
  perform pgquota.note(null, 'plan',
      case when v_before is not null
           then jsonb_build_object('plan', new.plan, 'version', v_before,
                                   'limits', pgquota.version_limits(new.plan, v_before)) end,
      jsonb_build_object('plan', new.plan, 'version', new.version, 'from_at', new.from_at,
                         'limits', pgquota.version_limits(new.plan, new.version)));
  return null;
end $$;
create constraint trigger audit after insert on pgquota.plan_version deferrable initially deferred
  for each row execute function pgquota.audit_version();

create function pgquota.keep_version() returns trigger
  language plpgsql
as $$
declare
  v_may constant text[] := '{until_at,ceiling,calm}'; -- the last two are computed after this
begin
  if tg_op = 'UPDATE' and tg_table_name = 'plan_limit' and to_jsonb(new) - v_may = to_jsonb(old) - v_may then
    return new;
  end if;
  raise exception 'version % of plan "%" is published: it is never changed', old.version, old.plan
    using errcode = 'PQ003', hint = 'publish another version';
end $$;
create trigger keep before update or delete on pgquota.plan_version
  for each row execute function pgquota.keep_version();
create trigger keep before update or delete on pgquota.plan_limit
  for each row execute function pgquota.keep_version();

-- A zone must be a name of the tz database, and mean that. PostgreSQL would read more than these, and
-- otherwise than people: "+02:00" and "GMT+2" are west of Greenwich, CET is an offset without summer time.
create function pgquota.check_zone(p_field text, p_zone text) returns void
  language plpgsql stable
as $$
begin
  if p_zone is null then
    return;
  end if;
  if not exists (select from pg_timezone_names n where n.name = p_zone) then
    raise exception 'is not a time zone that this database knows'
      using errcode = 'PQ001', column = p_field, detail = p_zone,
            hint = 'use the name of a region such as Europe/Berlin, UTC, or Etc/GMT-2 for two hours east';
  end if;
  -- WET too, which is not UTC in summer
  if upper(p_zone) not in ('UTC', 'UCT', 'GMT', 'ZULU')
     and exists (select from pg_timezone_abbrevs a where a.abbrev = upper(p_zone)) then
    raise exception 'is an abbreviation, which means an offset without summer time'
      using errcode = 'PQ001', column = p_field, detail = p_zone,
            hint = 'use the name of a region such as Europe/Berlin, or Etc/GMT-1 for one hour east';
  end if;
end $$;

create function pgquota.check_plan(p_plan text) returns void
  language plpgsql stable
as $$
begin
  if p_plan is not null
     and not exists (select from pgquota.plan_version v where v.plan = p_plan) then
    raise exception 'there is no plan "%"', p_plan
      using errcode = 'PQ002', column = 'plan', detail = p_plan, hint = 'publish it first';
  end if;
end $$;

create function pgquota.check_settings() returns trigger
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  -- only what changes: looking zones up reads files
  if tg_table_name = 'setting' then
    if new.default_plan is distinct from old.default_plan then
      perform pgquota.check_plan(new.default_plan);
    end if;
    if new.default_zone <> old.default_zone then
      perform pgquota.check_zone('default_zone', new.default_zone);
    end if;
    return new;
  end if;
  if tg_op = 'INSERT' or new.plan is distinct from old.plan then
    perform pgquota.check_plan(new.plan);
  end if;
  if tg_op = 'INSERT' or new.zone is distinct from old.zone then
    perform pgquota.check_zone('zone', new.zone);
  end if;
  return new;
end $$;
create trigger checks before update on pgquota.setting
  for each row execute function pgquota.check_settings();
create trigger checks before insert or update on pgquota.tenant
  for each row execute function pgquota.check_settings();

-- The tenant's row says whether there are overrides or boosts at all. It is locked before they are
-- counted: a second change of the same tenant then counts what the first one left.
create function pgquota.keep_adjusted() returns trigger
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_tenant text;
begin
  foreach v_tenant in array array(
      select distinct t from unnest(array[case when tg_op <> 'INSERT' then old.tenant end,
                                          case when tg_op <> 'DELETE' then new.tenant end]) t
       where t is not null order by t) loop
    insert into pgquota.tenant (tenant) values (v_tenant) on conflict do nothing;
    perform from pgquota.tenant t where t.tenant = v_tenant for no key update;
    update pgquota.tenant t set adjusted = a.adjusted
      from (select exists (select from pgquota.adjustment a where a.tenant = v_tenant)) a (adjusted)
     where t.tenant = v_tenant and t.adjusted <> a.adjusted;
  end loop;
  return null;
end $$;
create trigger adjusted after insert or update or delete on pgquota.adjustment
  for each row execute function pgquota.keep_adjusted();

-- Publishes a version: an array of objects with the columns of plan_limit, of which only name is needed.
-- Publishers of one plan queue up, so that versions are numbered and end where the next one begins.
create function pgquota.publish(p_plan text, p_limits jsonb, p_from timestamptz default null) returns int
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz;
  v_from timestamptz;
  v_old int;
  v_new int;
  v_field text;
  v_value text;
  v_type text;
begin
  if not coalesce(pgquota.is_scope(translate(p_plan, '/', '-')), false) then
    raise exception 'is not a name' using errcode = 'PQ001', column = 'plan',
      detail = coalesce(p_plan, 'null');
  end if;
  if coalesce(jsonb_typeof(p_limits), '') <> 'array' then
    raise exception 'is not an array' using errcode = 'PQ001', column = 'limits',
      detail = coalesce(p_limits::text, 'null');
  end if;
  -- what follows would take a text for a number, and an object for a text
  select f.key, f.value::text, t.type into v_field, v_value, v_type
    from jsonb_array_elements(p_limits) e
   cross join lateral jsonb_each(e) f
    left join jsonb_each_text('{"name": "string", "meter": "string", "level": "number", "per": "string",
                                "capacity": "number", "overage": "number", "mode": "string",
                                "billed": "boolean", "thresholds": "array", "message": "string"}')
              t (field, type) on t.field = f.key
   where t.type is null or jsonb_typeof(f.value) not in (t.type, 'null')
      or f.key = 'thresholds'
         and jsonb_path_exists(f.value, 'strict $[*] ? (@.type() != "number")', silent => true)
   limit 1;
  if found and v_type is null then
    raise exception 'is not a field of a limit' using errcode = 'PQ001', column = 'limits', detail = v_field;
  elsif found then
    raise exception 'is not a JSON %', v_type || case v_type when 'array' then ' of numbers' else '' end
      using errcode = 'PQ001', column = v_field, detail = v_value;
  end if;
  perform pg_advisory_xact_lock(hashtext('pgquota.publish'), hashtext(p_plan));
  v_now := pgquota.clock();
  v_from := coalesce(p_from, v_now);
  if v_from < v_now or v_from = 'infinity' then
    raise exception 'is in the past, or never' using errcode = 'PQ001', column = 'effectiveFrom',
      detail = v_from::text, hint = 'leave it out for at once; the database''s clock says ' || v_now;
  end if;
  v_new := coalesce((select max(v.version) from pgquota.plan_version v where v.plan = p_plan), 0) + 1;
  v_old := pgquota.version_at(p_plan, v_from);
  insert into pgquota.plan_version (plan, version, from_at) values (p_plan, v_new, v_from);
  insert into pgquota.plan_limit (plan, version, ord, from_at, until_at, name, meter, level, per, capacity,
                                  overage, mode, billed, thresholds, message, leads, alone, shared)
  select p_plan, v_new, e.ord, v_from,
         coalesce((select min(v.from_at) from pgquota.plan_version v
                    where v.plan = p_plan and v.from_at > v_from), 'infinity'),
         l.name, coalesce(l.meter, l.name), coalesce(l.level, 0), p.per, l.capacity,
         case when e.field ? 'overage' then l.overage else 0 end, coalesce(l.mode, 'enforce'),
         coalesce(l.billed, p.per <> 'hour' and (position(':' in p.per) = 0
                                                 or split_part(p.per, ':', 2)::bigint >= 86400)),
         array(select distinct t from unnest(l.thresholds) t order by t), l.message,
         coalesce(l.mode, 'enforce') <> 'off'
           and row_number() over (partition by coalesce(l.meter, l.name), coalesce(l.mode, 'enforce') = 'off'
                                  order by coalesce(l.level, 0), e.ord) = 1,
         count(*) over (partition by coalesce(l.meter, l.name)) = 1,
         count(*) over (partition by coalesce(l.meter, l.name), coalesce(l.level, 0), p.per) > 1
    from jsonb_array_elements(p_limits) with ordinality e (field, ord)
   cross join lateral jsonb_populate_record(null::pgquota.plan_limit, e.field) l
   cross join lateral (select coalesce(l.per, 'month')) p (per);
  if v_old is not null
     and pgquota.version_limits(p_plan, v_old) = pgquota.version_limits(p_plan, v_new) then
    raise exception using errcode = 'PQ099'; -- undoes the inserts
  end if;
  update pgquota.plan_limit l set until_at = v_from
   where l.plan = p_plan and l.version <> v_new and l.from_at <= v_from and l.until_at > v_from;
  return v_new;
exception
  when sqlstate 'PQ099' then
    return v_old;
  when data_exception or integrity_constraint_violation then
    raise exception 'is refused by the database: %', sqlerrm
      using errcode = 'PQ001', column = 'limits', detail = p_limits::text;
end $$;
comment on function pgquota.publish(text, jsonb, timestamptz) is
  'Publishes a version of a plan, in force from a time on (null: at once), and returns its number; that '
  'of the version in force then, if it has the same limits';


-- Sets the running windows of a scope and all below it back to zero, and returns the counters as they
-- were. Counters are locked in the order of their keys, as in pgquota.apply. Holds stay.
create function pgquota.reset(p_scope text, p_dry_run boolean default false)
  returns table (name text, meter text, scope text, mode text, per text, capacity bigint,
                 used bigint, held bigint, start_at timestamptz, end_at timestamptz)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_tenant constant text := split_part(p_scope, '/', 1);
  v_ids bigint[];
  v_now timestamptz := pgquota.clock();
  v_at timestamptz;
  v_operation uuid;
  v_legs pgquota.leg[];
begin
  v_ids := array(
      select c.id from pgquota.counter c
       where c.tenant = v_tenant and (c.scope = p_scope or starts_with(c.scope, p_scope || '/'))
         and c.current and c.end_at > v_now and c.used > 0);
  if not p_dry_run then
    perform from (select c.id from pgquota.counter c
                   where c.tenant = v_tenant and c.id = any (v_ids)
                   order by c.scope, c.meter, c.per, c.start_at for no key update) l;
    v_now := pgquota.clock();
  end if;
  -- A counter without a limit in today's plan is named after its meter.
  select coalesce(array_agg(
             row(null, null, null, coalesce(r.name, c.meter), c.meter, c.scope,
                 coalesce(r.mode, 'observe'), c.per, r.capacity, null, c.billed, null, null, c.id, null,
                 c.used, coalesce(r.held, c.held), c.entries, c.start_at, c.end_at, c.last_at,
                 null, null, null, null, null)::pgquota.leg order by c.scope, r.ord, c.id), '{}'),
         greatest(v_now, max(c.last_at))
    into v_legs, v_at
    from pgquota.counter c
    left join lateral (
         select r.* from pgquota.resolve(array[c.scope], '{1}', array[c.meter], '{0}', v_now) r
          where r.scope = c.scope and r.per = c.per
          order by (r.mode = 'off'), r.ord
          limit 1) r on true
   where c.tenant = v_tenant and c.id = any (v_ids) and c.end_at > v_now and c.used > 0;
  if not p_dry_run and cardinality(v_legs) > 0 then
    v_operation := pgquota.operation_id(v_at);
    update pgquota.counter c set used = 0, entries = c.entries + c.billed::int, last_at = v_at
      from unnest(v_legs) l
     where c.tenant = v_tenant and c.id = l.counter;
    insert into pgquota.ledger (tenant, at, operation, counter, entry, verb, amount, used_after)
    select v_tenant, v_at, v_operation, l.counter, l.entries + 1, 'reset', -l.used, 0
      from unnest(v_legs) l
     where l.billed;
    perform pgquota.note(v_tenant, 'reset',
        (select jsonb_agg(jsonb_build_object('scope', l.scope, 'meter', l.meter, 'per', l.per,
                                             'start_at', l.start_at, 'used', l.used))
           from unnest(v_legs) l),
        jsonb_build_object('scope', p_scope, 'used', 0, 'operation', v_operation));
  end if;
  return query
  select l.name, l.meter, l.scope, l.mode, l.per, l.capacity, l.used, l.held, l.start_at, l.end_at
    from unnest(v_legs) with ordinality l
   order by l.ordinality;
end $$;
comment on function pgquota.reset(text, boolean) is
  'Sets the running windows of a scope and all below it back to zero by visible ledger entries, and '
  'returns the counters as they were; a dry run only returns them';

create type pgquota.difference as (
  counter bigint, scope text, meter text, per text, start_at timestamptz,
  problem text, expected bigint, found bigint
);

-- Every difference between counters, holds and ledger, in one snapshot. One statement, so that it is one.
-- The chain of a counter begins at entry 1, or later if retention has dropped what came before.
create function pgquota.reconcile(p_tenant text)
  returns setof pgquota.difference
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
  with line as materialized (
    select l.*, lag(l.entry) over w as entry_before, lag(l.used_after) over w as used_before
      from pgquota.ledger l
     where l.tenant = p_tenant
    window w as (partition by l.counter order by l.entry, l.at)
  ), chain as materialized (
    select l.counter, min(l.entry) as first_entry, max(l.entry) as last_entry,
           sum(l.amount) + min(l.used_after - l.amount) filter (where l.entry_before is null) as sum_used
      from line l
     group by l.counter
  ), item as materialized (
    select i.*, h.state, h.expires_at as hold_expires, m.amount as hold_amount
      from pgquota.hold_item i
      left join pgquota.hold h on h.tenant = i.tenant and h.id = i.hold
      left join lateral (
           select x.amount
             from unnest(h.counters, h.counter_meters) y (counter, meter)
             join unnest(h.meters, h.amounts) x (meter, amount) on x.meter = y.meter
            where y.counter = i.counter
            limit 1) m on true
     where i.tenant = p_tenant
  ), difference (counter, problem, expected, found) as (
    select c.id, 'used is not the sum of the ledger', coalesce(k.sum_used, 0), c.used::numeric
      from pgquota.counter c
      left join chain k on k.counter = c.id
     where c.tenant = p_tenant and c.billed and c.used <> coalesce(k.sum_used, 0)
       -- all entries dropped: nothing is left to compare with
       and (k.counter is not null or c.entries = 0 or c.start_at >= (
            select m.at from pgquota.mark m where m.name = 'ledger_from'))
    union all
    select c.id, 'the ledger ends before or after the counter''s last entry', c.entries,
           coalesce(k.last_entry, 0)
      from pgquota.counter c
      left join chain k on k.counter = c.id
     where c.tenant = p_tenant and c.entries <> coalesce(k.last_entry, 0)
       and (k.counter is not null or c.start_at >= (
            select m.at from pgquota.mark m where m.name = 'ledger_from'))
    union all
    select c.id, 'the first entries of the ledger are missing', 1, k.first_entry
      from pgquota.counter c
      join chain k on k.counter = c.id
     where c.tenant = p_tenant and k.first_entry > 1 and c.start_at >= (
           select m.at from pgquota.mark m where m.name = 'ledger_from')
    union all
    select l.counter, 'entry ' || l.entry || ' does not follow the one before', l.entry_before + 1, l.entry
      from line l
     where l.entry <> l.entry_before + 1
    union all
    select l.counter, 'used after entry ' || l.entry || ' is not that before plus its amount',
           coalesce(l.used_before, 0)::numeric + l.amount, l.used_after
      from line l
     where l.used_after <> l.used_before::numeric + l.amount
        or l.used_before is null and l.entry = 1 and l.used_after <> l.amount
    union all
    select k.counter, 'the ledger has entries of a counter that does not exist, or is not billed',
           0, k.last_entry
      from chain k
      left join pgquota.counter c on c.tenant = p_tenant and c.id = k.counter
     where not coalesce(c.billed, false)
    union all
    select c.id, 'held is not the sum of its holds', coalesce(i.held, 0), c.held
      from pgquota.counter c
      left join (select i.counter, sum(i.amount) as held from item i group by i.counter) i
        on i.counter = c.id
     where c.tenant = p_tenant and c.held <> coalesce(i.held, 0)
    union all
    select c.id, 'an expired hold would be overlooked: seconds after its expiry', 0,
           least(extract(epoch from c.expiry_at - i.first), 1e9)
      from pgquota.counter c
      join (select i.counter, min(i.expires_at) as first from item i where i.amount > 0 group by i.counter) i
        on i.counter = c.id
     where c.tenant = p_tenant and c.expiry_at > i.first
    union all
    -- an expired hold gives its units back counter by counter, as each is looked at
    select i.counter, 'hold ' || i.hold || ' ' || case
             when i.state is null then 'does not exist, but holds'
             when i.state not in ('open', 'expired') then 'is ' || i.state || ', but holds'
             else 'holds another amount, or for another time, than it says' end,
           case when i.state in ('open', 'expired') then coalesce(i.hold_amount, 0) else 0 end, i.amount
      from item i
     where i.state is null or i.state not in ('open', 'expired')
        or i.hold_amount is distinct from i.amount or i.hold_expires <> i.expires_at
    union all
    select u.counter, 'hold ' || h.id || ' is open, but holds nothing here', x.amount, 0
      from pgquota.hold h
     cross join lateral unnest(h.counters, h.counter_meters) u (counter, meter)
     cross join lateral (select m.amount from unnest(h.meters, h.amounts) m (meter, amount)
                          where m.meter = u.meter limit 1) x
     where h.tenant = p_tenant and h.state = 'open'
       and not exists (select from item i where i.hold = h.id and i.counter = u.counter)
    union all
    select i.counter, 'hold ' || i.hold || ' holds of a counter that does not exist', 0, i.amount
      from item i
     where not exists (select from pgquota.counter c where c.tenant = p_tenant and c.id = i.counter)
  )
  select d.counter, coalesce(c.scope, p_tenant), coalesce(c.meter, '?'), c.per, c.start_at,
         d.problem, d.expected::bigint, d.found::bigint
    from difference d
    left join pgquota.counter c on c.tenant = p_tenant and c.id = d.counter
   order by c.scope, c.meter, c.per, c.start_at, d.counter, d.problem
$$;
comment on function pgquota.reconcile(text) is
  'Every difference between a tenant''s counters, holds and ledger; changes nothing. Reads the whole ledger';

-- Brings counters back to what ledger and holds say, and returns the differences that are gone. Nothing
-- in the ledger is written over: what a counter had too much is written down, and taken back by another
-- entry. A chain that is broken in itself proves that rows were lost or changed; it stays, and is reported.
create function pgquota.repair(p_tenant text)
  returns setof pgquota.difference
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids bigint[];
  v_before pgquota.difference[];
  v_after pgquota.difference[];
  v_now timestamptz;
  v_operation uuid;
  v_old pgquota.counter;
  v_new pgquota.counter;
  v_line record;
begin
  v_ids := array(select distinct d.counter from pgquota.reconcile(p_tenant) d);
  perform from (select c.id from pgquota.counter c
                 where c.tenant = p_tenant and c.id = any (v_ids)
                 order by c.scope, c.meter, c.per, c.start_at for no key update) l;
  v_now := greatest(pgquota.clock(), (select max(c.last_at) from pgquota.counter c
                                       where c.tenant = p_tenant and c.id = any (v_ids)));
  v_operation := pgquota.operation_id(v_now);
  v_before := array(select d from pgquota.reconcile(p_tenant) d where d.counter = any (v_ids));
  -- Under the lock of a counter its holds stand still. What they take is what the holds themselves say.
  delete from pgquota.hold_item i
   where i.tenant = p_tenant and i.counter = any (v_ids) and not exists (
         select from pgquota.hold h
          cross join lateral unnest(h.counters, h.counter_meters) u (counter, meter)
           join unnest(h.meters, h.amounts) x (meter, amount) on x.meter = u.meter
          where h.tenant = i.tenant and h.id = i.hold and h.state in ('open', 'expired')
            and h.expires_at = i.expires_at and u.counter = i.counter and x.amount = i.amount);
  insert into pgquota.hold_item (tenant, counter, expires_at, hold, amount)
  select h.tenant, c.id, h.expires_at, h.id, x.amount
    from pgquota.hold h
   cross join lateral unnest(h.counters, h.counter_meters) u (counter, meter)
    join pgquota.counter c on c.tenant = h.tenant and c.id = u.counter
   cross join lateral (select m.amount from unnest(h.meters, h.amounts) m (meter, amount)
                        where m.meter = u.meter limit 1) x
   where h.tenant = p_tenant and h.state = 'open' and h.counters && v_ids and c.id = any (v_ids)
  on conflict do nothing;

  for v_old in
      select * from pgquota.counter c where c.tenant = p_tenant and c.id = any (v_ids) order by c.id loop
    v_new := v_old;
    v_new.held := coalesce((select sum(i.amount) from pgquota.hold_item i
                             where i.tenant = p_tenant and i.counter = v_old.id), 0);
    v_new.expiry_at := coalesce((select min(i.expires_at) from pgquota.hold_item i
                                  where i.tenant = p_tenant and i.counter = v_old.id), 'infinity');
    select coalesce(max(l.entry), 0) as last, count(*) as entries, min(l.entry) as first,
           coalesce((array_agg(l.used_after order by l.entry desc))[1], 0) as used,
           sum(l.amount) + (array_agg(l.used_after - l.amount order by l.entry))[1] as sum_used
      into v_line
      from pgquota.ledger l
     where l.tenant = p_tenant and l.counter = v_old.id;
    -- Whole: nothing missing within, at the end, or at a beginning that retention has not dropped.
    if v_old.billed and v_line.last >= v_old.entries
       and (v_line.entries = 0
            or v_line.entries = v_line.last - v_line.first + 1 and v_line.used = v_line.sum_used
               and (v_line.first = 1 or v_old.start_at < (
                    select m.at from pgquota.mark m where m.name = 'ledger_from'))) then
      v_new.entries := v_line.last;
      if v_old.used <> v_line.used then
        v_new.used := v_line.used;
        v_new.entries := v_line.last + 2;
        insert into pgquota.ledger (tenant, at, operation, counter, entry, verb, amount, used_after)
        values (p_tenant, v_now, v_operation, v_old.id, v_line.last + 1, 'repair',
                v_old.used - v_line.used, v_old.used),
               (p_tenant, v_now, v_operation, v_old.id, v_line.last + 2, 'repair',
                v_line.used - v_old.used, v_line.used);
      end if;
    end if;
    v_new.last_at := greatest(v_old.last_at, v_now);
    update pgquota.counter c
       set used = v_new.used, held = v_new.held, entries = v_new.entries, last_at = v_new.last_at,
           expiry_at = v_new.expiry_at
     where c.tenant = p_tenant and c.id = v_old.id
       and (v_old.used, v_old.held, v_old.entries, v_old.expiry_at)
        <> (v_new.used, v_new.held, v_new.entries, v_new.expiry_at);
    if found then
      perform pgquota.note(p_tenant, 'repair', to_jsonb(v_old), to_jsonb(v_new));
    end if;
  end loop;

  v_after := array(select d from pgquota.reconcile(p_tenant) d);
  return query select d.* from unnest(v_before) d
                where not exists (select from unnest(v_after) a where a.counter = d.counter
                                                                  and a.problem = d.problem);
end $$;
comment on function pgquota.repair(text) is
  'Brings a tenant''s counters back to what ledger and holds say, by visible ledger entries, and returns '
  'the differences that are gone; a ledger that is broken in itself stays as it is';

-- A batch of housekeeping of about p_most rows; returns how many were done. Nothing is left when that is
-- fewer than p_most; of holds and partitions, when it is 0. Each call is a transaction of its own. It waits
-- for nobody: what others have locked is left for the next time.
--   holds       expired holds give their units back           ended       old ended holds go
--   keys        answers to old keys go: a UUIDv7 tells its own age, of others a stub stays, so that an old
--               key is refused and never charged anew
--   windows     closed windows of limits that are not billed go
--   entries     old entries without a monthly partition go     dropped     an old partition goes
--   made        partitions of the coming year are made
create function pgquota.upkeep(p_task text, p_most int) returns int
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
as $$
declare
  v_now constant timestamptz := pgquota.clock();
  v_set pgquota.setting;
  v_tenants text[];
  v_ids bigint[];
  v_mark timestamptz;
  v_end timestamptz;
  v_name text;
  v_done int := 0;
begin
  select * into strict v_set from pgquota.setting;
  case p_task
  when 'holds' then
    select array_agg(l.tenant), array_agg(l.id) into v_tenants, v_ids
      from (select c.tenant, c.id
              from (select distinct i.tenant, i.counter from pgquota.hold_item i
                     where i.expires_at <= v_now limit p_most) i
              join pgquota.counter c on c.tenant = i.tenant and c.id = i.counter
             order by c.scope, c.meter, c.per, c.start_at for no key update of c skip locked) l;
    if v_ids is not null then
      v_done := pgquota.reap(v_tenants, v_ids, v_now);
    end if;
  when 'ended' then
    -- Not before the last of its units is back: its counters ask it.
    delete from pgquota.hold h
     using (select h.tenant, h.id from pgquota.hold h
             where h.expires_at < v_now - v_set.key_retention
               and not exists (select from unnest(h.counters) u (counter)
                                 join pgquota.hold_item i
                                   on i.tenant = h.tenant and i.counter = u.counter
                                  and i.expires_at = h.expires_at and i.hold = h.id)
             limit p_most for update skip locked) o
     where h.tenant = o.tenant and h.id = o.id;
    get diagnostics v_done = row_count;
  when 'keys' then
    v_end := v_now - v_set.key_retention;
    v_mark := (select m.at from pgquota.mark m where m.name = 'keys_until');
    update pgquota.mark m set at = v_end where m.name = 'keys_dropped' and m.at < v_end;
    with old as materialized (
      select k.tenant, k.key,
             coalesce(pgquota.key_time(k.key) < v_end, false) as tells
        from pgquota.operation_key k
       where k.at >= v_mark and k.at < v_end and k.answers is not null
       limit p_most for update skip locked
    ), gone as (
      delete from pgquota.operation_key k using old o
       where o.tells and k.tenant = o.tenant and k.key = o.key
    ), stub as (
      update pgquota.operation_key k set answers = null
        from old o where not o.tells and k.tenant = o.tenant and k.key = o.key
    )
    select count(*) into v_done from old;
    if v_done < p_most and not exists ( -- none is left, nor was locked
        select from pgquota.operation_key k
         where k.at >= v_mark and k.at < v_end and k.answers is not null) then
      update pgquota.mark m set at = v_end where m.name = 'keys_until' and m.at < v_end;
    end if;
  when 'windows' then
    -- Looking for them reads the whole table, so not every time.
    v_mark := (select m.at from pgquota.mark m where m.name = 'windows_at');
    if v_mark > v_now - v_set.window_retention / 100 and v_mark <= v_now then
      return 0;
    end if;
    with old as materialized (
      select c.tenant, c.id
        from pgquota.counter c
       where not c.billed and c.end_at < v_now - v_set.window_retention and c.held = 0
       limit p_most for update skip locked
    ), alerts as (
      delete from pgquota.alert a using old o where a.tenant = o.tenant and a.counter = o.id
    )
    delete from pgquota.counter c using old o where c.tenant = o.tenant and c.id = o.id;
    get diagnostics v_done = row_count;
    if v_done < p_most then
      update pgquota.mark m set at = v_now where m.name = 'windows_at';
    end if;
  when 'entries' then
    -- In the order of their chains, so that what is left is the end of each.
    v_end := v_now - v_set.ledger_retention;
    delete from pgquota.ledger_rest l
     where l.ctid = any (array(select r.ctid from pgquota.ledger_rest r
                                where r.at < v_end
                                order by r.at, r.counter, r.entry limit p_most));
    get diagnostics v_done = row_count;
    if v_done > 0 then
      update pgquota.mark m set at = v_end where m.name = 'ledger_from' and m.at < v_end;
    end if;
  when 'dropped' then
    select t.relname, (to_date(right(t.relname, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC'
      into v_name, v_end
      from pg_inherits i
      join pg_class t on t.oid = i.inhrelid
     where i.inhparent = 'pgquota.ledger'::regclass and t.relname ~ '^ledger_[0-9]{4}_[0-9]{2}$'
     order by t.relname
     limit 1;
    -- a chain is shortened from its beginning, so what lies before must have gone
    if v_end <= v_now - v_set.ledger_retention
       and not exists (select from pgquota.ledger_rest r where r.at < v_end) then
      execute format('drop table pgquota.%I', v_name);
      update pgquota.mark m set at = v_end where m.name = 'ledger_from' and m.at < v_end;
      v_done := 1;
    end if;
  when 'made' then
    v_done := pgquota.add_ledger_partitions(v_now, 13);
  else
    raise exception 'is not a task' using errcode = 'PQ001', column = 'task', detail = p_task;
  end case;
  return v_done;
exception when lock_not_available then
  return 0; -- the next time
end $$;
comment on function pgquota.upkeep(text, int) is
  'A batch of housekeeping: holds, ended, keys, windows, entries, dropped or made; returns how many';

grant execute on function pgquota.publish(text, jsonb, timestamptz), pgquota.reset(text, boolean),
  pgquota.repair(text) to pgquota_admin;
grant execute on function pgquota.reconcile(text) to pgquota_admin, pgquota_report;
grant execute on function pgquota.upkeep(text, int) to pgquota_app, pgquota_admin;
grant execute on function pgquota.clock() to pgquota_app, pgquota_admin, pgquota_report;
grant execute on function pgquota.operation_at(uuid) to pgquota_admin, pgquota_report;
-- constraints call it with the rights of who inserts
grant execute on function pgquota.is_scope(text) to pgquota_admin;
grant insert, update (plan, zone, anchor) on pgquota.tenant to pgquota_admin;
grant update on pgquota.setting to pgquota_admin;
grant insert, delete, update (until_at, reason) on pgquota.adjustment to pgquota_admin;
grant select on pgquota.setting, pgquota.plan_version, pgquota.plan_limit, pgquota.tenant,
  pgquota.adjustment, pgquota.counter, pgquota.ledger, pgquota.hold, pgquota.hold_item, pgquota.alert,
  pgquota.audit, pgquota.operation_key, pgquota.mark to pgquota_admin;
grant select on pgquota.setting, pgquota.plan_version, pgquota.plan_limit, pgquota.tenant to pgquota_app;
grant select on pgquota.audit to pgquota_report;

reset role;
