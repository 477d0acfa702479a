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
  select coalesce(jsonb_agg(to_jsonb(l) - '{plan,version,ord,from_at,until_at}'::text[] order by l.ord), '[]')
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
begin
  if tg_op = 'UPDATE' and tg_table_name = 'plan_limit'
     and to_jsonb(new) - 'until_at' = to_jsonb(old) - 'until_at' then
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
  if exists (select from pg_timezone_abbrevs a
              where a.abbrev = upper(p_zone) and (a.is_dst or a.utc_offset <> interval '0')) then
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
begin
  select k into v_field
    from jsonb_array_elements(p_limits) e cross join lateral jsonb_object_keys(e) k
   where k not in ('name', 'meter', 'level', 'per', 'capacity', 'overage', 'mode', 'billed',
                   'thresholds', 'message')
   limit 1;
  if found then
    raise exception 'is not a field of a limit' using errcode = 'PQ001', column = 'limits', detail = v_field;
  end if;
  perform pg_advisory_xact_lock(hashtext('pgquota.publish'), hashtext(p_plan));
  v_now := pgquota.clock();
  v_from := coalesce(p_from, v_now);
  if v_from < v_now or v_from = 'infinity' then
    raise exception 'is in the past, or never' using errcode = 'PQ001', column = 'effectiveFrom',
      detail = v_from::text, hint = 'the database''s clock says ' || v_now;
  end if;
  v_new := coalesce((select max(v.version) from pgquota.plan_version v where v.plan = p_plan), 0) + 1;
  v_old := pgquota.version_at(p_plan, v_from);
  insert into pgquota.plan_version (plan, version, from_at) values (p_plan, v_new, v_from);
  insert into pgquota.plan_limit (plan, version, ord, from_at, until_at, name, meter, level, per, capacity,
                                  overage, mode, billed, thresholds, message)
  select p_plan, v_new, e.ord, v_from,
         coalesce((select min(v.from_at) from pgquota.plan_version v
                    where v.plan = p_plan and v.from_at > v_from), 'infinity'),
         l.name, coalesce(l.meter, l.name), coalesce(l.level, 0), p.per, l.capacity,
         case when e.field ? 'overage' then l.overage else 0 end, coalesce(l.mode, 'enforce'),
         coalesce(l.billed, p.per <> 'hour' and (position(':' in p.per) = 0
                                                 or split_part(p.per, ':', 2)::bigint >= 86400)),
         coalesce(l.thresholds, '{}'), l.message
    from jsonb_array_elements(p_limits) with ordinality e (field, ord)
   cross join lateral jsonb_populate_record(null::pgquota.plan_limit, e.field) l
   cross join lateral (select coalesce(l.per, 'month')) p (per);
  if v_old is not null
     and pgquota.version_limits(p_plan, v_old) = pgquota.version_limits(p_plan, v_new) then
    raise exception using errcode = 'PQ000'; -- undoes the inserts
  end if;
  update pgquota.plan_limit l set until_at = v_from
   where l.plan = p_plan and l.version <> v_new and l.from_at <= v_from and l.until_at > v_from;
  return v_new;
exception when sqlstate 'PQ000' then
  return v_old;
end $$;
comment on function pgquota.publish(text, jsonb, timestamptz) is
  'Publishes a version of a plan, in force from a time on (null: at once), and returns its number; that '
  'of the version in force then, if it has the same limits';

grant execute on function pgquota.publish(text, jsonb, timestamptz) to pgquota_admin;
grant insert, update (plan, zone, anchor) on pgquota.tenant to pgquota_admin;
grant update on pgquota.setting to pgquota_admin;
grant insert, delete, update (until_at, reason) on pgquota.adjustment to pgquota_admin;
grant select on pgquota.setting, pgquota.plan_version, pgquota.plan_limit, pgquota.tenant,
  pgquota.adjustment, pgquota.counter, pgquota.ledger, pgquota.hold, pgquota.hold_item, pgquota.alert,
  pgquota.audit, pgquota.operation_key to pgquota_admin;
grant execute on function pgquota.clock(), pgquota.version_at(text, timestamptz) to pgquota_admin;

reset role;
