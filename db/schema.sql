-- The migrated schema, from the catalog. Written by mvn -q -Pgenerate.

create schema pgquota; -- owner pgquota_owner
comment on schema pgquota is 'Usage quotas: plans, counters, holds, ledger. See pgquota.balance, pgquota.usage, pgquota.ledger_line.';
grant usage on schema pgquota to pgquota_admin;
grant usage on schema pgquota to pgquota_app;
grant usage on schema pgquota to pgquota_report;

create domain pgquota.amount as bigint
  constraint amount_check CHECK (((VALUE >= 0) AND (VALUE <= '4611686018427387904'::bigint)));

create type pgquota.answer as (
  change integer,
  status text,
  detail text,
  operation uuid,
  at timestamp with time zone,
  replayed boolean,
  late boolean,
  hold_state text,
  expires_at timestamp with time zone,
  ord integer,
  limit_name text,
  meter text,
  scope text,
  mode text,
  per text,
  capacity bigint,
  ceiling bigint,
  used bigint,
  held bigint,
  start_at timestamp with time zone,
  end_at timestamp with time zone,
  fits boolean,
  granted bigint,
  overage bigint,
  crossed integer[],
  message text,
  counter bigint,
  entry bigint,
  times integer,
  nth integer[]
);
comment on type pgquota.answer is 'One answer of the engine; an answer over several limits is several rows with the same change';

create type pgquota.difference as (
  counter bigint,
  scope text,
  meter text,
  per text,
  start_at timestamp with time zone,
  problem text,
  expected bigint,
  found bigint
);

create type pgquota.leg as (
  change integer,
  input integer,
  ord integer,
  name text,
  meter text,
  scope text,
  mode text,
  per text,
  capacity bigint,
  ceiling bigint,
  billed boolean,
  thresholds integer[],
  message text,
  counter bigint,
  ended bigint,
  used bigint,
  held bigint,
  entries bigint,
  start_at timestamp with time zone,
  end_at timestamp with time zone,
  last_at timestamp with time zone,
  expiry_at timestamp with time zone,
  asked bigint,
  du bigint,
  dh bigint,
  took bigint
);

create domain pgquota.name as text
  constraint name_check CHECK (pgquota.is_scope(translate(VALUE, '/'::text, '-'::text)));

create type pgquota.part as (
  du bigint,
  dh bigint,
  entries integer,
  room bigint,
  calm bigint,
  thresholds integer[],
  denied boolean,
  plain boolean,
  alone boolean,
  leads boolean,
  whole integer,
  held bigint[],
  answer pgquota.answer
);

create domain pgquota.tally as bigint
  constraint tally_check CHECK ((VALUE >= 0));

create table pgquota.adjustment (
  tenant text collate "C" not null,
  id uuid default gen_random_uuid() not null,
  scope text collate "C" not null,
  limit_name pgquota.name not null,
  kind text collate "C" not null,
  capacity pgquota.amount,
  from_at timestamp with time zone not null,
  until_at timestamp with time zone default 'infinity'::timestamp with time zone not null,
  reason text,
  made_at timestamp with time zone default pgquota.clock() not null,
  constraint adjustment_check CHECK ((pgquota.is_scope(scope) AND (split_part(scope, '/'::text, 1) = tenant))),
  constraint adjustment_check1 CHECK (((kind = 'override'::text) OR (capacity IS NOT NULL))),
  constraint adjustment_check2 CHECK ((until_at > from_at)),
  constraint adjustment_kind_check CHECK ((kind = ANY (ARRAY['override'::text, 'boost'::text]))),
  constraint adjustment_pkey PRIMARY KEY (tenant, id)
); -- owner pgquota_owner
grant delete, insert, select on pgquota.adjustment to pgquota_admin;
grant update on pgquota.adjustment (reason) to pgquota_admin;
grant update on pgquota.adjustment (until_at) to pgquota_admin;

CREATE INDEX adjustment_of_limit ON pgquota.adjustment USING btree (tenant, limit_name);

CREATE TRIGGER adjusted AFTER INSERT OR DELETE OR UPDATE ON pgquota.adjustment FOR EACH ROW EXECUTE FUNCTION pgquota.keep_adjusted();

CREATE TRIGGER audit AFTER INSERT OR DELETE OR UPDATE ON pgquota.adjustment FOR EACH ROW EXECUTE FUNCTION pgquota.audit_row();

create table pgquota.alert (
  tenant text collate "C" not null,
  counter bigint not null,
  limit_name text collate "C" not null,
  percent integer not null,
  capacity bigint not null,
  used bigint not null,
  operation uuid not null,
  at timestamp with time zone not null,
  constraint alert_pkey PRIMARY KEY (tenant, counter, limit_name, percent, capacity)
); -- owner pgquota_owner
comment on table pgquota.alert is 'A threshold that was reached: once for a limit, window, per cent and capacity, written with the charge';
grant select on pgquota.alert to pgquota_admin;

create table pgquota.audit (
  at timestamp with time zone default pgquota.clock() not null,
  id uuid default gen_random_uuid() not null,
  tenant text collate "C",
  who text not null,
  login text default SESSION_USER not null,
  why text,
  what text not null,
  before jsonb,
  after jsonb,
  constraint audit_pkey PRIMARY KEY (at, id)
); -- owner pgquota_owner
grant select on pgquota.audit to pgquota_admin;
grant select on pgquota.audit to pgquota_report;

create table pgquota.counter (
  tenant text collate "C" not null,
  id bigint generated always as identity not null,
  scope text collate "C" not null,
  meter text collate "C" not null,
  per text collate "C" not null,
  current boolean default true not null,
  start_at timestamp with time zone not null,
  end_at timestamp with time zone not null,
  billed boolean not null,
  used pgquota.tally default 0 not null,
  held pgquota.tally default 0 not null,
  entries pgquota.tally default 0 not null,
  last_at timestamp with time zone not null,
  expiry_at timestamp with time zone default 'infinity'::timestamp with time zone not null,
  constraint counter_pkey PRIMARY KEY (tenant, id)
) with (fillfactor=50); -- owner pgquota_owner
grant select on pgquota.counter to pgquota_admin;

CREATE UNIQUE INDEX counter_current ON pgquota.counter USING btree (tenant, scope, meter, per) WHERE current;

CREATE INDEX counter_ended ON pgquota.counter USING btree (tenant, scope, meter, per, start_at) WHERE (NOT current);

CREATE TRIGGER check_row BEFORE INSERT ON pgquota.counter FOR EACH ROW EXECUTE FUNCTION pgquota.check_counter();

create table pgquota.hold (
  tenant text collate "C" not null,
  id uuid not null,
  scope text collate "C" not null,
  meters text[] not null,
  amounts bigint[] not null,
  counters bigint[] not null,
  counter_meters text[] not null,
  taken_at timestamp with time zone not null,
  expires_at timestamp with time zone not null,
  state text collate "C" default 'open'::text not null,
  answers pgquota.answer[],
  constraint hold_pkey PRIMARY KEY (tenant, id),
  constraint hold_state_check CHECK ((state = ANY (ARRAY['open'::text, 'settled'::text, 'released'::text, 'expired'::text])))
) with (fillfactor=70); -- owner pgquota_owner
comment on column pgquota.hold.state is 'expired says that its units are back; a late settlement still makes it settled';
grant select on pgquota.hold to pgquota_admin;

CREATE INDEX hold_expiry ON pgquota.hold USING brin (expires_at);

create table pgquota.hold_item (
  tenant text collate "C" not null,
  counter bigint not null,
  expires_at timestamp with time zone not null,
  hold uuid not null,
  amount pgquota.tally not null,
  constraint hold_item_pkey PRIMARY KEY (tenant, counter, expires_at, hold)
); -- owner pgquota_owner
grant select on pgquota.hold_item to pgquota_admin;

create table pgquota.ledger (
  tenant text collate "C" not null,
  at timestamp with time zone not null,
  operation uuid not null,
  counter bigint not null,
  entry bigint not null,
  verb text collate "C" not null,
  amount bigint not null,
  used_after bigint not null,
  ref uuid,
  constraint ledger_amount_check CHECK ((amount <> 0)),
  constraint ledger_used_after_check CHECK ((used_after >= 0))
) partition by RANGE (at); -- owner pgquota_owner
comment on column pgquota.ledger.ref is 'the hold that was settled, or the operation that was refunded';
grant select on pgquota.ledger to pgquota_admin;

CREATE INDEX ledger_at ON pgquota.ledger USING btree (at);

CREATE INDEX ledger_refund ON pgquota.ledger USING btree (tenant, ref) WHERE (verb = 'refund'::text);

create table pgquota.ledger_rest (
  tenant text collate "C" not null,
  at timestamp with time zone not null,
  operation uuid not null,
  counter bigint not null,
  entry bigint not null,
  verb text collate "C" not null,
  amount bigint not null,
  used_after bigint not null,
  ref uuid,
  constraint ledger_amount_check CHECK ((amount <> 0)),
  constraint ledger_used_after_check CHECK ((used_after >= 0))
)
  partition of pgquota.ledger DEFAULT; -- owner pgquota_owner

create table pgquota.mark (
  name text not null,
  at timestamp with time zone not null,
  constraint mark_pkey PRIMARY KEY (name)
); -- owner pgquota_owner
grant select on pgquota.mark to pgquota_admin;

create table pgquota.operation_key (
  tenant text collate "C" not null,
  key text collate "C" not null,
  verb text collate "C" not null,
  scope text collate "C" not null,
  ref uuid,
  ttl bigint,
  meters text[] not null,
  amounts bigint[] not null,
  at timestamp with time zone not null,
  answers pgquota.answer[],
  constraint operation_key_key_check CHECK (((length(key) >= 1) AND (length(key) <= 200))),
  constraint operation_key_pkey PRIMARY KEY (tenant, key)
); -- owner pgquota_owner
grant select on pgquota.operation_key to pgquota_admin;

CREATE INDEX operation_key_at ON pgquota.operation_key USING brin (at);

create table pgquota.plan_limit (
  plan pgquota.name not null,
  version integer not null,
  ord integer not null,
  from_at timestamp with time zone not null,
  until_at timestamp with time zone default 'infinity'::timestamp with time zone not null,
  name pgquota.name not null,
  meter pgquota.name not null,
  level integer not null,
  per text collate "C" not null,
  capacity pgquota.amount,
  overage pgquota.amount,
  ceiling bigint generated always as (
CASE
    WHEN (overage IS NOT NULL) THEN ((capacity)::bigint + LEAST((overage)::bigint, '4611686018427387903'::bigint))
    ELSE NULL::bigint
END) stored,
  mode text collate "C" not null,
  billed boolean not null,
  thresholds integer[] default '{}'::integer[] not null,
  calm bigint generated always as ((LEAST((capacity)::numeric, (ceil((((capacity)::numeric * (thresholds[1])::numeric) / (100)::numeric)) - (1)::numeric), ('9223372036854775807'::bigint)::numeric))::bigint) stored,
  leads boolean default false not null,
  alone boolean default false not null,
  shared boolean default false not null,
  message text,
  constraint plan_limit_check CHECK ((until_at >= from_at)),
  constraint plan_limit_level_check CHECK (((level >= 0) AND (level <= 8))),
  constraint plan_limit_message_check CHECK (((length(message) <= 1000) AND (message !~ '\{(?!(limit|meter|scope|capacity|used|held|remaining|asked|resets_at)\})[^{}]*\}'::text))),
  constraint plan_limit_mode_check CHECK ((mode = ANY (ARRAY['enforce'::text, 'observe'::text, 'off'::text]))),
  constraint plan_limit_ord_check CHECK ((ord > 0)),
  constraint plan_limit_per_check CHECK (pgquota.is_per(per)),
  constraint plan_limit_pkey PRIMARY KEY (plan, version, ord),
  constraint plan_limit_plan_version_fkey FOREIGN KEY (plan, version) REFERENCES pgquota.plan_version(plan, version),
  constraint plan_limit_plan_version_name_key UNIQUE (plan, version, name),
  constraint plan_limit_thresholds_check CHECK (((cardinality(thresholds) <= 16) AND (0 < ALL (thresholds)) AND (1000 >= ALL (thresholds))))
); -- owner pgquota_owner
comment on column pgquota.plan_limit.until_at is 'when the next version takes over; the same as from_at if it never was in force';
grant select on pgquota.plan_limit to pgquota_admin;
grant select on pgquota.plan_limit to pgquota_app;

CREATE INDEX plan_limit_in_force ON pgquota.plan_limit USING btree (plan, until_at);

CREATE TRIGGER keep BEFORE DELETE OR UPDATE ON pgquota.plan_limit FOR EACH ROW EXECUTE FUNCTION pgquota.keep_version();

create table pgquota.plan_version (
  plan pgquota.name not null,
  version integer not null,
  from_at timestamp with time zone not null,
  published_at timestamp with time zone default pgquota.clock() not null,
  constraint plan_version_pkey PRIMARY KEY (plan, version),
  constraint plan_version_version_check CHECK ((version > 0))
); -- owner pgquota_owner
grant select on pgquota.plan_version to pgquota_admin;
grant select on pgquota.plan_version to pgquota_app;

CREATE CONSTRAINT TRIGGER audit AFTER INSERT ON pgquota.plan_version DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pgquota.audit_version();

CREATE TRIGGER keep BEFORE DELETE OR UPDATE ON pgquota.plan_version FOR EACH ROW EXECUTE FUNCTION pgquota.keep_version();

create table pgquota.setting (
  only_row boolean default true not null,
  default_plan pgquota.name,
  default_zone text collate "C" default 'UTC'::text not null,
  key_retention interval default '35 days'::interval not null,
  ledger_retention interval default '400 days'::interval not null,
  window_retention interval default '7 days'::interval not null,
  longest_hold interval default '1 day'::interval not null,
  constraint setting_key_retention_check CHECK ((key_retention > '00:00:00'::interval)),
  constraint setting_ledger_retention_check CHECK ((ledger_retention > '31 days'::interval)),
  constraint setting_longest_hold_check CHECK ((longest_hold > '00:00:00'::interval)),
  constraint setting_only_row_check CHECK (only_row),
  constraint setting_pkey PRIMARY KEY (only_row),
  constraint setting_window_retention_check CHECK ((window_retention > '00:00:00'::interval))
); -- owner pgquota_owner
grant select on pgquota.setting to pgquota_app;
grant select, update on pgquota.setting to pgquota_admin;

CREATE TRIGGER audit AFTER INSERT OR DELETE OR UPDATE ON pgquota.setting FOR EACH ROW EXECUTE FUNCTION pgquota.audit_row();

CREATE TRIGGER checks BEFORE UPDATE ON pgquota.setting FOR EACH ROW EXECUTE FUNCTION pgquota.check_settings();

create table pgquota.tenant (
  tenant text collate "C" not null,
  plan pgquota.name,
  zone text collate "C",
  anchor timestamp without time zone default '2001-01-01 00:00:00'::timestamp without time zone not null,
  adjusted boolean default false not null,
  constraint tenant_anchor CHECK (((anchor >= '1900-01-01 00:00:00'::timestamp without time zone) AND (anchor < '2201-01-01 00:00:00'::timestamp without time zone))),
  constraint tenant_pkey PRIMARY KEY (tenant),
  constraint tenant_tenant_check CHECK ((pgquota.is_scope(tenant) AND (POSITION(('/'::text) IN (tenant)) = 0)))
); -- owner pgquota_owner
comment on table pgquota.tenant is 'Settings of a tenant; without a row, and where a column is null, the defaults of pgquota.setting hold';
comment on column pgquota.tenant.adjusted is 'there are overrides or boosts, kept by a trigger: who has none need not look for them';
grant insert, select on pgquota.tenant to pgquota_admin;
grant select on pgquota.tenant to pgquota_app;
grant update on pgquota.tenant (anchor) to pgquota_admin;
grant update on pgquota.tenant (plan) to pgquota_admin;
grant update on pgquota.tenant (zone) to pgquota_admin;

CREATE TRIGGER audit AFTER INSERT OR DELETE OR UPDATE ON pgquota.tenant FOR EACH ROW EXECUTE FUNCTION pgquota.audit_row();

CREATE TRIGGER checks BEFORE INSERT OR UPDATE ON pgquota.tenant FOR EACH ROW EXECUTE FUNCTION pgquota.check_settings();

create view pgquota.alert_line as
 SELECT a.tenant,
     a.at,
     c.scope,
     a.limit_name,
     c.meter,
     NULLIF(c.start_at, '-infinity'::timestamp with time zone) AS start_at,
     NULLIF(c.end_at, 'infinity'::timestamp with time zone) AS end_at,
     a.percent,
     a.capacity,
     a.used,
     a.operation
    FROM (pgquota.alert a
      JOIN pgquota.counter c ON (((c.tenant = a.tenant) AND (c.id = a.counter)))); -- owner pgquota_owner
comment on view pgquota.alert_line is 'Thresholds that were reached: once for a limit, window, per cent and capacity';
comment on column pgquota.alert_line.tenant is 'who is billed';
comment on column pgquota.alert_line.at is 'the database''s time of the charge that reached it';
comment on column pgquota.alert_line.scope is 'whose limit: the tenant, or a path below it';
comment on column pgquota.alert_line.limit_name is 'the limit''s name in the plan';
comment on column pgquota.alert_line.meter is 'what it counts';
comment on column pgquota.alert_line.start_at is 'where the window begins; null for a lifetime';
comment on column pgquota.alert_line.end_at is 'where the window ends; null for a lifetime';
comment on column pgquota.alert_line.percent is 'the threshold, per cent of the capacity';
comment on column pgquota.alert_line.capacity is 'the capacity then';
comment on column pgquota.alert_line.used is 'units used then';
comment on column pgquota.alert_line.operation is 'the operation that reached it';
grant select on pgquota.alert_line to pgquota_admin;
grant select on pgquota.alert_line to pgquota_report;

create view pgquota.balance as
 SELECT s.tenant,
     s.scope,
     b.name AS limit_name,
     b.meter,
     b.mode,
     b.per,
     b.capacity,
     b.used,
     b.held,
     b.remaining,
     GREATEST((0)::bigint, ((b.used - b.capacity) + b.held)) AS over,
     NULLIF(b.start_at, '-infinity'::timestamp with time zone) AS start_at,
     NULLIF(b.end_at, 'infinity'::timestamp with time zone) AS resets_at,
     (COALESCE(t.plan, z.default_plan))::text AS plan
    FROM (((( SELECT t_1.tenant,
             t_1.tenant AS scope
            FROM pgquota.tenant t_1
         UNION
          SELECT c.tenant,
             p.scope
            FROM (( SELECT DISTINCT c_1.tenant,
                     c_1.scope
                    FROM pgquota.counter c_1) c
              CROSS JOIN LATERAL unnest(ARRAY[c.tenant, c.scope]) p(scope))
         UNION
          SELECT a.tenant,
             a.scope
            FROM pgquota.adjustment a) s
      CROSS JOIN pgquota.setting z)
      LEFT JOIN pgquota.tenant t ON ((t.tenant = s.tenant)))
      CROSS JOIN LATERAL pgquota.balances(s.scope) b(name, meter, scope, mode, per, capacity, used, held, remaining, start_at, end_at))
   WHERE (b.scope = s.scope); -- owner pgquota_owner
comment on view pgquota.balance is 'Every limit that applies to every known scope, at this moment. Known are tenants with settings, scopes that have used something, and scopes with an override or boost. Ask for a tenant; all of them take long';
comment on column pgquota.balance.tenant is 'who is billed';
comment on column pgquota.balance.scope is 'whose limit: the tenant, or a path below it';
comment on column pgquota.balance.limit_name is 'the limit''s name in the plan';
comment on column pgquota.balance.meter is 'what it counts';
comment on column pgquota.balance.mode is 'enforce, observe (reports, never refuses) or off (counts nothing)';
comment on column pgquota.balance.per is 'its window: lifetime, hour to year, fixed:SECONDS or aligned:SECONDS';
comment on column pgquota.balance.capacity is 'units a window, overrides and boosts included; null: unlimited';
comment on column pgquota.balance.used is 'units used in the running window';
comment on column pgquota.balance.held is 'units that open holds take of it, expired ones not counted';
comment on column pgquota.balance.remaining is 'what is neither used nor held, at least 0; null: unlimited';
comment on column pgquota.balance.over is 'units used and held above the capacity';
comment on column pgquota.balance.start_at is 'where the window begins; null for a lifetime';
comment on column pgquota.balance.resets_at is 'where the window ends and the count begins anew; null for a lifetime';
comment on column pgquota.balance.plan is 'the tenant''s plan, its own or the default one';
grant select on pgquota.balance to pgquota_admin;
grant select on pgquota.balance to pgquota_app;
grant select on pgquota.balance to pgquota_report;

create view pgquota.ledger_line as
 SELECT l.tenant,
     l.at,
     l.operation,
     l.verb,
     c.scope,
     c.meter,
     c.per,
     NULLIF(c.start_at, '-infinity'::timestamp with time zone) AS start_at,
     NULLIF(c.end_at, 'infinity'::timestamp with time zone) AS end_at,
     l.entry,
     l.amount,
     l.used_after,
     l.ref
    FROM (pgquota.ledger l
      LEFT JOIN pgquota.counter c ON (((c.tenant = l.tenant) AND (c.id = l.counter)))); -- owner pgquota_owner
comment on view pgquota.ledger_line is 'Every change of a billed counter. Ask for a span of time (at): the ledger is kept in the order of time';
comment on column pgquota.ledger_line.tenant is 'who is billed';
comment on column pgquota.ledger_line.at is 'the database''s time of the change';
comment on column pgquota.ledger_line.operation is 'the operation; entries of one operation share it';
comment on column pgquota.ledger_line.verb is 'consume, consume_up_to, record, settle, refund, reset or repair';
comment on column pgquota.ledger_line.scope is 'whose counter: the tenant, or a path below it';
comment on column pgquota.ledger_line.meter is 'what was counted';
comment on column pgquota.ledger_line.per is 'the kind of the counter''s window';
comment on column pgquota.ledger_line.start_at is 'where the counter''s window begins; null for a lifetime';
comment on column pgquota.ledger_line.end_at is 'where the counter''s window ends; null for a lifetime';
comment on column pgquota.ledger_line.entry is 'number within the counter''s window, from 1 without a gap';
comment on column pgquota.ledger_line.amount is 'units; negative gives back';
comment on column pgquota.ledger_line.used_after is 'the counter after it';
comment on column pgquota.ledger_line.ref is 'the hold that was settled, or the operation that was refunded';
grant select on pgquota.ledger_line to pgquota_admin;
grant select on pgquota.ledger_line to pgquota_report;

create view pgquota.usage as
 SELECT c.tenant,
     c.scope,
     c.meter,
     c.per,
     NULLIF(c.start_at, '-infinity'::timestamp with time zone) AS start_at,
     NULLIF(c.end_at, 'infinity'::timestamp with time zone) AS end_at,
     (c.end_at <= now.at) AS closed,
     c.used,
         CASE
             WHEN ((c.held)::bigint = 0) THEN (0)::bigint
             ELSE ((c.held)::bigint - COALESCE(( SELECT (sum((i.amount)::bigint))::bigint AS sum
                FROM pgquota.hold_item i
               WHERE ((i.tenant = c.tenant) AND (i.counter = c.id) AND (i.expires_at <= now.at))), (0)::bigint))
         END AS held
    FROM (pgquota.counter c
      CROSS JOIN ( SELECT pgquota.clock() AS at) now); -- owner pgquota_owner
comment on view pgquota.usage is 'A row for each window in which something was used or held, closed ones too. Those of limits that are not billed are kept for the setting window_retention, others for ever';
comment on column pgquota.usage.tenant is 'who is billed';
comment on column pgquota.usage.scope is 'who used: the tenant, or a path below it';
comment on column pgquota.usage.meter is 'what was counted';
comment on column pgquota.usage.per is 'the kind of window: lifetime, hour to year, fixed:SECONDS or aligned:SECONDS';
comment on column pgquota.usage.start_at is 'where the window begins; null for a lifetime';
comment on column pgquota.usage.end_at is 'where the window ends; null for a lifetime';
comment on column pgquota.usage.closed is 'the window has ended; late settlements and refunds may still change it';
comment on column pgquota.usage.used is 'units used';
comment on column pgquota.usage.held is 'units that open holds take, expired ones not counted';
grant select on pgquota.usage to pgquota_admin;
grant select on pgquota.usage to pgquota_report;

CREATE OR REPLACE FUNCTION pgquota.add_ledger_partitions(p_from timestamp with time zone, p_months integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '200ms'
 SET "DateStyle" TO 'ISO'
AS $function$
declare
  v_month timestamp; -- in UTC
  v_name text;
  v_made int := 0;
begin
  for i in 0 .. p_months - 1 loop
    v_month := date_trunc('month', p_from at time zone 'UTC') + make_interval(months => i);
    v_name := 'ledger_' || to_char(v_month, 'YYYY_MM');
    if to_regclass('pgquota.' || v_name) is null
       and not exists (select from pgquota.ledger_rest
                        where at >= v_month at time zone 'UTC'
                          and at < (v_month + interval '1 month') at time zone 'UTC') then
      execute format('create table pgquota.%I partition of pgquota.ledger for values from (%L) to (%L)',
                     v_name, v_month at time zone 'UTC', (v_month + interval '1 month') at time zone 'UTC');
      v_made := v_made + 1;
    end if;
  end loop;
  return v_made;
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.adjusted(p_scope text, p_level integer, p_limit text, p_capacity bigint, p_now timestamp with time zone)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE
AS $function$
declare
  v_overrides bigint[];
  v_boost numeric;
begin
  select array_agg(a.capacity::bigint order by length(a.scope) desc, a.from_at desc, a.made_at desc)
         filter (where a.kind = 'override'),
         sum(a.capacity) filter (where a.kind = 'boost')
    into v_overrides, v_boost
    from pgquota.adjustment a
   where a.tenant = split_part(p_scope, '/', 1) and a.limit_name = p_limit
     and a.from_at <= p_now and a.until_at > p_now
     and starts_with(pgquota.cut(p_scope, p_level) || '/', a.scope || '/');
  if v_overrides is not null then
    p_capacity := v_overrides[1];
  end if;
  return case when p_capacity is not null -- least() passes over a null, which says unlimited
              then least(4611686018427387904, p_capacity + coalesce(v_boost, 0)) end;
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.apply(p_verb text, p_scope text, p_key text, p_ref uuid, p_ttl bigint, p_meter text[], p_amount bigint[], p_times integer DEFAULT 1, p_patience integer DEFAULT NULL::integer)
 RETURNS SETOF pgquota.answer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
 SET join_collapse_limit TO '1'
 SET lock_timeout TO '5s'
AS $function$
declare
  v_tenant constant text := split_part(p_scope, '/', 1);
  v_now timestamptz := pgquota.clock();
  v_at timestamptz;
  v_op uuid;
  v_state text;            -- what becomes of the hold
  v_expires timestamptz;   -- and when
  v_parts pgquota.part[];  -- in the order of locks
  v_part pgquota.part;
  v_plain boolean;
  v_denied boolean;
  v_done int := 0;         -- parts that are charged
  v_entry bigint;
  v_last timestamptz;
  v_again boolean := false; -- its counters tell different times
  v_loud boolean := false;  -- a threshold may have been reached
  v_alerts pgquota.alert[];
  v_answers pgquota.answer[];
  v_answer pgquota.answer;
begin
  if p_patience is not null then
    perform set_config('lock_timeout', p_patience::text, true);
  end if;
  <<short>>
  begin
    if p_verb in ('settle', 'release') then
      exit short when p_key is not null or p_times <> 1;
      v_state := case p_verb when 'settle' then 'settled' else 'released' end;
      select array_agg(k order by (k.answer).scope collate "C", (k.answer).meter collate "C",
                                  (k.answer).per collate "C", (k.answer).start_at),
             bool_and(k.plain is true) and count(*) = min(k.whole), false
        into v_parts, v_plain, v_denied
        from pgquota.look_at_hold(p_verb, p_scope, p_ref, p_meter, p_amount, v_state, v_now) k;
    else
      exit short when p_ref is not null or (p_verb in ('consume', 'record', 'check', 'reserve')) is not true
        or (p_times = 1 or p_times > 1 and p_key is null and p_verb in ('consume', 'record')) is not true;
      if p_verb = 'reserve' then
        v_state := 'open';
        select v_now + least(p_ttl * interval '1 millisecond', pgquota.exactly(z.longest_hold))
          into v_expires from pgquota.setting z where p_ttl > 0;
        exit short when not found;
      end if;
      if cardinality(p_meter) = 1 then
        select * into v_part
          from pgquota.look(p_verb, p_scope, p_meter, p_amount, p_times, v_state, v_expires, v_now) k
         where k.alone;
      end if;
      if v_part.alone then
        v_parts := array[v_part];
        v_plain := v_part.plain and v_part.whole = 1;
        v_denied := v_part.denied;
      else
        select array_agg(k order by (k.answer).scope collate "C", (k.answer).meter collate "C",
                                    (k.answer).per collate "C"),
               bool_and(k.plain is true) and count(*) filter (where k.leads) = min(k.whole), bool_or(k.denied)
          into v_parts, v_plain, v_denied
          from pgquota.look(p_verb, p_scope, p_meter, p_amount, p_times, v_state, v_expires, v_now) k;
      end if;
    end if;
    exit short when v_plain is not true
      -- of counters only is known that their scopes are proper: what else would be kept is looked at here
      or (p_key is not null or v_state is not null)
        and (not pgquota.is_scope(p_scope)
             or cardinality(p_meter) > 1 and not pgquota.is_sorted(p_meter));
    -- After the look at the counters: a first answer that filled them is then seen as an answer.
    if p_key is not null then
      select not exists (select from pgquota.operation_key k where k.tenant = v_tenant and k.key = p_key)
             and (pgquota.key_time(p_key) is null or pgquota.key_time(p_key) >= pgquota.keys_from(v_now))
        into v_plain;
      exit short when not v_plain;
    end if;

    if v_denied or p_verb = 'check' then
      -- A stricter caller looks through an old snapshot: a lock tells whether its denial still stands.
      exit short when v_denied and current_setting('transaction_isolation') <> 'read committed';
      foreach v_part in array v_parts loop
        v_answer := v_part.answer;
        if v_denied then
          v_answer.status := 'denied';
          v_answer.granted := 0;
          v_answer.hold_state := null;
          v_answer.expires_at := null;
        end if;
        return next v_answer;
      end loop;
      return;
    end if;

    foreach v_part in array v_parts loop
      v_answer := v_part.answer;
      -- The heart. If somebody else was at the counter, the guard is checked on its newest version.
      update pgquota.counter c
         set used = c.used + v_part.du, held = c.held + v_part.dh, entries = c.entries + v_part.entries,
             last_at = greatest(c.last_at, v_now),
             expiry_at = case when c.held + v_part.dh = 0 then 'infinity'
                              else least(c.expiry_at, v_answer.expires_at) end
       where c.tenant = v_tenant and c.id = v_answer.counter and c.expiry_at > v_now
         and (c.current and c.end_at > pgquota.clock() or v_part.dh < 0) and -v_part.dh <= c.held
         and v_part.du + v_part.dh <= v_part.room - c.used - c.held
      -- fits: what is too much by now is told below; others may have given back what was too much
      returning c.used, c.held, c.entries, c.last_at, true
           into v_answer.used, v_answer.held, v_entry, v_last, v_answer.fits;
      exit short when not found;
      v_done := v_done + 1;
      -- If others were at the counter since the look, this operation comes after theirs.
      if v_op is null then
        v_at := v_last;
        v_op := pgquota.operation_id(v_at);
      elsif v_last <> v_at then
        v_again := true;
        v_at := greatest(v_at, v_last);
      end if;
      v_answer.at := v_at;
      v_answer.operation := v_op;
      if v_answer.used > v_part.calm - v_answer.held then
        v_loud := true;
        v_answer.overage := greatest(0, least(
            (v_part.du + v_part.dh) / p_times,
            coalesce(v_answer.used - v_answer.capacity + v_answer.held, 0)));
        v_answer.fits := v_part.du + v_part.dh <= 0
                         or coalesce(v_answer.used - v_answer.ceiling + v_answer.held <= 0, true);
      elsif v_state is null and v_part.entries = 0 and p_key is null and cardinality(v_parts) = 1 then
        return next v_answer; -- nothing but the counter is written
        return;
      end if;
      if v_part.entries > 0 then
        v_answer.entry := v_entry;
      end if;
      v_answers[v_done] := v_answer;
    end loop;

    if v_again then
      v_op := pgquota.operation_id(v_at);
      for g in 1 .. v_done loop
        v_answers[g].at := v_at;
        v_answers[g].operation := v_op;
      end loop;
      update pgquota.counter c set last_at = v_at
        from unnest(v_answers) a
       where c.tenant = v_tenant and c.id = a.counter and c.last_at < v_at;
    end if;
    if v_loud then
      for g in 1 .. v_done loop
        v_answers[g].crossed := case when v_parts[g].du > 0 then v_parts[g].thresholds else '{}' end;
      end loop;
      select r.* into v_answers, v_alerts from pgquota.reached(v_answers) r;
    end if;
    if p_key is not null then
      insert into pgquota.operation_key (tenant, key, verb, scope, ref, ttl, meters, amounts, at, answers)
      values (v_tenant, p_key, p_verb, p_scope, null, p_ttl, p_meter, p_amount, v_at, v_answers)
      on conflict do nothing;
      exit short when not found;
    end if;
    if v_state = 'open' then
      with i as (
        insert into pgquota.hold_item (tenant, counter, expires_at, hold, amount)
        select v_tenant, a.counter, v_expires, v_op, a.granted from unnest(v_answers) a)
      insert into pgquota.hold (tenant, id, scope, meters, amounts, counters, counter_meters, taken_at,
                                expires_at)
      select v_tenant, v_op, p_scope, p_meter, p_amount, array_agg(a.counter), array_agg(a.meter), v_at,
             v_expires
        from unnest(v_answers) a;
    elsif v_state is not null then
      -- Under the locks of its counters a hold stands still: now it tells whether it is still
      -- open, and has not been extended.
      with h as (
        update pgquota.hold h set state = v_state, answers = v_answers
         where h.tenant = v_tenant and h.id = p_ref and h.state = 'open'
           and h.expires_at = v_answer.expires_at and h.amounts = v_part.held
        returning h.counters)
      delete from pgquota.hold_item i
       where i.tenant = v_tenant and i.counter = any ((select h.counters from h)::bigint[])
         and i.expires_at = v_answer.expires_at and i.hold = p_ref;
      exit short when not found;
    end if;
    foreach v_answer in array v_answers loop
      if v_answer.entry is not null then
        insert into pgquota.ledger (tenant, at, operation, counter, entry, verb, amount, used_after, ref)
        select v_tenant, v_at, case n.more when p_times - 1 then v_op
                                           else pgquota.next_operation(v_op, p_times - n.more - 1) end,
               v_answer.counter, v_answer.entry - n.more, p_verb, v_answer.granted,
               v_answer.used - n.more * v_answer.granted, p_ref
          from generate_series(p_times - 1, 0, -1) n (more);
      end if;
      return next v_answer;
    end loop;
    if v_loud then
      insert into pgquota.alert select a.* from unnest(v_alerts) a;
    end if;
    return;
  end;
  if v_done > 0 then
    -- While this call waited, a limit filled up, the hold ended, or a rival's answer to the key was
    -- committed. Take back what nobody has seen yet, and decide under locks.
    update pgquota.counter c
       set used = c.used - p.du, held = c.held - p.dh, entries = c.entries - p.entries,
           expiry_at = least(c.expiry_at, case when p.dh < 0 then v_now end) -- to be found out
      from unnest(v_parts[:v_done]) p
     where c.tenant = v_tenant and c.id = (p.answer).counter;
  end if;
  return query
    select * from pgquota.apply(array[p_verb], array[p_scope], array[p_key], array[p_ref], array[p_ttl],
                                array_fill(1, array[coalesce(cardinality(p_meter), 0)]), p_meter, p_amount,
                                array[p_times], p_patience);
end $function$; -- owner pgquota_owner
grant execute on function pgquota.apply(p_verb text, p_scope text, p_key text, p_ref uuid, p_ttl bigint, p_meter text[], p_amount bigint[], p_times integer, p_patience integer) to pgquota_admin;
grant execute on function pgquota.apply(p_verb text, p_scope text, p_key text, p_ref uuid, p_ttl bigint, p_meter text[], p_amount bigint[], p_times integer, p_patience integer) to pgquota_app;

CREATE OR REPLACE FUNCTION pgquota.apply(p_verb text[], p_scope text[], p_key text[], p_ref uuid[], p_ttl bigint[], p_change integer[], p_meter text[], p_amount bigint[], p_times integer[], p_patience integer)
 RETURNS SETOF pgquota.answer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
 SET join_collapse_limit TO '1'
 SET lock_timeout TO '5s'
AS $function$
declare
  c_most constant bigint := 9223372036854775807;
  v_n constant int := coalesce(cardinality(p_verb), 0);
  v_calls constant int[] := coalesce(p_times, array_fill(1, array[v_n]));
  v_keyed constant boolean := cardinality(array_remove(p_key, null)) > 0;
  v_held constant boolean := p_verb && '{settle,release,extend}';
  v_keys text[];        -- tenant/key of each change
  v_twice boolean := false; -- a key comes more than once
  v_scopes text[];      -- null for a change that names a hold or an operation
  v_inputs int;         -- amounts that look for a limit
  i_from int[];         -- the amounts of change i are p_amount[i_from[i] .. i_to[i]]
  i_to int[];
  i_take bigint[];      -- of each amount: what consume_up_to takes of it
  v_now timestamptz;
  v_at timestamptz;
  v_low timestamptz;
  v_high timestamptz;
  -- of each change
  v_status text[];      -- null while it is as granted or denied as v_times says
  v_detail text[];
  v_times int[];        -- how many of its calls are granted
  v_op uuid[];
  v_was timestamptz[];  -- of a hold: when it expired before this call
  v_expires timestamptz[];
  v_state text[];       -- what becomes of the hold
  v_late boolean[];
  v_wanted boolean[];   -- its hold is to be changed
  -- of each leg, in the order of changes and of the plan
  v_legs pgquota.leg[];
  g_slot int[];
  g_charges boolean[];  -- false where another limit of the same change charges the counter already
  g_du bigint[];
  g_dh bigint[];
  -- of each counter, its slot: they are in the order of locks
  s_tenant text[];
  s_id bigint[];
  s_used bigint[];
  s_held bigint[];
  s_tight boolean[];    -- not all that is asked of it fits, or what is used tells what a refund gives
  s_full boolean[];     -- the same, if for that something is denied, or less taken than asked
  s_du bigint[];        -- what this call adds
  s_dh bigint[];
  s_de int[];
  s_up bigint[];        -- the same without what it gives back, which may come after what it takes
  s_until timestamptz[]; -- when the first of the holds taken or extended here expires
  s_room bigint[];      -- what used and held may come to
  s_runs boolean[];     -- its window has to be the running one
  s_place int[];        -- its place among those that are written
  -- of each counter that was written
  u_place int[];
  u_used bigint[];
  u_held bigint[];
  u_entries bigint[];
  u_last timestamptz[];
  l_tenant text[];      -- the counters that are locked
  l_id bigint[];
  l_newest boolean[];   -- whether it is needed as the newest of its windows
  m_tenant text[];      -- those that must be, to open windows
  m_id bigint[];
  m_newest boolean[];
  v_soon boolean := false; -- a window may end while a lock is waited for, and then the next one is needed
  v_reap boolean := false;
  v_opened bigint[] := '{}'; -- counters
  v_write boolean;
  v_done boolean;
  v_missing boolean;
  v_locked boolean;
  v_expired boolean;
  v_denied boolean;
  v_less boolean;       -- one takes less than it asked for
  v_partial boolean;    -- of equal calls some are granted and some denied
  v_loud boolean;       -- a threshold may have been reached
  v_tight boolean;
  v_deny boolean;
  v_found int;          -- inputs that found a limit
  v_counted int;        -- changes that a limit counts
  v_proper int;         -- changes whose scope is that of a counter, or names none
  v_full text;          -- the limit whose counter cannot hold so much
  v_verb text;
  v_rows int;
  v_count int;
  v_slot int;
  v_fit bigint;
  v_seen record;
  v_leg pgquota.leg;
  v_base uuid;
  v_answers pgquota.answer[];
  v_answer pgquota.answer;
  v_alerts pgquota.alert[];
begin
  if p_patience is not null then
    perform set_config('lock_timeout', p_patience::text, true);
  end if;
  -- from 1 on, and in one dimension, as loops go
  if ('[1:' || v_n || ']' = all (array[
         array_dims(p_verb), array_dims(p_scope), array_dims(p_key), array_dims(p_ref), array_dims(p_ttl),
         array_dims(v_calls)])) is not true
     or array_position(p_verb, null) is not null or array_position(p_scope, null) is not null
     or not p_verb <@ '{consume,consume_up_to,record,reserve,check,settle,release,extend,refund}'
     or (cardinality(p_change) = all (array[cardinality(p_meter), cardinality(p_amount)])) is not true
     or ('[1:' || cardinality(p_change) || ']' <> any (array[array_dims(p_change), array_dims(p_meter),
                                                             array_dims(p_amount)])) is true
     or array_position(p_meter, null) is not null or array_position(p_amount, null) is not null
     or 0 > any (p_amount) or 4611686018427387904 < any (p_amount)
     or array_position(v_calls, null) is not null or 1 > any (v_calls)
     -- each change is decided on what was before the list
     or (select count(*) <> count(distinct r) from unnest(array_remove(p_ref, null)) r) then
    raise exception 'malformed call of pgquota.apply' using errcode = 'PQ001',
      hint = 'one element of each array a change; amounts from 0 to 2^62, each with its change and meter; '
             'no hold or operation twice';
  end if;
  for v_seen in
      select q.ord, q.verb,
             case when (q.ref is null) = (q.verb in ('settle', 'release', 'extend', 'refund'))
                    or q.verb in ('reserve', 'extend') and (q.ttl > 0) is not true
                  then case when q.ref is null and q.verb <> 'reserve' then 'a hold or operation'
                            when q.verb in ('reserve', 'extend') then 'a time to live'
                            else 'no hold or operation' end
                  else 'to be sent once' end as needs
        from unnest(p_verb, p_key, p_ref, p_ttl, v_calls) with ordinality q (verb, key, ref, ttl, times, ord)
       where (q.ref is null) = (q.verb in ('settle', 'release', 'extend', 'refund'))
          or q.verb in ('reserve', 'extend') and (q.ttl > 0) is not true
          or q.times > 1 and (q.key is not null or q.verb not in ('consume', 'record')) loop
    raise exception 'change %: % needs %', v_seen.ord, v_seen.verb, v_seen.needs using errcode = 'PQ001';
  end loop;
  for v_seen in
      select q.ord, q.change, q.meter,
             q.change is null or q.change not between 1 and v_n or q.change < p_change[q.ord - 1]
             or q.amount > 4611686018427387904 / v_calls[q.change] as wrong
        from unnest(p_change, p_meter, p_amount) with ordinality q (change, meter, amount, ord)
       where q.change is null or q.change not between 1 and v_n or q.change < p_change[q.ord - 1]
          or q.amount > 4611686018427387904 / v_calls[q.change]
          or q.change = p_change[q.ord - 1] and q.meter <= p_meter[q.ord - 1] collate "C" loop
    if v_seen.wrong then
      raise exception 'amount % belongs to change % of %', v_seen.ord, v_seen.change, v_n
        using errcode = 'PQ001',
        hint = 'amounts are listed in the order of their changes, numbered from 1; up to 2^62 in all';
    end if;
    raise exception 'change % names meter "%" twice or out of order', v_seen.change, v_seen.meter
      using errcode = 'PQ001', hint = 'the meters of a change are sorted, each named once';
  end loop;
  v_scopes := p_scope;
  v_inputs := cardinality(p_change);
  if cardinality(array_remove(p_ref, null)) > 0 then
    select array_agg(case when q.ref is null then q.scope end order by q.ord) into v_scopes
      from unnest(p_scope, p_ref) with ordinality q (scope, ref, ord);
    select count(*) into v_inputs from unnest(p_change) c where p_ref[c] is null;
  end if;
  if v_keyed or p_verb && '{reserve,settle,release,extend,refund}' then
    i_from := array_fill(1, array[v_n]);
    i_to := array_fill(0, array[v_n]);
    for j in 1 .. cardinality(p_change) loop
      if i_to[p_change[j]] = 0 then
        i_from[p_change[j]] := j;
      end if;
      i_to[p_change[j]] := j;
    end loop;
  end if;
  if v_keyed then
    select array_agg(split_part(q.scope, '/', 1) || '/' || q.key order by q.ord),
           count(q.key) > count(distinct split_part(q.scope, '/', 1) || '/' || q.key)
      into v_keys, v_twice
      from unnest(p_scope, p_key) with ordinality q (scope, key, ord);
  end if;

  loop
    if l_id is not null then
      if v_soon then
        select coalesce(array_agg(k.tenant), '{}'),
               coalesce(array_agg(pgquota.lock_counter(k.tenant, k.id, k.newest)), '{}'),
               array_agg(k.newest)
          into l_tenant, l_id, l_newest
          from (select k.* from unnest(l_tenant, l_id, l_newest) k (tenant, id, newest)
                  join pgquota.counter c on c.tenant = k.tenant and c.id = k.id
                 order by c.scope, c.meter, c.per, c.start_at) k;
      else
        perform from (select c.id from unnest(l_tenant, l_id) k (tenant, id)
                        join pgquota.counter c on c.tenant = k.tenant and c.id = k.id
                       order by c.scope, c.meter, c.per, c.start_at for no key update of c) l;
      end if;
      if v_reap then
        perform pgquota.reap(l_tenant, l_id, pgquota.clock());
      end if;
    end if;
    if p_verb && '{settle,release,extend}' then
      -- of a limit that counts nothing: no counter's lock stands for the hold's
      perform from (select h.id from unnest(p_scope, p_ref) q (tenant, ref)
                      join pgquota.hold h on h.tenant = q.tenant and h.id = q.ref and h.counters = '{}'
                     order by h.id for no key update of h) l;
    end if;
    v_now := pgquota.clock();
    v_times := v_calls;
    v_status := array_fill(null::text, array[v_n]);
    v_detail := v_status;
    v_state := v_status;
    v_expires := array_fill(null::timestamptz, array[v_n]);
    v_was := v_expires;
    v_late := array_fill(false, array[v_n]);
    v_op := null;
    v_denied := false;
    v_partial := false;
    v_less := false;
    s_full := null;

    -- Keys first, counters after: a first answer that filled the counter is then seen as an answer.
    if v_keyed then
      for v_seen in
          select * from pgquota.seen_keys(p_verb, p_scope, p_key, p_ref, p_ttl, i_from, i_to, p_meter,
                                          p_amount, v_now) loop
        v_status[v_seen.change] := v_seen.status;
        v_detail[v_seen.change] := v_seen.detail;
        v_times[v_seen.change] := 0;
      end loop;
    end if;
    if v_held then
      v_wanted := array_fill(false, array[v_n]);
      for v_seen in
          select q.change, h.state, h.expires_at, h.taken_at,
                 h.state = 'expired' or h.expires_at <= v_now as late,
                 case when h.id is null then 'unknown_hold'
                      when q.verb = 'extend'
                           and (h.state <> 'open' or h.expires_at <= v_now and l_id is not null)
                      then 'hold_ended'
                      -- that its time is over is told under locks: somebody may just be extending it
                      when q.verb = 'extend' and h.expires_at <= v_now then null
                      when h.answers is not null then 'ended'
                      when not coalesce(p_meter[i_from[q.change]:i_to[q.change]], '{}') <@ h.meters
                      then 'meter_not_held'
                      -- retention has dropped a window that it was taken in
                      when cardinality(h.counters) > (select count(*) from unnest(h.counters) u (counter)
                                                        join pgquota.counter c
                                                          on c.tenant = h.tenant and c.id = u.counter)
                      then 'unknown_hold' end as status,
                 case when q.verb = 'extend' and h.state <> 'open' then h.state
                      when q.verb = 'extend' and h.expires_at <= v_now and l_id is not null then 'expired'
                      else (select m from unnest(p_meter[i_from[q.change]:i_to[q.change]]) m
                             where m <> all (h.meters) limit 1) end as detail
            from unnest(p_verb, p_scope, p_ref) with ordinality q (verb, tenant, ref, change)
            left join pgquota.hold h on h.tenant = q.tenant and h.id = q.ref
           where q.verb in ('settle', 'release', 'extend') loop
        continue when v_status[v_seen.change] is not null;
        if v_seen.status is not null then
          v_status[v_seen.change] := v_seen.status;
          v_detail[v_seen.change] := v_seen.detail;
          v_times[v_seen.change] := 0;
          continue;
        end if;
        v_verb := p_verb[v_seen.change];
        v_wanted[v_seen.change] := true;
        v_late[v_seen.change] := v_seen.late;
        v_was[v_seen.change] := v_seen.expires_at;
        v_expires[v_seen.change] := v_seen.expires_at;
        v_state[v_seen.change] := case when v_verb = 'settle' then 'settled'
                                       when v_verb = 'extend' then 'open'
                                       when v_seen.late then 'expired' else 'released' end;
        if v_verb = 'extend' then
          v_expires[v_seen.change] := greatest(v_seen.expires_at, least(
              v_now + p_ttl[v_seen.change] * interval '1 millisecond',
              v_seen.taken_at + (select pgquota.exactly(z.longest_hold) from pgquota.setting z)));
        end if;
      end loop;
    end if;
    if p_verb && '{reserve}' then
      for v_seen in
          select q.change, v_now + least(q.ttl * interval '1 millisecond',
                                         pgquota.exactly(z.longest_hold)) as expires
            from unnest(p_verb, p_ttl) with ordinality q (verb, ttl, change), pgquota.setting z
           where q.verb = 'reserve' loop
        v_state[v_seen.change] := 'open';
        v_expires[v_seen.change] := v_seen.expires;
      end loop;
    end if;

    -- No other aggregate here: one that wants its input sorted would have all of it sorted its way. And l
    -- itself is a record, which would be cast to a leg by its text.
    select array_agg(y.leg), array_agg(y.slot), array_agg(y.charges), array_agg(y.du), array_agg(y.dh)
      into v_legs, g_slot, g_charges, g_du, g_dh
      from (select row(l.*)::pgquota.leg as leg,
                   case p_verb[l.change] when 'check' then 0 when 'reserve' then 0 else l.du end as du,
                   case p_verb[l.change] when 'reserve' then l.asked else l.dh end as dh,
                   dense_rank() over (order by l.scope collate "C", l.meter collate "C", l.per collate "C",
                                               l.start_at)::int as slot,
                   l.mode <> 'off'
                   and row_number() over (partition by l.scope collate "C", l.meter collate "C",
                                                       l.per collate "C", l.start_at, l.change
                                          order by l.mode = 'off', l.ord) = 1 as charges
              from (select r.* from pgquota.resolve(v_scopes, p_change, p_meter, p_amount, v_now) r
                     where v_inputs > 0
                    union all
                    select h.* from pgquota.hold_legs(p_verb, p_scope, p_ref, v_wanted, i_from, i_to, p_meter,
                                                      p_amount, v_now) h
                     where v_held
                    union all
                    select e.* from pgquota.refund_legs(p_verb, p_scope, p_ref, i_from, i_to, p_meter,
                                                        p_amount, v_now) e
                     where p_verb && '{refund}') l
             order by l.change, l.ord, l.scope collate "C", l.meter collate "C", l.per collate "C",
                      l.start_at) y;
    select count(distinct l.input), count(distinct l.change) filter (
               where l.input is null or l.counter is not null and l.scope = p_scope[l.change]),
           count(distinct l.change) filter (where l.mode <> 'off')
      into v_found, v_proper, v_counted
      from unnest(v_legs) l;
    if v_found < v_inputs then
      for v_seen in
          select distinct on (q.change) q.change, q.meter,
                 pgquota.why_no_limit(p_scope[q.change], q.meter, v_now) as why
            from unnest(p_change, p_meter) with ordinality q (change, meter, input)
           where p_ref[q.change] is null
             and not exists (select from unnest(v_legs) l where l.input = q.input)
           order by q.change, q.input loop
        continue when v_status[v_seen.change] is not null;
        v_status[v_seen.change] := v_seen.why;
        v_detail[v_seen.change] := v_seen.meter;
        v_times[v_seen.change] := 0;
      end loop;
    end if;
    if v_proper < v_n then
      -- of counters is known that their scopes are proper
      for i in 1 .. v_n loop
        if not pgquota.is_scope(p_scope[i]) then
          raise exception 'change %: "%" is not a scope', i, p_scope[i] using errcode = 'PQ001',
            hint = 'a scope is 1 to 9 segments of 1 to 128 characters, joined by slashes';
        end if;
      end loop;
    end if;

    for v_pass in 1 .. 2 loop
      select array_agg(s.tenant), array_agg(s.counter), array_agg(s.used), array_agg(s.held),
             array_agg(s.tight), array_agg(s.du), array_agg(s.dh), array_agg(s.de),
             array_agg(s.up), array_agg(s.until), array_agg(s.room), array_agg(s.runs), array_agg(s.place),
             coalesce(bool_or(s.tight), false),
             coalesce(bool_or(s.place > 0 and s.counter is null), false),
             coalesce(bool_or(s.place > 0 and s.counter is not null and s.expiry <= v_now), false),
             max(s.low), min(s.high)
        into s_tenant, s_id, s_used, s_held, s_tight, s_du, s_dh, s_de, s_up, s_until, s_room, s_runs,
             s_place, v_tight, v_missing, v_expired, v_low, v_high
        from (select w.*, case when w.writes then count(*) filter (where w.writes) over (order by w.slot) end
                          ::int as place
                from (select g_slot[l.ordinality] as slot, min(split_part(l.scope, '/', 1)) as tenant,
                             min(l.counter) as counter, min(l.used) as used, min(l.held) as held,
                             min(l.expiry_at) as expiry, bool_or(x.writes) as writes,
                             coalesce(sum(x.asked) > min(l.ceiling) filter (where l.mode <> 'off')
                                                     - min(l.used) - min(l.held), false)
                             or sum(x.asked) > c_most - min(l.used) - min(l.held)
                             or bool_or(p_verb[l.change] = 'refund') as tight,
                             least(c_most, coalesce(sum(x.times * g_du[l.ordinality]), 0))::bigint as du,
                             least(c_most, coalesce(sum(x.times * g_dh[l.ordinality]), 0))::bigint as dh,
                             least(c_most, coalesce(sum(x.times * greatest(
                                 0, g_du[l.ordinality] + g_dh[l.ordinality])), 0))::bigint as up,
                             min(case when x.writes and p_verb[l.change] in ('reserve', 'extend')
                                      then v_expires[l.change] end) as until,
                             sum(case when l.billed and g_du[l.ordinality] <> 0 then x.times else 0 end)::int
                             as de,
                             min(case when x.writes and l.mode = 'enforce' and l.ceiling is not null
                                        and p_verb[l.change] in ('consume', 'consume_up_to', 'reserve',
                                                                 'extend')
                                      then l.ceiling else c_most end) as room,
                             bool_or(x.writes and l.input is not null) as runs,
                             max(l.last_at) filter (where x.writes) as low,
                             min(l.end_at) filter (where x.writes and l.input is not null) as high
                        from unnest(v_legs) with ordinality l
                       cross join lateral (
                             select l.mode <> 'off' and v_times[l.change] > 0
                                    and p_verb[l.change] <> 'check' as writes,
                                    case when g_charges[l.ordinality] and p_verb[l.change] <> 'check'
                                         then v_times[l.change] else 0 end as times,
                                    case when g_charges[l.ordinality] and v_pass = 1
                                         then greatest(0, l.asked) * v_times[l.change] else 0 end as asked) x
                       group by g_slot[l.ordinality]
                       order by 1) w) s;
      exit when v_pass = 2 or not v_tight and not v_twice and not p_verb && '{refund}';

      if p_verb && '{refund}' then
        for i in 1 .. v_n loop
          if p_verb[i] = 'refund' and v_status[i] is null
             and not exists (select from unnest(v_legs) l where l.change = i) then
            v_status[i] := 'unknown_operation';
            v_times[i] := 0;
          end if;
        end loop;
      end if;

      -- Decide, in order, each change on what the ones before it left: those that touch what is tight.
      i_take := p_amount;
      for v_seen in
          select l.change, min(l.ordinality)::int as low, max(l.ordinality)::int as high
            from unnest(v_legs) with ordinality l
           group by l.change
          having bool_or(s_tight[g_slot[l.ordinality]] and l.mode <> 'off') or p_verb[l.change] = 'refund'
                 or v_twice and v_keys[l.change] is not null
           order by l.change loop
        continue when v_status[v_seen.change] is not null;
        v_verb := p_verb[v_seen.change];
        if v_twice and v_keys[v_seen.change] is not null then
          -- answered at the end, out of the row that the first one writes; a denied one writes none
          for j in 1 .. v_seen.change - 1 loop
            if v_keys[j] = v_keys[v_seen.change] and v_times[j] > 0 and p_verb[j] <> 'check' then
              v_status[v_seen.change] := 'same_key';
            end if;
          end loop;
        end if;
        if v_verb = 'consume_up_to' then
          for g in v_seen.low .. v_seen.high loop
            v_leg := v_legs[g];
            if v_leg.mode = 'enforce' and v_leg.ceiling is not null then
              i_take[v_leg.input] := least(i_take[v_leg.input], greatest(0,
                  v_leg.ceiling - s_used[g_slot[g]] - s_held[g_slot[g]]));
            end if;
          end loop;
          for g in v_seen.low .. v_seen.high loop
            v_less := v_less or i_take[v_legs[g].input] < g_du[g];
            g_du[g] := i_take[v_legs[g].input];
          end loop;
        elsif v_verb = 'refund' then
          for g in v_seen.low .. v_seen.high loop
            -- a reset in between has given back already: a counter does not go below zero
            v_legs[g].took := least(v_legs[g].took, s_used[g_slot[g]]);
            if i_to[v_seen.change] < i_from[v_seen.change] then
              v_legs[g].du := - v_legs[g].took;
              g_du[g] := - v_legs[g].took;
            end if;
          end loop;
          v_full := null;
          select m.took || ' ' || m.meter into v_full
            from (-- a reset of a scope leaves less in some of its counters
                  select l.meter, min(l.took) as took, min(l.ordinality) as place
                    from unnest(v_legs[v_seen.low:v_seen.high]) with ordinality l
                   group by l.meter
                  having bool_or(- l.du > l.took)
                  union all -- none of it was charged
                  select q.meter, 0, v_seen.high + q.place
                    from unnest(p_meter[i_from[v_seen.change]:i_to[v_seen.change]],
                                p_amount[i_from[v_seen.change]:i_to[v_seen.change]])
                         with ordinality q (meter, amount, place)
                   where q.amount > 0 and not exists (select from unnest(v_legs[v_seen.low:v_seen.high]) l
                                                       where l.meter = q.meter)
                   order by place limit 1) m;
          if v_full is not null then
            v_status[v_seen.change] := 'refund_too_large';
            v_detail[v_seen.change] := v_full;
          end if;
        end if;
        if v_status[v_seen.change] is not null then
          v_times[v_seen.change] := 0;
          continue;
        end if;
        v_full := null;
        v_deny := v_verb in ('consume', 'reserve', 'extend', 'check');
        for g in v_seen.low .. v_seen.high loop
          v_leg := v_legs[g];
          continue when v_leg.mode = 'off';
          v_slot := g_slot[g];
          v_fit := c_most - s_used[v_slot] - s_held[v_slot];
          if (case v_verb when 'check' then v_leg.asked else g_du[g] + g_dh[g] end)
             > v_fit / v_calls[v_seen.change] then
            v_full := coalesce(v_full, v_leg.name);
          end if;
          if v_deny and v_leg.mode = 'enforce' and v_leg.asked > 0 and v_leg.ceiling is not null then
            v_times[v_seen.change] := least(v_times[v_seen.change], greatest(0,
                v_leg.ceiling - s_used[v_slot] - s_held[v_slot]) / v_leg.asked);
          end if;
        end loop;
        if v_full is not null and v_times[v_seen.change] > 0 then
          if v_calls[v_seen.change] > 1 then
            raise exception 'the counter of limit "%" cannot hold so much', v_full using errcode = 'PQ004',
              hint = 'send the calls one by one';
          end if;
          v_status[v_seen.change] := 'counter_full';
          v_detail[v_seen.change] := v_full;
          v_times[v_seen.change] := 0;
          continue;
        end if;
        v_denied := v_denied or v_times[v_seen.change] < v_calls[v_seen.change];
        v_partial := v_partial or v_times[v_seen.change] between 1 and v_calls[v_seen.change] - 1;
        continue when v_verb = 'check';
        for g in v_seen.low .. v_seen.high loop
          if g_charges[g] then
            s_used[g_slot[g]] := s_used[g_slot[g]] + g_du[g] * v_times[v_seen.change];
            s_held[g_slot[g]] := s_held[g_slot[g]] + g_dh[g] * v_times[v_seen.change];
          end if;
        end loop;
      end loop;
      s_full := case when v_denied or v_less then s_tight end;
      if v_twice then
        -- what is wrong with a request matters less than that its key has an answer
        for i in 1 .. v_n loop
          if v_keys[i] is not null
             and (v_status[i] in ('replay', 'key_conflict', 'key_expired', 'same_key')) is not true then
            for j in 1 .. i - 1 loop
              if v_keys[j] = v_keys[i] and v_times[j] > 0 and p_verb[j] <> 'check' then
                v_status[i] := 'same_key';
                v_times[i] := 0;
              end if;
            end loop;
          end if;
        end loop;
      end if;
    end loop;
    v_write := exists (select from unnest(p_verb, v_times) q (verb, times)
                        where q.verb <> 'check' and q.times > 0);
    v_soon := v_missing or coalesce(v_high <= v_now + interval '10 s', false);
    v_locked := coalesce(s_id = l_id, false)
                or not exists (select from unnest(s_id, s_place) s (id, place)
                                where s.place > 0 and (s.id = any (coalesce(l_id, '{}'))) is not true);

    v_at := v_now;
    if l_id is null and not v_missing and p_verb && '{extend}' and true = any (v_late) then
      l_tenant := s_tenant;
      l_id := coalesce(s_id, '{}');
      l_newest := s_runs;
      continue;
    elsif not v_write then
      -- A rival with the same key may have been answered between the look at the keys and that at the
      -- counters; it is visible now.
      continue when v_denied and v_keyed and exists (
          select from pgquota.seen_keys(p_verb, p_scope, p_key, p_ref, p_ttl, i_from, i_to, p_meter, p_amount,
                                        v_now) k where v_status[k.change] is null);
      -- A stricter caller looks through an old snapshot: a lock tells whether its denial still stands.
      if v_denied and l_id is null and current_setting('transaction_isolation') <> 'read committed' then
        l_tenant := s_tenant;
        l_id := s_id;
        l_newest := s_runs;
        continue;
      end if;
    elsif v_missing and exists (select from unnest(v_legs) l
                                 where l.counter is null and l.ended is null and l.mode <> 'off'
                                   and v_times[l.change] > 0 and p_verb[l.change] <> 'check') then
      -- First windows. A rival may be opening them too, and then waiting for the first is waiting for a
      -- lock: so all counters of the call are opened or locked in one go and one order. What has an
      -- earlier window is only locked here.
      with o as (
        insert into pgquota.counter as c
               (tenant, scope, meter, per, start_at, end_at, last_at, billed)
        select split_part(l.scope, '/', 1), l.scope, l.meter, l.per, min(l.start_at), min(l.end_at),
               min(l.start_at), bool_or(l.billed)
          from unnest(v_legs) l
         where l.input is not null and l.mode <> 'off'
           and v_times[l.change] > 0 and p_verb[l.change] <> 'check'
         group by l.scope, l.meter, l.per
         order by l.scope collate "C", l.meter collate "C", l.per collate "C"
        on conflict (tenant, scope, meter, per) where current do update set used = c.used where false
        returning c.id)
      select v_opened || coalesce(array_agg(id), '{}') into v_opened from o;
      continue;
    elsif v_missing then
      -- Open the windows. Those before them are closed under their locks, which are taken in one go with
      -- those of the other counters, in order.
      select array_agg(x.tenant order by x.id), array_agg(x.id order by x.id),
             array_agg(x.newest order by x.id)
        into m_tenant, m_id, m_newest
        from (select split_part(l.scope, '/', 1) as tenant, l.ended as id, true as newest
                from unnest(v_legs) l
               where l.counter is null and l.ended is not null and l.mode <> 'off'
                 and v_times[l.change] > 0 and p_verb[l.change] <> 'check'
              union
              select s.tenant, s.id, s.runs from unnest(s_tenant, s_id, s_runs) s (tenant, id, runs)
               where s.id is not null) x;
      if not m_id <@ coalesce(l_id, '{}') then
        l_tenant := m_tenant;
        l_id := m_id;
        l_newest := m_newest;
        continue;
      end if;
      update pgquota.counter c set current = false
        from unnest(v_legs) l
       where l.counter is null and c.tenant = split_part(l.scope, '/', 1) and c.id = l.ended
         and l.mode <> 'off' and v_times[l.change] > 0 and p_verb[l.change] <> 'check';
      with o as (
      insert into pgquota.counter (tenant, scope, meter, per, start_at, end_at, last_at, billed)
      select split_part(l.scope, '/', 1), l.scope, l.meter, l.per, min(l.start_at), min(l.end_at),
             min(l.start_at), bool_or(l.billed)
        from unnest(v_legs) l
       where l.counter is null and l.mode <> 'off'
         and v_times[l.change] > 0 and p_verb[l.change] <> 'check'
       group by l.scope, l.meter, l.per
       order by l.scope collate "C", l.meter collate "C", l.per collate "C"
      on conflict do nothing returning id)
      select v_opened || coalesce(array_agg(id), '{}') into v_opened from o;
      continue;
    elsif not v_locked and (v_soon or v_expired or p_verb && '{extend,refund}' or true = any (v_late)
                            or current_setting('transaction_isolation') <> 'read committed' and v_denied) then
      v_reap := v_reap or v_expired;
      l_tenant := s_tenant;
      l_id := s_id;
      l_newest := s_runs;
      continue;
    elsif v_locked and v_expired then
      v_reap := true;
      continue;
    else
      v_at := greatest(v_low, least(v_now, v_high - interval '1 microsecond'));
      -- The heart. Under locks what fits is known; else the guard is checked on the newest version of each
      -- counter, which rivals may have changed since the look. A counter that fails it is updated too, as one
      -- whose holds must be looked at: this locks all of them, in order, before any is locked again.
      with u as (
        update pgquota.counter c
           set (used, held, entries, last_at, expiry_at) = (
               select case when g.ok then c.used + s.du else c.used end,
                      case when g.ok then c.held + s.dh else c.held end,
                      case when g.ok then c.entries + s.de else c.entries end,
                      case when g.ok and (s.du <> 0 or s.dh <> 0) then greatest(c.last_at, v_at)
                           else c.last_at end,
                      case when not g.ok then '-infinity'
                           when s.dh < 0 and c.held + s.dh = 0 and s.until is null then 'infinity'
                           else least(c.expiry_at, s.until) end
                 from (select v_locked
                              or c.expiry_at > v_now
                                 and (not s.runs or c.current and c.end_at > pgquota.clock())
                                 and -s.dh <= c.held and s.up <= s.room - c.used - c.held
                                 -- what was denied beside what is taken here is as true as the look
                                 and (s.was_full is not true or c.used = s.used and c.held = s.held) as ok
                       offset 0) g)
          from unnest(s_tenant, s_id, s_used, s_held, s_full, s_du, s_dh, s_de, s_up, s_until, s_room, s_runs,
                      s_place)
                 s (tenant, id, used, held, was_full, du, dh, de, up, until, room, runs, place)
         where s.place > 0 and c.tenant = s.tenant and c.id = s.id
        returning s.place, c.used::bigint, c.held::bigint, c.entries::bigint, c.last_at,
                  c.expiry_at > '-infinity' as ok)
      select array_agg(u.place) filter (where u.ok), array_agg(u.used), array_agg(u.held),
             array_agg(u.entries), array_agg(u.last_at), greatest(v_at, max(u.last_at))
        into u_place, u_used, u_held, u_entries, u_last, v_at
        from (select * from u order by u.place) u;
      v_count := coalesce(cardinality(u_place), 0);
    end if;

    -- Answers, and what is to be written beside the counters.
    v_done := false;
    v_alerts := null;
    <<write>>
    begin
      if v_write then
        exit write when v_count < (select count(*) from unnest(s_place) s (place) where s.place > 0);
        if v_at > any (u_last) then
          -- others were at some of the counters since the look: these changes come after theirs
          update pgquota.counter c set last_at = v_at
            from unnest(s_tenant, s_id, s_du, s_dh) s (tenant, id, du, dh)
           where (s.du <> 0 or s.dh <> 0) and c.tenant = s.tenant and c.id = s.id and c.last_at < v_at;
        end if;
        -- One operation id for the list and, counted up from it, one for each call.
        v_base := pgquota.operation_id(v_at);
        select array_agg(case when v_times[q.change] > 0 and p_verb[q.change] <> 'check'
                              then pgquota.next_operation(v_base, q.before) end order by q.change)
          into v_op
          from (select o.change, sum(o.times) over (order by o.change) - o.times as before
                  from unnest(v_times) with ordinality o (times, change)) q;
      end if;
      -- First what each change comes to, then the rest of those of which only some calls are granted.
      v_answers := '{}';
      v_loud := false;
      for v_pass in 1 .. 1 + v_partial::int loop
        select v_answers || array_agg(y.answer), v_loud or bool_or(y.crossed) into v_answers, v_loud
          from (
          select row(x.change, case when x.granted then 'granted' else 'denied' end, null, x.operation, v_at,
                     false, v_late[x.change], case when x.granted then v_state[x.change] end,
                     case when x.granted then v_expires[x.change] end,
                     x.ord, x.name, x.meter, x.scope, x.mode, x.per, x.capacity, x.ceiling, a.used, a.held,
                     x.start_at, x.end_at,
                     coalesce(x.asked <= 0 or x.asked <= x.ceiling - a.used - a.held + x.own, true),
                     case when not x.granted then 0
                          else case p_verb[x.change] when 'check' then x.asked when 'reserve' then x.dh
                                                     when 'extend' then x.dh when 'refund' then - x.du
                                                     else x.du end end,
                     case when x.operation is not null
                          then least(greatest(0, x.own),
                                     greatest(0, coalesce(a.used - x.capacity + a.held, 0)))
                          else 0 end,
                     case when c.crossed then x.thresholds else '{}' end,
                     x.message, x.counter,
                     case when x.operation is not null and x.entered > 0
                          then u_entries[x.place] - s_de[x.slot] + x.entry end,
                     case when x.granted then v_times[x.change]
                          else v_calls[x.change] - v_times[x.change] end, null)::pgquota.answer as answer,
                 c.crossed
            from (select l.change, l.ordinality, l.ord, l.name, l.meter, l.scope, l.mode, l.per, l.capacity,
                         l.ceiling, l.start_at, l.end_at, l.message, l.counter, l.thresholds, l.asked, p.*,
                         case when p.granted then v_op[l.change] end as operation,
                         case when p.granted and v_op[l.change] is not null then p.du + p.dh
                              else 0 end as own,
                         l.used + sum(p.times * p.du) over w as used,
                         l.held + sum(p.times * p.dh) over w as held,
                         sum(p.entered) over w as entry,
                         u_used[p.place] - s_du[p.slot] - l.used as more_used,
                         u_held[p.place] - s_dh[p.slot] - l.held as more_held
                    from unnest(v_legs) with ordinality l
                   cross join lateral (
                         select g_slot[l.ordinality] as slot, s_place[g_slot[l.ordinality]] as place,
                                v_pass = 1 and v_times[l.change] > 0 as granted,
                                case when g_charges[l.ordinality] then v_times[l.change] else 0 end as times,
                                g_du[l.ordinality] as du, g_dh[l.ordinality] as dh,
                                case when g_charges[l.ordinality] and l.billed and g_du[l.ordinality] <> 0
                                     then v_times[l.change] else 0 end as entered) p
                   where l.mode <> 'off'
                  window w as (partition by p.slot order by l.change, l.ord
                               rows between unbounded preceding and current row)) x
           cross join lateral (
                 select (x.used + case when x.operation is not null then x.more_used else 0 end)::bigint,
                        (x.held + case when x.operation is not null then x.more_held else 0 end)::bigint)
                 a (used, held)
           cross join lateral (
                 select x.operation is not null and x.du > 0 and x.capacity > 0
                        and coalesce(a.used >= x.capacity::numeric * x.thresholds[1] / 100, false))
                 c (crossed)
           where v_status[x.change] is null
             and (v_pass = 1 or v_times[x.change] between 1 and v_calls[x.change] - 1)
           order by x.change, x.ordinality) y;
      end loop;
      v_answers := coalesce(v_answers, '{}');
      -- What has no limit that counts, or is in error, has an answer all the same.
      if v_counted < v_n or cardinality(array_remove(v_status, null)) > 0 then
        for v_seen in
            select q.change from generate_series(1, v_n) q (change)
             where coalesce(v_status[q.change], '') not in ('replay', 'ended', 'same_key')
               and not exists (select from unnest(v_answers) a where a.change = q.change) loop
          v_answer := null;
          v_answer.change := v_seen.change;
          v_answer.status := coalesce(v_status[v_seen.change], 'granted');
          v_answer.detail := v_detail[v_seen.change];
          v_answer.operation := v_op[v_seen.change];
          v_answer.at := v_at;
          v_answer.replayed := false;
          v_answer.late := v_late[v_seen.change];
          v_answer.hold_state := v_state[v_seen.change];
          v_answer.expires_at := v_expires[v_seen.change];
          v_answer.times := v_calls[v_seen.change];
          v_answers := v_answers || v_answer;
        end loop;
      end if;
      v_done := not v_write;
      exit write when v_done;

      if v_loud then
        select r.* into v_answers, v_alerts from pgquota.reached(v_answers) r;
      end if;
      if v_keyed then
        insert into pgquota.operation_key (tenant, key, verb, scope, ref, ttl, meters, amounts, at, answers)
        select split_part(p_scope[a.change], '/', 1), p_key[a.change], p_verb[a.change], p_scope[a.change],
               p_ref[a.change], p_ttl[a.change],
               -- a slice is a copy of the whole
               case when f.low = f.high then array[p_meter[f.low]] when f.low > f.high then '{}'
                    else p_meter[f.low:f.high] end,
               case when f.low = f.high then array[p_amount[f.low]] when f.low > f.high then '{}'
                    else p_amount[f.low:f.high] end,
               v_at, a.answers
          from (select b.change, array_agg(b) as answers
                  from unnest(v_answers) b
                 where p_key[b.change] is not null and v_op[b.change] is not null
                 group by b.change) a
         cross join lateral (select i_from[a.change] as low, i_to[a.change] as high) f
         order by split_part(p_scope[a.change], '/', 1) collate "C", p_key[a.change] collate "C"
        on conflict do nothing;
        get diagnostics v_rows = row_count;
        -- else a rival's answer to one of the keys was committed while this call waited for the key
        exit write when v_rows < (select count(*) from unnest(p_key, v_op) q (key, op)
                                   where q.key is not null and q.op is not null);
      end if;
      if v_held then
        -- Under the locks of its counters a hold stands still: what it took tells whether it is still open,
        -- and has not been extended.
        with m as materialized (
          select i.tenant, i.counter, i.expires_at, i.hold
            from unnest(v_legs) with ordinality l
            join pgquota.hold_item i
              on i.tenant = p_scope[l.change] and i.counter = l.counter and i.expires_at = v_was[l.change]
             and i.hold = p_ref[l.change] and (v_locked or i.amount = l.took)
           where v_wanted[l.change] and v_times[l.change] > 0 and g_charges[l.ordinality]
        ), d as (
          delete from pgquota.hold_item i using m
           where i.tenant = m.tenant and i.counter = m.counter and i.expires_at = m.expires_at
             and i.hold = m.hold and (v_locked or (select count(*) from m) = (
                 select count(*) from unnest(v_legs) with ordinality l
                  where v_wanted[l.change] and g_charges[l.ordinality]))
          returning 1)
        select count(*) into v_rows from d;
        exit write when not v_locked and v_rows < (
            select count(*) from unnest(v_legs) with ordinality l
             where v_wanted[l.change] and g_charges[l.ordinality]);
        update pgquota.hold h
           set state = v_state[a.change], expires_at = v_expires[a.change],
               amounts = case when p_verb[a.change] <> 'extend' then h.amounts else array(
                   select m.amount + coalesce(q.amount, 0)
                     from unnest(h.meters, h.amounts) with ordinality m (meter, amount, ord)
                     left join unnest(p_meter[i_from[a.change]:i_to[a.change]],
                                      p_amount[i_from[a.change]:i_to[a.change]]) q (meter, amount)
                       on q.meter = m.meter
                    order by m.ord) end,
               answers = case when p_verb[a.change] <> 'extend' then a.answers end
          from (select b.change, array_agg(b) as answers
                  from unnest(v_answers) b
                 where v_wanted[b.change] and v_op[b.change] is not null
                 group by b.change order by b.change) a
         where h.tenant = p_scope[a.change] and h.id = p_ref[a.change];
        insert into pgquota.hold_item (tenant, counter, expires_at, hold, amount)
        select h.tenant, c.id, h.expires_at, h.id, m.amount
          from unnest(p_verb, p_scope, p_ref, v_op) q (verb, tenant, ref, op)
          join pgquota.hold h on h.tenant = q.tenant and h.id = q.ref,
               unnest(h.counters, h.counter_meters) c (id, meter),
               unnest(h.meters, h.amounts) m (meter, amount)
         where q.verb = 'extend' and q.op is not null and m.meter = c.meter;
      end if;
      if p_verb && '{reserve}' then
        insert into pgquota.hold (tenant, id, scope, meters, amounts, counters, counter_meters, taken_at,
                                  expires_at)
        select split_part(p_scope[q.change], '/', 1), v_op[q.change], p_scope[q.change],
               case when f.low = f.high then array[p_meter[f.low]] when f.low > f.high then '{}'
                    else p_meter[f.low:f.high] end,
               case when f.low = f.high then array[p_amount[f.low]] when f.low > f.high then '{}'
                    else p_amount[f.low:f.high] end,
               q.counters, q.meters, v_at, v_expires[q.change]
          from (select o.change, coalesce(array_agg(o.counter) filter (where o.charges), '{}') as counters,
                       coalesce(array_agg(o.meter) filter (where o.charges), '{}') as meters
                  from (select l.change, l.counter, l.meter, g_charges[l.ordinality] as charges
                          from unnest(v_legs) with ordinality l
                        union all
                        -- counted by no limit, it is a hold all the same
                        select q.change::int, null, null, false
                          from unnest(p_verb) with ordinality q (verb, change)
                         where v_proper < v_n) o
                 where p_verb[o.change] = 'reserve' and v_op[o.change] is not null
                 group by o.change) q
         cross join lateral (select i_from[q.change] as low, i_to[q.change] as high) f;
        insert into pgquota.hold_item (tenant, counter, expires_at, hold, amount)
        select split_part(p_scope[l.change], '/', 1), l.counter, v_expires[l.change], v_op[l.change],
               g_dh[l.ordinality]
          from unnest(v_legs) with ordinality l
         where p_verb[l.change] = 'reserve' and v_op[l.change] is not null and g_charges[l.ordinality];
      end if;
      if 0 < any (s_de) then
        insert into pgquota.ledger (tenant, at, operation, counter, entry, verb, amount, used_after, ref)
        select split_part(a.scope, '/', 1), a.at,
               case when a.times = 1 then a.operation
                    else pgquota.next_operation(a.operation, a.times - n.more - 1) end,
               a.counter, a.entry - n.more, p_verb[a.change], d.amount, a.used - n.more * d.amount,
               p_ref[a.change]
          from unnest(v_answers) a
         cross join lateral (
               select case p_verb[a.change] when 'refund' then - a.granted else a.granted end as amount) d
         cross join lateral generate_series(a.times - 1, 0, -1) n (more)
         where a.entry is not null;
      end if;
      if v_alerts is not null then
        insert into pgquota.alert select a.* from unnest(v_alerts) a;
      end if;
      v_done := true;
    end;
    exit when v_done;
    -- Take back what nobody has seen yet, and look again under locks.
    delete from pgquota.operation_key k using unnest(p_scope, p_key) q (scope, key)
     where k.tenant = split_part(q.scope, '/', 1) and k.key = q.key and k.answers[1].operation = any (v_op);
    update pgquota.counter c
       set used = c.used - s.du, held = c.held - s.dh, entries = c.entries - s.de,
           expiry_at = least(c.expiry_at, case when s.dh < 0 then v_now end) -- to be found out
      from unnest(s_tenant, s_id, s_du, s_dh, s_de, s_place) s (tenant, id, du, dh, de, place)
     where s.place = any (u_place) and c.tenant = s.tenant and c.id = s.id;
    l_tenant := s_tenant;
    l_id := s_id;
    l_newest := s_runs;
  end loop;

  -- A change that looked granted on windows not yet open may not fit beside what rivals took of them.
  if cardinality(v_opened) > 0 then
    with gone as (
      delete from pgquota.counter c using unnest(s_tenant, s_id) k (tenant, id)
       where c.tenant = k.tenant and c.id = k.id and c.id = any (v_opened)
         and c.entries = 0 and c.used + c.held = 0
         and not exists (select from unnest(v_legs) l where l.counter = c.id
                            and v_times[l.change] > 0 and p_verb[l.change] <> 'check')
      returning c.tenant, c.scope, c.meter, c.per, c.start_at
    )
    update pgquota.counter c set current = true -- the window before it is the newest again
      from gone g
     where c.tenant = g.tenant and c.scope = g.scope and c.meter = g.meter and c.per = g.per
       and c.start_at = (select max(b.start_at) from pgquota.counter b
                          where b.tenant = g.tenant and b.scope = g.scope and b.meter = g.meter
                            and b.per = g.per and b.start_at < g.start_at);
  end if;
  return query select a.* from unnest(v_answers) a;
  -- What was answered before is answered again.
  if array_remove(v_status, null) && '{ended,replay,same_key}' then
    -- It may be on this server only, if the wait of its commit for the standby was cancelled: who is told it
    -- again waits for what is written after it.
    if current_setting('synchronous_standby_names') <> '' and not pg_is_in_recovery() then
      perform pg_logical_emit_message(true, 'pgquota', '');
    end if;
    for i in 1 .. v_n loop
      if v_status[i] = 'ended' then
        v_answers := (select h.answers from pgquota.hold h where h.tenant = p_scope[i] and h.id = p_ref[i]);
      elsif v_status[i] in ('replay', 'same_key') then
        for v_seen in
            select * from pgquota.seen_keys(p_verb[i:i], p_scope[i:i], p_key[i:i], p_ref[i:i], p_ttl[i:i],
                                            array[i_from[i]], array[i_to[i]], p_meter, p_amount, v_now) loop
          v_status[i] := v_seen.status;
          v_detail[i] := v_seen.detail;
        end loop;
        v_answers := (select k.answers from pgquota.operation_key k
                       where k.tenant = split_part(p_scope[i], '/', 1) and k.key = p_key[i]);
      else
        continue;
      end if;
      if v_status[i] in ('ended', 'replay') then
        foreach v_answer in array v_answers loop
          v_answer.change := i;
          v_answer.replayed := true;
          return next v_answer;
        end loop;
      else
        v_answer := null;
        v_answer.change := i;
        v_answer.status := v_status[i];
        v_answer.detail := v_detail[i];
        v_answer.at := v_at;
        v_answer.times := 1;
        return next v_answer;
      end if;
    end loop;
  end if;
end $function$; -- owner pgquota_owner
grant execute on function pgquota.apply(p_verb text[], p_scope text[], p_key text[], p_ref uuid[], p_ttl bigint[], p_change integer[], p_meter text[], p_amount bigint[], p_times integer[], p_patience integer) to pgquota_admin;
grant execute on function pgquota.apply(p_verb text[], p_scope text[], p_key text[], p_ref uuid[], p_ttl bigint[], p_change integer[], p_meter text[], p_amount bigint[], p_times integer[], p_patience integer) to pgquota_app;

CREATE OR REPLACE FUNCTION pgquota.audit_row()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.audit_version()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.balances(p_scope text)
 RETURNS TABLE(name text, meter text, scope text, mode text, per text, capacity bigint, used bigint, held bigint, remaining bigint, start_at timestamp with time zone, end_at timestamp with time zone)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select r.name, r.meter, r.scope, r.mode, r.per, r.capacity, r.used, r.held,
         -- greatest() would pass over the null of an unlimited limit
         case when r.capacity is not null then greatest(0, r.capacity - r.used - r.held) end,
         r.start_at, r.end_at
    from pgquota.resolve(array[p_scope], '{1}', '{null}', '{0}', pgquota.clock()) r
   order by r.ord
$function$; -- owner pgquota_owner
grant execute on function pgquota.balances(p_scope text) to pgquota_admin;
grant execute on function pgquota.balances(p_scope text) to pgquota_app;
grant execute on function pgquota.balances(p_scope text) to pgquota_report;

CREATE OR REPLACE FUNCTION pgquota.check_counter()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if new.end_at <= new.start_at or not pgquota.is_scope(new.scope)
     or split_part(new.scope, '/', 1) <> new.tenant then
    raise exception 'scope "%" cannot have a counter from % to %', new.scope, new.start_at, new.end_at
      using errcode = 'check_violation',
            hint = 'a scope is 1 to 9 segments of 1 to 128 characters, joined by slashes';
  end if;
  return new;
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.check_plan(p_plan text)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
AS $function$
begin
  if p_plan is not null
     and not exists (select from pgquota.plan_version v where v.plan = p_plan) then
    raise exception 'there is no plan "%"', p_plan
      using errcode = 'PQ002', column = 'plan', detail = p_plan, hint = 'publish it first';
  end if;
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.check_settings()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.check_zone(p_field text, p_zone text)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
AS $function$
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
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.clock()
 RETURNS timestamp with time zone
 LANGUAGE sql
RETURN clock_timestamp(); -- owner pgquota_owner
grant execute on function pgquota.clock() to pgquota_admin;
grant execute on function pgquota.clock() to pgquota_app;
grant execute on function pgquota.clock() to pgquota_report;

CREATE OR REPLACE FUNCTION pgquota.cut(p_scope text, p_level integer)
 RETURNS text
 LANGUAGE sql
 STABLE
RETURN array_to_string((string_to_array(p_scope, '/'::text))[:(p_level + 1)], '/'::text); -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.exactly(p_span interval)
 RETURNS interval
 LANGUAGE sql
 IMMUTABLE
RETURN ((EXTRACT(epoch FROM p_span))::double precision * '00:00:01'::interval); -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.hold_legs(p_verb text[], p_tenant text[], p_hold uuid[], p_wanted boolean[], p_from integer[], p_to integer[], p_meter text[], p_amount bigint[], p_now timestamp with time zone)
 RETURNS SETOF pgquota.leg
 LANGUAGE sql
 STABLE
AS $function$
  select q.change::int, null::int, r.ord, coalesce(r.name, c.meter), c.meter, c.scope,
         coalesce(r.mode, 'observe'), c.per, r.capacity, r.ceiling, c.billed,
         coalesce(r.thresholds, '{}'), r.message, c.id, null::bigint, c.used, c.held - x.expired,
         c.entries, c.start_at, c.end_at, c.last_at, c.expiry_at,
         d.du + d.dh, d.du, d.dh, coalesce(i.amount, 0)
    from unnest(p_verb, p_tenant, p_hold, p_wanted) with ordinality q (verb, tenant, hold, wanted, change)
    join pgquota.hold h on h.tenant = q.tenant and h.id = q.hold
   cross join lateral unnest(h.counters, h.counter_meters) u (counter, meter)
    join pgquota.counter c on c.tenant = h.tenant and c.id = u.counter
    left join pgquota.hold_item i
      on i.tenant = h.tenant and i.counter = u.counter and i.expires_at = h.expires_at and i.hold = h.id
     and i.expires_at > p_now
   cross join lateral (select array_position(p_meter, u.meter, p_from[q.change]) as place) n
   cross join lateral (
         select case when n.place <= p_to[q.change] then p_amount[n.place] end as named) m
   cross join lateral (
         select case q.verb when 'settle' then coalesce(m.named, h.amounts[array_position(h.meters, u.meter)])
                            else 0 end as du,
                case q.verb when 'extend' then coalesce(m.named, 0) else - coalesce(i.amount, 0) end as dh) d
   cross join lateral (
         select case when c.expiry_at <= p_now
                     then coalesce((select sum(e.amount)::bigint from pgquota.hold_item e
                                     where e.tenant = h.tenant and e.counter = u.counter
                                       and e.expires_at <= p_now), 0)
                     else 0 end as expired) x
   cross join pgquota.setting z
    left join pgquota.tenant t on t.tenant = q.tenant
    left join lateral pgquota.limits(h.scope, coalesce(t.plan, z.default_plan), t.adjusted, c.meter, p_now) r
      on r.mode <> 'off' and r.scope = c.scope and r.per = c.per
   where q.wanted
$function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.is_per(p_per text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  -- case, because only case promises that the cast sees digits only
  select case when p_per ~ '^(fixed|aligned):[1-9][0-9]{0,7}$'
              then split_part(p_per, ':', 2)::int <= 366 * 86400
              else p_per in ('lifetime', 'hour', 'day', 'week', 'month', 'quarter', 'year')
         end
$function$; -- owner pgquota_owner
comment on function pgquota.is_per(p_per text) is 'Whether a text names a kind of window: lifetime, fixed:SECONDS, aligned:SECONDS (1 second to 366 days), hour, day, week, month, quarter, year';

CREATE OR REPLACE FUNCTION pgquota.is_scope(p_scope text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN ((p_scope ~ '^[^/[:cntrl:]]{1,128}(/[^/[:cntrl:]]{1,128}){0,8}$'::text) AND (p_scope !~ '(^|/)[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'::text) AND (p_scope !~ '[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000](/|$)'::text) AND (octet_length(p_scope) <= 1600)); -- owner pgquota_owner
grant execute on function pgquota.is_scope(p_scope text) to pgquota_admin;

CREATE OR REPLACE FUNCTION pgquota.is_sorted(p_meter text[])
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN (p_meter = ARRAY(SELECT DISTINCT (m.m COLLATE "C") AS m FROM unnest(is_sorted.p_meter) m(m) ORDER BY (m.m COLLATE "C"))); -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.keep_adjusted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.keep_version()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
declare
  v_may constant text[] := '{until_at,ceiling,calm}'; -- the last two are computed after this
begin
  if tg_op = 'UPDATE' and tg_table_name = 'plan_limit' and to_jsonb(new) - v_may = to_jsonb(old) - v_may then
    return new;
  end if;
  raise exception 'version % of plan "%" is published: it is never changed', old.version, old.plan
    using errcode = 'PQ003', hint = 'publish another version';
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.key_time(p_key text)
 RETURNS timestamp with time zone
 LANGUAGE sql
 IMMUTABLE
RETURN CASE WHEN (p_key ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'::text) THEN pgquota.operation_at((p_key)::uuid) ELSE NULL::timestamp with time zone END; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.keys_from(p_now timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE
AS $function$
  select greatest(p_now - pgquota.exactly(z.key_retention),
                  (select m.at from pgquota.mark m where m.name = 'keys_dropped'))
    from pgquota.setting z
$function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.limits(p_scope text, p_plan text, p_adjusted boolean, p_meter text, p_now timestamp with time zone)
 RETURNS TABLE(ord integer, name text, meter text, scope text, mode text, per text, capacity bigint, ceiling bigint, billed boolean, thresholds integer[], message text)
 LANGUAGE sql
 STABLE
AS $function$
  select l.ord, l.name, l.meter, pgquota.cut(p_scope, l.level), l.mode, l.per,
         case when p_adjusted
              then pgquota.adjusted(p_scope, l.level, l.name, l.capacity, p_now) else l.capacity end,
         case when p_adjusted is not true then l.ceiling
              when l.overage is not null
              then pgquota.adjusted(p_scope, l.level, l.name, l.capacity, p_now)
                   + least(l.overage, 4611686018427387903) end,
         l.billed, l.thresholds, l.message
    from pgquota.plan_limit l
   where l.plan = p_plan and l.until_at > p_now and l.from_at <= p_now
     and l.level < cardinality(string_to_array(p_scope, '/'))
     and (p_meter is null or l.meter = p_meter)
  offset 0
$function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.lock_counter(p_tenant text, p_counter bigint, p_newest boolean)
 RETURNS bigint
 LANGUAGE plpgsql
AS $function$
declare
  v_counter bigint := p_counter;
  v_row record;
begin
  loop
    select c.scope, c.meter, c.per, c.current into v_row
      from pgquota.counter c where c.tenant = p_tenant and c.id = v_counter for no key update;
    if not found or v_row.current or not p_newest then
      return v_counter;
    end if;
    select c.id into v_counter
      from pgquota.counter c
     where c.tenant = p_tenant and c.scope = v_row.scope and c.meter = v_row.meter and c.per = v_row.per
       and c.current;
  end loop;
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.look(p_verb text, p_scope text, p_meter text[], p_amount bigint[], p_times integer, p_state text, p_expires timestamp with time zone, p_now timestamp with time zone)
 RETURNS SETOF pgquota.part
 LANGUAGE sql
 STABLE
AS $function$
  select case when p_state is null then a.amount * p_times else 0 end,
         case when p_state is null then 0 else a.amount end,
         case when c.billed and p_state is null then p_times else 0 end,
         case when p_verb <> 'record' and l.mode = 'enforce' and l.ceiling is not null then l.ceiling
              else 9223372036854775807 end, l.calm, l.thresholds,
         p_verb <> 'record' and l.mode = 'enforce' and a.amount > l.ceiling - c.used - c.held,
         c.id is not null and not l.shared and a.amount between 1 and 4611686018427387904 / p_times
           and a.amount * p_times <= 9223372036854775807 - c.used - c.held
           -- where some of the calls fit, they are decided one by one
           and (p_times = 1 or p_verb = 'record' or l.mode <> 'enforce' or l.ceiling is null
                or a.amount > l.ceiling - c.used - c.held
                or a.amount * p_times <= l.ceiling - c.used - c.held),
         l.alone, l.leads,
         case when cardinality(p_meter) = cardinality(p_amount) then cardinality(p_meter) end,
         null::bigint[],
         row(1, 'granted', null, null, p_now, false, false, p_state, p_expires, l.ord, l.name, l.meter,
             c.scope, l.mode, l.per, l.capacity, l.ceiling, c.used, c.held, c.start_at, c.end_at,
             coalesce(a.amount <= l.ceiling - c.used - c.held, true), a.amount, 0, '{}', l.message, c.id,
             null, p_times, null)::pgquota.answer
    from pgquota.plain_limits(p_scope, p_now) l
   cross join lateral (select p_amount[array_position(p_meter, l.meter::text)]) a (amount)
    left join pgquota.counter c
      on c.tenant = split_part(p_scope, '/', 1) and c.scope = pgquota.cut(p_scope, l.level)
     and c.meter = l.meter and c.per = l.per and c.current and c.end_at > p_now and c.expiry_at > p_now
   where l.meter = any (p_meter)
$function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.look_at_hold(p_verb text, p_tenant text, p_hold uuid, p_meter text[], p_amount bigint[], p_state text, p_now timestamp with time zone)
 RETURNS SETOF pgquota.part
 LANGUAGE sql
 STABLE
AS $function$
  select a.amount, -i.amount, (c.billed and a.amount > 0)::int, 9223372036854775807, l.calm, l.thresholds,
         false, not l.shared and a.amount between 0 and 4611686018427387904
                and greatest(a.amount, i.amount) > 0,
         true, true,
         case when cardinality(p_meter) = cardinality(p_amount) then cardinality(h.counters) end, h.amounts,
         row(1, 'granted', null, null, p_now, false, false, p_state, h.expires_at, l.ord, l.name, l.meter,
             c.scope, l.mode, l.per, l.capacity, l.ceiling, c.used, c.held, c.start_at, c.end_at, true,
             a.amount, 0, '{}', l.message, c.id, null, 1, null)::pgquota.answer
    from pgquota.hold h
   cross join lateral unnest(h.counters) u (counter)
    join pgquota.counter c on c.tenant = h.tenant and c.id = u.counter and c.expiry_at > p_now
    join pgquota.hold_item i
      on i.tenant = h.tenant and i.counter = c.id and i.expires_at = h.expires_at and i.hold = h.id
   cross join lateral (
         select case when p_verb = 'release' then 0
                     when c.meter = any (p_meter) then p_amount[array_position(p_meter, c.meter)]
                     else i.amount end) a (amount)
   cross join lateral pgquota.plain_limits(h.scope, p_now) l
   where h.tenant = p_tenant and h.id = p_hold and h.state = 'open' and h.expires_at > p_now
     and p_meter <@ h.meters
     and l.meter = c.meter and l.per = c.per and c.scope = pgquota.cut(h.scope, l.level)
$function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.next_operation(p_first uuid, p_further bigint)
 RETURNS uuid
 LANGUAGE sql
 IMMUTABLE
RETURN (("left"((p_first)::text, 24) || lpad(to_hex(((((('x'::text || "right"((p_first)::text, 12)))::bit(48))::bigint + p_further) & '281474976710655'::bigint)), 12, '0'::text)))::uuid; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.note(p_tenant text, p_what text, p_before jsonb, p_after jsonb)
 RETURNS void
 LANGUAGE sql
AS $function$
  insert into pgquota.audit (tenant, who, why, what, before, after)
  values (p_tenant, coalesce(nullif(current_setting('pgquota.who', true), ''), session_user),
          nullif(current_setting('pgquota.why', true), ''), p_what, p_before, p_after)
$function$; -- owner pgquota_owner
comment on function pgquota.note(p_tenant text, p_what text, p_before jsonb, p_after jsonb) is 'Writes the audit. Who and why are what the transaction set as pgquota.who and pgquota.why; the login is kept beside them, so who cannot be made up unseen';

CREATE OR REPLACE FUNCTION pgquota.operation_at(p_operation uuid)
 RETURNS timestamp with time zone
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select timestamptz 'epoch'
         + (('x' || translate(left(p_operation::text, 13), '-', ''))::bit(48)::bigint * 1000
            + ('x' || substr(p_operation::text, 16, 3))::bit(12)::int) * interval '1 microsecond'
$function$; -- owner pgquota_owner
grant execute on function pgquota.operation_at(p_operation uuid) to pgquota_admin;
grant execute on function pgquota.operation_at(p_operation uuid) to pgquota_report;

CREATE OR REPLACE FUNCTION pgquota.operation_id(p_at timestamp with time zone)
 RETURNS uuid
 LANGUAGE sql
RETURN (encode(OVERLAY(uuid_send(gen_random_uuid()) PLACING int8send(((((((date_part('epoch'::text, p_at) * (1000000)::double precision))::bigint / 1000) << 16) | (28672)::bigint) | (((date_part('epoch'::text, p_at) * (1000000)::double precision))::bigint % (1000)::bigint))) FROM 1), 'hex'::text))::uuid; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.plain_limits(p_scope text, p_now timestamp with time zone)
 RETURNS SETOF pgquota.plan_limit
 LANGUAGE sql
 STABLE
AS $function$
  select l.*
    from pgquota.plan_limit l
   where l.plan = coalesce((select case when t.adjusted then '' else t.plan end
                              from pgquota.tenant t where t.tenant = split_part(p_scope, '/', 1)),
                           (select z.default_plan from pgquota.setting z))
     and l.until_at > p_now and l.from_at <= p_now and l.mode <> 'off'
     and l.level < cardinality(string_to_array(p_scope, '/'))
$function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.publish(p_plan text, p_limits jsonb, p_from timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$; -- owner pgquota_owner
comment on function pgquota.publish(p_plan text, p_limits jsonb, p_from timestamp with time zone) is 'Publishes a version of a plan, in force from a time on (null: at once), and returns its number; that of the version in force then, if it has the same limits';
grant execute on function pgquota.publish(p_plan text, p_limits jsonb, p_from timestamp with time zone) to pgquota_admin;

CREATE OR REPLACE FUNCTION pgquota.reached(INOUT p_answers pgquota.answer[], OUT p_alerts pgquota.alert[])
 RETURNS record
 LANGUAGE plpgsql
 STABLE
AS $function$
declare
  v_first record;
  v_tried constant pgquota.answer[] := p_answers;
begin
  for g in 1 .. cardinality(p_answers) loop
    p_answers[g].crossed := '{}';
  end loop;
  for v_first in
      select distinct on (a.counter, a.limit_name, p.percent)
             a.ordinality as place, p.percent, n.nth,
             row(split_part(a.scope, '/', 1), a.counter, a.limit_name, p.percent, a.capacity,
                 a.used - (a.times - n.nth) * a.granted,
                 case when n.nth = 1 then a.operation
                      else pgquota.next_operation(a.operation, n.nth - 1) end,
                 a.at)::pgquota.alert as alert
        from unnest(v_tried) with ordinality a
       cross join lateral unnest(a.crossed) p (percent)
       cross join lateral (
             select greatest(1, a.times - floor((a.used - a.capacity::numeric * p.percent / 100)
                                                / a.granted))::int as nth) n
       where a.capacity > 0 and a.used >= a.capacity::numeric * p.percent / 100
         and not exists (select from pgquota.alert b
                          where b.tenant = split_part(a.scope, '/', 1) and b.counter = a.counter
                            and b.limit_name = a.limit_name and b.percent = p.percent
                            and b.capacity = a.capacity)
       order by a.counter, a.limit_name, p.percent, a.ordinality loop
    p_answers[v_first.place].crossed := p_answers[v_first.place].crossed || v_first.percent;
    p_answers[v_first.place].nth := p_answers[v_first.place].nth || v_first.nth;
    p_alerts := p_alerts || v_first.alert;
  end loop;
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.reap(p_tenant text[], p_counter bigint[], p_now timestamp with time zone)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
declare
  v_holds uuid[];
begin
  with gone as (
    delete from pgquota.hold_item i using unnest(p_tenant, p_counter) k (tenant, counter)
     where i.tenant = k.tenant and i.counter = k.counter and i.expires_at <= p_now
    returning i.tenant, i.counter, i.hold, i.amount
  ), back as (
    update pgquota.counter c
       -- never below 0: a counter that somebody has changed is told by reconcile, and stops nobody
       set held = greatest(0, c.held - coalesce((select sum(g.amount)::bigint from gone g
                                                  where g.tenant = c.tenant and g.counter = c.id), 0)),
           expiry_at = coalesce((select min(i.expires_at) from pgquota.hold_item i
                                  where i.tenant = c.tenant and i.counter = c.id
                                    and i.expires_at > p_now), 'infinity')
      from unnest(p_tenant, p_counter) k (tenant, counter)
     where c.tenant = k.tenant and c.id = k.counter
       and (c.expiry_at <= p_now
            or exists (select from gone g where g.tenant = c.tenant and g.counter = c.id))
  )
  select array_agg(distinct hold) into v_holds from gone;
  with l as materialized (
    select h.tenant, h.id from pgquota.hold h
     where h.tenant = any (p_tenant) and h.id = any (v_holds) and h.state = 'open'
     order by h.id for no key update)
  update pgquota.hold h set state = 'expired' from l where h.tenant = l.tenant and h.id = l.id;
  return coalesce(cardinality(v_holds), 0);
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.reconcile(p_tenant text)
 RETURNS SETOF pgquota.difference
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$; -- owner pgquota_owner
comment on function pgquota.reconcile(p_tenant text) is 'Every difference between a tenant''s counters, holds and ledger; changes nothing. Reads the whole ledger';
grant execute on function pgquota.reconcile(p_tenant text) to pgquota_admin;
grant execute on function pgquota.reconcile(p_tenant text) to pgquota_report;

CREATE OR REPLACE FUNCTION pgquota.refund_legs(p_verb text[], p_tenant text[], p_operation uuid[], p_from integer[], p_to integer[], p_meter text[], p_amount bigint[], p_now timestamp with time zone)
 RETURNS SETOF pgquota.leg
 LANGUAGE sql
 STABLE
AS $function$
  select q.change::int, null::int, r.ord, coalesce(r.name, c.meter), c.meter, c.scope,
         coalesce(r.mode, 'observe'), c.per, r.capacity, r.ceiling, c.billed,
         '{}'::int[], r.message, c.id, null::bigint, c.used, c.held - x.expired, c.entries,
         c.start_at, c.end_at, c.last_at, c.expiry_at, - d.give, - d.give, 0::bigint, k.took
    from unnest(p_verb, p_tenant, p_operation) with ordinality q (verb, tenant, operation, change)
   cross join lateral (
         select e.counter, sum(e.amount)::bigint as amount
           from pgquota.ledger e
          where e.tenant = q.tenant and e.operation = q.operation
            and e.at = pgquota.operation_at(q.operation) and e.amount > 0 and e.verb <> 'repair'
          group by e.counter) e
    join pgquota.counter c on c.tenant = q.tenant and c.id = e.counter
   cross join lateral (
         select coalesce(sum(i.amount), 0)::bigint as expired from pgquota.hold_item i
          where i.tenant = q.tenant and i.counter = e.counter and i.expires_at <= p_now) x
    left join lateral (
         select -sum(x.amount)::bigint as given
           from pgquota.ledger x
          where x.tenant = q.tenant and x.ref = q.operation and x.verb = 'refund'
            and x.counter = e.counter) g on true
   cross join lateral (select greatest(0, e.amount - coalesce(g.given, 0)) as took) k
   cross join lateral (select array_position(p_meter, c.meter, p_from[q.change]) as place) n
   cross join lateral (
         select case when p_to[q.change] < p_from[q.change] then k.took
                     when n.place <= p_to[q.change] then p_amount[n.place]
                     else 0 end as give) d
   cross join pgquota.setting z
    left join pgquota.tenant t on t.tenant = q.tenant
    left join lateral pgquota.limits(c.scope, coalesce(t.plan, z.default_plan), t.adjusted, c.meter, p_now) r
      on r.mode <> 'off' and r.scope = c.scope and r.per = c.per
   where q.verb = 'refund'
$function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.repair(p_tenant text)
 RETURNS SETOF pgquota.difference
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$; -- owner pgquota_owner
comment on function pgquota.repair(p_tenant text) is 'Brings a tenant''s counters back to what ledger and holds say, by visible ledger entries, and returns the differences that are gone; a ledger that is broken in itself stays as it is';
grant execute on function pgquota.repair(p_tenant text) to pgquota_admin;

CREATE OR REPLACE FUNCTION pgquota.reset(p_scope text, p_dry_run boolean DEFAULT false)
 RETURNS TABLE(name text, meter text, scope text, mode text, per text, capacity bigint, used bigint, held bigint, start_at timestamp with time zone, end_at timestamp with time zone)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$; -- owner pgquota_owner
comment on function pgquota.reset(p_scope text, p_dry_run boolean) is 'Sets the running windows of a scope and all below it back to zero by visible ledger entries, and returns the counters as they were; a dry run only returns them';
grant execute on function pgquota.reset(p_scope text, p_dry_run boolean) to pgquota_admin;

CREATE OR REPLACE FUNCTION pgquota.resolve(p_scope text[], p_change integer[], p_meter text[], p_amount bigint[], p_now timestamp with time zone)
 RETURNS SETOF pgquota.leg
 LANGUAGE sql
 STABLE
AS $function$
  select q.change, q.input::int, l.ord, l.name, l.meter, l.scope, l.mode, l.per, l.capacity, l.ceiling,
         case when o.runs then c.billed else l.billed end, l.thresholds, l.message,
         case when o.runs then c.id end, case when not o.runs then c.id end,
         case when o.runs then c.used else 0 end, case when o.runs then c.held - x.expired else 0 end,
         case when o.runs then c.entries else 0 end,
         case when o.runs then c.start_at else greatest(lower(w.span), c.end_at) end,
         case when o.runs then c.end_at else upper(w.span) end,
         case when o.runs then c.last_at else greatest(lower(w.span), c.end_at) end,
         case when o.runs then c.expiry_at else 'infinity' end,
         q.amount, q.amount, 0::bigint, null::bigint
    from unnest(p_change, p_meter, p_amount) with ordinality q (change, meter, amount, input)
   cross join pgquota.setting z
    left join pgquota.tenant t on t.tenant = split_part(p_scope[q.change], '/', 1)
   cross join lateral pgquota.limits(p_scope[q.change], coalesce(t.plan, z.default_plan), t.adjusted,
                                     q.meter, p_now) l
    left join pgquota.counter c
      on c.tenant = split_part(p_scope[q.change], '/', 1) and c.scope = l.scope
     and c.meter = l.meter and c.per = l.per and c.current
   cross join lateral (select coalesce(c.end_at > p_now, false) as runs) o
   cross join lateral (
         select case when not o.runs
                     then (select tstzrange(w.start_at, w.end_at)
                             from pgquota.window_at(l.per, p_now, coalesce(t.zone, z.default_zone),
                                                    coalesce(t.anchor, timestamp '2001-01-01')) w) end
                as span) w
   cross join lateral (
         select case when o.runs and c.expiry_at <= p_now
                     then coalesce((select sum(i.amount)::bigint from pgquota.hold_item i
                                     where i.tenant = c.tenant and i.counter = c.id
                                       and i.expires_at <= p_now), 0)
                     else 0 end as expired) x
$function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.schema_version()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE
RETURN 5; -- owner pgquota_owner
grant execute on function pgquota.schema_version() to pgquota_admin;
grant execute on function pgquota.schema_version() to pgquota_app;
grant execute on function pgquota.schema_version() to pgquota_report;

CREATE OR REPLACE FUNCTION pgquota.seen_keys(p_verb text[], p_scope text[], p_key text[], p_ref uuid[], p_ttl bigint[], p_from integer[], p_to integer[], p_meter text[], p_amount bigint[], p_now timestamp with time zone)
 RETURNS TABLE(change integer, status text, detail text)
 LANGUAGE sql
 STABLE
AS $function$
  select q.change::int,
         case when k.answers is null or k.at < p_now - pgquota.exactly(z.key_retention) then 'key_expired'
              when d.field is not null then 'key_conflict'
              else 'replay' end,
         d.field
    from unnest(p_verb, p_scope, p_key, p_ref, p_ttl) with ordinality
           q (verb, scope, key, ref, ttl, change)
   cross join pgquota.setting z
    left join pgquota.operation_key k on k.tenant = split_part(q.scope, '/', 1) and k.key = q.key
   cross join lateral (
         select case when k.key is null then null
                     when k.verb <> case q.verb when 'check' then 'consume' else q.verb end then 'verb'
                     when k.scope <> q.scope then 'scope'
                     when k.ref is distinct from q.ref then 'ref'
                     when k.ttl is distinct from q.ttl then 'ttl'
                     when k.meters <> coalesce(p_meter[p_from[q.change]:p_to[q.change]], '{}') then 'meters'
                     when k.amounts <> coalesce(p_amount[p_from[q.change]:p_to[q.change]], '{}')
                     then 'amounts' end as field) d
   where q.key is not null
     and (k.key is not null
          -- a key that is a UUIDv7 tells its own age, so its row need not be kept to refuse it
          or pgquota.key_time(q.key) < pgquota.keys_from(p_now))
$function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.upkeep(p_task text, p_most integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '100ms'
AS $function$
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
end $function$; -- owner pgquota_owner
comment on function pgquota.upkeep(p_task text, p_most integer) is 'A batch of housekeeping: holds, ended, keys, windows, entries, dropped or made; returns how many';
grant execute on function pgquota.upkeep(p_task text, p_most integer) to pgquota_admin;
grant execute on function pgquota.upkeep(p_task text, p_most integer) to pgquota_app;

CREATE OR REPLACE FUNCTION pgquota.version_at(p_plan text, p_at timestamp with time zone)
 RETURNS integer
 LANGUAGE sql
 STABLE
AS $function$
  select v.version from pgquota.plan_version v
   where v.plan = p_plan and v.from_at <= p_at
   order by v.from_at desc, v.version desc
   limit 1
$function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.version_limits(p_plan text, p_version integer)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(jsonb_agg(to_jsonb(l) - '{plan,version,ord,from_at,until_at,ceiling,calm,leads,
                                            alone,shared}'::text[]
                            order by l.ord), '[]')
    from pgquota.plan_limit l
   where l.plan = p_plan and l.version = p_version
$function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.why_no_limit(p_scope text, p_meter text, p_now timestamp with time zone)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select case when count(p.plan) = 0 then 'unknown_tenant'
              when count(l.name) = 0 then 'no_version'
              when bool_or(l.meter = p_meter) then 'scope_too_short'
              else 'unknown_meter' end
    from pgquota.setting z
    left join pgquota.tenant t on t.tenant = split_part(p_scope, '/', 1)
   cross join lateral (select coalesce(t.plan, z.default_plan) as plan) p
    left join pgquota.plan_limit l on l.plan = p.plan and l.from_at <= p_now and l.until_at > p_now
$function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.window_at(p_per text, p_at timestamp with time zone, p_zone text, p_anchor timestamp without time zone)
 RETURNS TABLE(start_at timestamp with time zone, end_at timestamp with time zone)
 LANGUAGE sql
 STABLE PARALLEL SAFE ROWS 1
AS $function$
  -- The boundary with the latest local time need not be the latest instant that has passed. A local
  -- time that comes twice (clocks go back) means its second coming, which may be ahead; one that
  -- never comes (clocks go forward) is read with the offset before, and lies ahead by as much as
  -- was skipped. The one before it has passed then: no zone ever moved by more than a day.
  -- Where a whole day was skipped two boundaries are one instant; it starts one window, not two.
  select case when per = 'fixed' then p_at
              when per = 'lifetime' then '-infinity'
              when seconds is not null then bin
              when boundary <= p_at then boundary
              else (p_anchor + make_interval(months => (n - 1) * months, days => (n - 1) * days))
                   at time zone p_zone
         end,
         case when per = 'fixed' then p_at + make_interval(secs => seconds)
              when per = 'lifetime' then 'infinity'
              when seconds is not null then bin + make_interval(secs => seconds)
              when boundary > p_at then boundary
              else (p_anchor + make_interval(months => (n + 1) * months, days => (n + 1) * days))
                   at time zone p_zone
         end
    from (select *,
                 (p_anchor + make_interval(months => n * months, days => n * days))
                 at time zone p_zone as boundary
            from (-- n: the boundary with the latest local time that is not after local
                  select per, seconds, bin, months, days,
                         guess - (p_anchor + make_interval(months => guess * months,
                                                           days => guess * days) > local)::int as n
                    from (-- guess: n, or one more, as it looks at whole days or months only
                          select *,
                                 case when days > 0
                                      then floor((local::date - p_anchor::date) / days::float8)
                                      else floor(((date_part('year', local)
                                                   - date_part('year', p_anchor)) * 12
                                                  + date_part('month', local)
                                                  - date_part('month', p_anchor)) / months)
                                 end::int as guess
                            from (select *,
                                         case when months + days > 0
                                              then p_at at time zone p_zone
                                         end as local,
                                         -- Hours are instants apart, not local times, and so the
                                         -- same whatever clocks do. Their origin is moved before
                                         -- all times because the first releases of some majors
                                         -- put a boundary before the origin one bin too early.
                                         case per
                                           when 'hour' then
                                             date_bin('1 hour', p_at, (p_anchor at time zone p_zone)
                                                                      - interval '24000000 hours')
                                           when 'aligned' then
                                             date_bin(make_interval(secs => seconds), p_at,
                                                      timestamptz 'epoch')
                                         end as bin
                                    from (select split_part(p_per, ':', 1) as per,
                                                 case when p_per = 'hour' then 3600
                                                      when p_per like '%:%'
                                                      then split_part(p_per, ':', 2)::float8
                                                 end as seconds,
                                                 case p_per when 'month' then 1
                                                            when 'quarter' then 3
                                                            when 'year' then 12
                                                            else 0
                                                 end as months,
                                                 case p_per when 'day' then 1
                                                            when 'week' then 7
                                                            else 0
                                                 end as days
                                          offset 0) kind
                                  offset 0) now
                          offset 0) guessed
                  offset 0) counted
          offset 0) bounded
$function$; -- owner pgquota_owner
comment on function pgquota.window_at(p_per text, p_at timestamp with time zone, p_zone text, p_anchor timestamp without time zone) is 'The window that holds an instant, start included and end not; windows of one kind, zone and anchor tile time. Calendar units are counted from the anchor in the zone; hours from the anchor''s instant; fixed windows start at the instant asked for. One row, nulls for a kind that is_per refuses';
