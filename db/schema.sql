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
  entry bigint
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
  amount bigint,
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
  expired bigint,
  entries bigint,
  start_at timestamp with time zone,
  end_at timestamp with time zone,
  last_at timestamp with time zone,
  expiry_at timestamp with time zone,
  took bigint
);

create domain pgquota.name as text
  constraint name_check CHECK (((VALUE ~ '^[^[:cntrl:]]{1,128}$'::text) AND (VALUE !~ '^\s|\s$'::text)));

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

CREATE INDEX counter_window ON pgquota.counter USING btree (tenant, scope, meter, per, start_at);

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
  constraint plan_limit_message_check CHECK ((length(message) <= 1000)),
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

CREATE OR REPLACE FUNCTION pgquota.apply(p_verb text, p_scope text, p_key text, p_ref uuid, p_ttl bigint, p_meter text[], p_amount bigint[])
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
  v_reached pgquota.alert[];
  v_answers pgquota.answer[];
  v_answer pgquota.answer;
begin
  <<short>>
  begin
    if p_verb in ('settle', 'release') then
      exit short when p_key is not null;
      v_state := case p_verb when 'settle' then 'settled' else 'released' end;
      select array_agg(k order by (k.answer).scope collate "C", (k.answer).meter collate "C",
                                  (k.answer).per collate "C", (k.answer).start_at),
             bool_and(k.plain is true) and count(*) = min(k.whole), false
        into v_parts, v_plain, v_denied
        from pgquota.look_at_hold(p_verb, p_scope, p_ref, p_meter, p_amount, v_state, v_now) k;
    else
      exit short when p_ref is not null or (p_verb in ('consume', 'record', 'check', 'reserve')) is not true;
      if p_verb = 'reserve' then
        v_state := 'open';
        select v_now + least(p_ttl * interval '1 millisecond', pgquota.exactly(z.longest_hold))
          into v_expires from pgquota.setting z where p_ttl > 0;
        exit short when not found;
      end if;
      if cardinality(p_meter) = 1 then
        select * into v_part
          from pgquota.look(p_verb, p_scope, p_meter, p_amount, v_state, v_expires, v_now) k where k.alone;
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
          from pgquota.look(p_verb, p_scope, p_meter, p_amount, v_state, v_expires, v_now) k;
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
      returning c.used, c.held, c.entries, c.last_at into v_answer.used, v_answer.held, v_entry, v_last;
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
            v_part.du + v_part.dh, coalesce(v_answer.used - v_answer.capacity + v_answer.held, 0)));
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
        continue when v_parts[g].du = 0;
        v_reached := pgquota.reached(v_answers[g], v_parts[g].thresholds);
        v_answers[g].crossed := array(select a.percent from unnest(v_reached) a);
        v_alerts := v_alerts || v_reached;
      end loop;
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
        values (v_tenant, v_at, v_op, v_answer.counter, v_answer.entry, p_verb, v_answer.granted,
                v_answer.used, p_ref);
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
                                array_fill(1, array[coalesce(cardinality(p_meter), 0)]), p_meter, p_amount);
end $function$; -- owner pgquota_owner
grant execute on function pgquota.apply(p_verb text, p_scope text, p_key text, p_ref uuid, p_ttl bigint, p_meter text[], p_amount bigint[]) to pgquota_admin;
grant execute on function pgquota.apply(p_verb text, p_scope text, p_key text, p_ref uuid, p_ttl bigint, p_meter text[], p_amount bigint[]) to pgquota_app;

CREATE OR REPLACE FUNCTION pgquota.apply(p_verb text[], p_scope text[], p_key text[], p_ref uuid[], p_ttl bigint[], p_change integer[], p_meter text[], p_amount bigint[])
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
AS $function$
declare
  c_most constant bigint := 9223372036854775807;
  v_n constant int := coalesce(cardinality(p_verb), 0);
  v_keyed constant boolean := cardinality(array_remove(p_key, null)) > 0;
  v_keys text[];        -- tenant/key of each change
  v_scopes text[];      -- null for a change that names a hold or an operation
  i_from int[];         -- the amounts of change i are p_amount[i_from[i] .. i_to[i]]
  i_to int[];
  i_take bigint[];      -- of each amount: what consume_up_to takes of it
  v_now timestamptz;
  v_at timestamptz;
  v_low timestamptz;
  v_high timestamptz;
  v_first timestamptz;  -- when the first of the holds taken or extended here expires
  v_status text[];
  v_detail text[];
  v_op uuid[];
  v_expires timestamptz[];
  v_state text[];       -- what becomes of the hold
  v_late boolean[];
  v_from int[];         -- the legs of change i are v_legs[v_from[i] .. v_to[i]]
  v_to int[];
  v_legs pgquota.leg[];
  v_part pgquota.leg[];
  v_leg pgquota.leg;
  v_hold pgquota.hold;
  v_seen record;
  -- of each leg
  g_slot int[];
  g_fits boolean[];
  g_granted bigint[];
  g_du bigint[];
  g_dh bigint[];
  g_charges boolean[];  -- false where another limit of the same change has charged the counter already
  g_used bigint[];
  g_held bigint[];
  g_over bigint[];
  g_crossed pgquota.alert[];
  -- of each counter, its slot
  s_tenant text[];
  s_id bigint[];
  s_used bigint[];
  s_held bigint[];
  s_entries bigint[];
  s_du bigint[];        -- what this call adds
  s_dh bigint[];
  s_de bigint[];
  s_last int[];         -- the change that touched it last
  b_used bigint[];      -- as they were before this call
  b_held bigint[];
  l_tenant text[];      -- the counters that are locked
  l_id bigint[];
  m_tenant text[];      -- those that must be, to open windows
  m_id bigint[];
  v_reap boolean := false;
  v_opened bigint[] := '{}'; -- counters
  v_write boolean;
  v_missing boolean;
  v_covered boolean;
  v_expired boolean;
  v_denied boolean;
  v_ok boolean;
  v_deny boolean;
  v_full text;          -- the limit whose counter cannot hold so much
  v_verb text;
  v_slot int;
  v_rows int;
  v_take bigint;
  v_d bigint;
  v_u bigint;
  v_h bigint;
  v_answers pgquota.answer[];
  v_answer pgquota.answer;
  -- rows to write
  w_ledger pgquota.ledger[];
  w_alerts pgquota.alert[];
  w_holds pgquota.hold[];
  w_items pgquota.hold_item[];
begin
  if v_n = 0 or v_n <> all (array[coalesce(cardinality(p_scope), 0), coalesce(cardinality(p_key), 0),
                                  coalesce(cardinality(p_ref), 0), coalesce(cardinality(p_ttl), 0)])
     -- from 1 on, and in one dimension, as loops go
     or array_dims(p_verb) <> all (array[array_dims(p_scope), array_dims(p_key), array_dims(p_ref),
                                         array_dims(p_ttl), '[1:' || v_n || ']'])
     or array_position(p_verb, null) is not null or array_position(p_scope, null) is not null
     or not p_verb <@ '{consume,consume_up_to,record,reserve,check,settle,release,extend,refund}'
     or (cardinality(p_change) = all (array[cardinality(p_meter), cardinality(p_amount)])) is not true
     or coalesce(array_dims(p_change) <> all (array[array_dims(p_meter), array_dims(p_amount),
                                                    '[1:' || cardinality(p_change) || ']']), false)
     or array_position(p_meter, null) is not null or array_position(p_amount, null) is not null
     or 0 > any (p_amount) or 4611686018427387904 < any (p_amount)
     -- each change is decided on what was before the list
     or (select count(*) <> count(distinct r) from unnest(array_remove(p_ref, null)) r) then
    raise exception 'malformed call of pgquota.apply' using errcode = 'PQ001',
      hint = 'one element of each array a change; amounts from 0 to 2^62, each with its change and meter; '
             'no hold or operation twice';
  end if;
  i_from := array_fill(1, array[v_n]);
  i_to := array_fill(0, array[v_n]);
  for j in 1 .. cardinality(p_change) loop
    if p_change[j] is null or p_change[j] not between 1 and v_n or p_change[j] < p_change[j - 1] then
      raise exception 'amount % belongs to change % of %', j, p_change[j], v_n using errcode = 'PQ001',
        hint = 'amounts are listed in the order of their changes, numbered from 1';
    end if;
    if i_to[p_change[j]] = 0 then
      i_from[p_change[j]] := j;
    elsif p_meter[j] <= p_meter[j - 1] collate "C" then
      raise exception 'change % names meter "%" twice or out of order', p_change[j], p_meter[j]
        using errcode = 'PQ001', hint = 'the meters of a change are sorted, each named once';
    end if;
    i_to[p_change[j]] := j;
  end loop;
  for i in 1 .. v_n loop
    v_scopes[i] := case when p_ref[i] is null then p_scope[i] end;
    v_keys[i] := split_part(p_scope[i], '/', 1) || '/' || p_key[i];
    if not pgquota.is_scope(p_scope[i]) then
      raise exception 'change %: "%" is not a scope', i, p_scope[i] using errcode = 'PQ001',
        hint = 'a scope is 1 to 9 segments of 1 to 128 characters, joined by slashes';
    end if;
    if (p_ref[i] is null) = (p_verb[i] in ('settle', 'release', 'extend', 'refund'))
       or p_verb[i] in ('reserve', 'extend') and (p_ttl[i] > 0) is not true then
      raise exception 'change %: % needs %', i, p_verb[i],
        case when p_ref[i] is null and p_verb[i] <> 'reserve' then 'a hold or operation'
             when p_verb[i] in ('reserve', 'extend') then 'a time to live'
             else 'no hold or operation' end using errcode = 'PQ001';
    end if;
  end loop;
  -- Settlements, releases and refunds always fit and name their counters: they are locked at once.
  if not p_verb && '{consume,consume_up_to,record,reserve,check,extend}' then
    select array_agg(x.tenant order by x.id), array_agg(x.id order by x.id) into l_tenant, l_id
      from (select h.tenant, unnest(h.counters) as id
              from unnest(p_verb, p_scope, p_ref) q (verb, tenant, ref)
              join pgquota.hold h on h.tenant = q.tenant and h.id = q.ref and q.verb <> 'refund'
            union
            select e.tenant, e.counter
              from unnest(p_verb, p_scope, p_ref) q (verb, tenant, ref)
              join pgquota.ledger e on e.at = pgquota.operation_at(q.ref) and e.tenant = q.tenant
                                   and e.operation = q.ref and q.verb = 'refund') x;
  end if;

  loop
    if l_id is not null then
      perform from (select c.id from unnest(l_tenant, l_id) k (tenant, id)
                      join pgquota.counter c on c.tenant = k.tenant and c.id = k.id
                     order by c.scope, c.meter, c.per, c.start_at for no key update of c) l;
      if v_reap then
        perform pgquota.reap(l_tenant, l_id, pgquota.clock());
      end if;
    end if;
    if p_verb && '{settle,release}' then
      -- of a limit that counts nothing: no counter's lock stands for the hold's
      perform from (select h.id from unnest(p_scope, p_ref) q (tenant, ref)
                      join pgquota.hold h on h.tenant = q.tenant and h.id = q.ref and h.counters = '{}'
                     order by h.id for no key update of h) l;
    end if;
    v_now := pgquota.clock();
    v_status := array_fill(null::text, array[v_n]);
    v_detail := v_status;
    v_state := v_status;
    v_op := array_fill(null::uuid, array[v_n]);
    v_expires := array_fill(null::timestamptz, array[v_n]);
    v_late := array_fill(false, array[v_n]);
    w_ledger := '{}'; w_alerts := '{}'; w_holds := '{}'; w_items := '{}';

    -- Keys first, counters after: a first answer that filled the counter is then seen as an answer.
    if v_keyed then
      for v_seen in
          select * from pgquota.seen_keys(p_verb, p_scope, p_key, p_ref, p_ttl, p_change, p_meter, p_amount,
                                          v_now) loop
        v_status[v_seen.change] := v_seen.status;
        v_detail[v_seen.change] := v_seen.detail;
      end loop;
    end if;

    -- The legs of changes that look for their limits, then of those that name a hold or an operation.
    v_legs := array(select l
                      from unnest(pgquota.resolve(v_scopes, p_change, p_meter, p_amount, v_now)) l
                     order by l.change, l.ord);
    for i in 1 .. v_n loop
      continue when v_status[i] is not null or p_ref[i] is null;
      v_verb := p_verb[i];
      if v_verb = 'refund' then
        v_legs := v_legs || array(select l from pgquota.refund_legs(i, p_scope[i], p_ref[i], v_now) l);
        continue;
      end if;
      select * into v_hold from pgquota.hold h where h.tenant = p_scope[i] and h.id = p_ref[i];
      if not found then
        v_status[i] := 'unknown_hold';
        continue;
      end if;
      v_late[i] := v_hold.state = 'expired' or v_hold.expires_at <= v_now;
      if v_verb = 'extend' and (v_hold.state <> 'open' or v_late[i]) then
        v_status[i] := 'hold_ended';
        v_detail[i] := case when v_hold.state = 'open' then 'expired' else v_hold.state end;
      elsif v_hold.answers is not null then
        v_status[i] := 'ended';
      elsif not p_meter[i_from[i]:i_to[i]] <@ v_hold.meters then
        v_status[i] := 'meter_not_held';
        v_detail[i] := (select m from unnest(p_meter[i_from[i]:i_to[i]]) m
                         where m <> all (v_hold.meters) limit 1);
      else
        v_state[i] := case when v_verb = 'settle' then 'settled' when v_verb = 'extend' then 'open'
                           when v_late[i] then 'expired' else 'released' end;
        v_expires[i] := v_hold.expires_at;
        if v_verb = 'extend' then
          v_expires[i] := greatest(v_hold.expires_at, least(
              v_now + p_ttl[i] * interval '1 millisecond',
              v_hold.taken_at + (select pgquota.exactly(z.longest_hold) from pgquota.setting z)));
        end if;
        v_part := array(select l from pgquota.hold_legs(i, p_scope[i], p_ref[i], v_now) l);
        if cardinality(v_hold.counters) > (select count(distinct l.counter) from unnest(v_part) l) then
          v_status[i] := 'unknown_hold'; -- retention has dropped a window that it was taken in
        end if;
        v_legs := v_legs || v_part;
      end if;
    end loop;

    -- Which legs are whose; which counters there are.
    v_from := array_fill(1, array[v_n]);
    v_to := array_fill(0, array[v_n]);
    i_take := p_amount;
    s_tenant := '{}'; s_id := '{}'; s_used := '{}'; s_held := '{}'; s_entries := '{}';
    s_du := '{}'; s_dh := '{}'; s_de := '{}'; s_last := '{}';
    g_slot := '{}';
    for g in 1 .. coalesce(cardinality(v_legs), 0) loop
      v_leg := v_legs[g];
      if v_to[v_leg.change] = 0 then
        v_from[v_leg.change] := g;
      end if;
      v_to[v_leg.change] := g;
      g_slot[g] := null;
      if v_leg.input is not null then
        i_take[v_leg.input] := -1; -- a limit was found for it
      end if;
      if v_leg.counter is not null and v_leg.mode <> 'off' then
        v_slot := array_position(s_id, v_leg.counter);
        if v_slot is null then
          s_id := s_id || v_leg.counter;
          v_slot := cardinality(s_id);
          s_tenant[v_slot] := split_part(v_leg.scope, '/', 1);
          s_used[v_slot] := v_leg.used;
          s_held[v_slot] := v_leg.held;
          s_entries[v_slot] := v_leg.entries;
          s_du[v_slot] := 0;
          s_dh[v_slot] := 0;
          s_de[v_slot] := 0;
          s_last[v_slot] := 0;
        end if;
        g_slot[g] := v_slot;
      end if;
    end loop;
    for j in 1 .. cardinality(p_change) loop
      if i_take[j] >= 0 and p_ref[p_change[j]] is null and v_status[p_change[j]] is null then
        v_status[p_change[j]] := pgquota.why_no_limit(p_scope[p_change[j]], p_meter[j], v_now);
        v_detail[p_change[j]] := p_meter[j];
      end if;
    end loop;
    i_take := p_amount;
    b_used := s_used;
    b_held := s_held;

    -- Decide, in order, each change on what the ones before it left.
    g_fits := '{}'; g_granted := '{}'; g_du := '{}'; g_dh := '{}'; g_charges := '{}';
    g_used := '{}'; g_held := '{}';
    v_low := null; v_high := null;
    v_write := false; v_missing := false; v_expired := false; v_denied := false; v_covered := true;
    for i in 1 .. v_n loop
      if v_keys[i] is not null
         and coalesce(v_status[i], '') not in ('replay', 'key_conflict', 'key_expired') then
        -- answered at the end, out of the row that the first one writes; a denied one writes none
        for j in 1 .. i - 1 loop
          if v_keys[j] = v_keys[i] and v_status[j] = 'granted' and p_verb[j] <> 'check' then
            v_status[i] := 'same_key';
          end if;
        end loop;
      end if;
      continue when v_status[i] is not null;
      v_verb := p_verb[i];
      if v_verb = 'refund' and v_to[i] = 0 then
        v_status[i] := 'unknown_operation';
        continue;
      end if;
      if v_verb = 'consume_up_to' then
        for g in v_from[i] .. v_to[i] loop
          v_leg := v_legs[g];
          if v_leg.mode = 'enforce' and v_leg.ceiling is not null then
            v_slot := g_slot[g];
            i_take[v_leg.input] := least(i_take[v_leg.input], greatest(0, v_leg.ceiling
                - coalesce(s_used[v_slot], 0) - coalesce(s_held[v_slot], 0)));
          end if;
        end loop;
      end if;
      v_ok := true;
      v_full := null;
      v_deny := v_verb in ('consume', 'reserve', 'extend', 'check');
      for g in v_from[i] .. v_to[i] loop
        v_leg := v_legs[g];
        continue when v_leg.mode = 'off';
        v_slot := g_slot[g];
        v_u := coalesce(s_used[v_slot], 0);
        v_h := coalesce(s_held[v_slot], 0);
        v_take := v_leg.amount;
        if v_leg.input is null then
          v_slot := array_position(p_meter[i_from[i]:i_to[i]], v_leg.meter);
          v_take := case when v_slot is not null then p_amount[i_from[i] + v_slot - 1]
                         when v_verb = 'settle' then v_leg.amount
                         when v_verb = 'refund' and i_to[i] = 0 then v_leg.took
                         else 0 end;
        elsif v_verb = 'consume_up_to' then
          v_take := i_take[v_leg.input];
        end if;
        if v_verb = 'refund' and v_take > v_leg.took then
          v_status[i] := 'refund_too_large';
          -- a reset of a scope leaves less in some of its counters
          v_detail[i] := (select min(l.took) from unnest(v_legs[v_from[i]:v_to[i]]) l
                           where l.meter = v_leg.meter) || ' ' || v_leg.meter;
          exit;
        end if;
        g_du[g] := case v_verb when 'reserve' then 0 when 'extend' then 0 when 'release' then 0
                               when 'refund' then -v_take else v_take end;
        g_dh[g] := case v_verb when 'reserve' then v_take when 'extend' then v_take
                               when 'settle' then -v_leg.took when 'release' then -v_leg.took else 0 end;
        v_d := case when v_verb = 'consume_up_to' then v_leg.amount else g_du[g] + g_dh[g] end;
        g_fits[g] := v_d <= 0 or v_leg.ceiling is null or v_d <= v_leg.ceiling - v_u - v_h;
        g_granted[g] := v_take;
        g_used[g] := v_u;
        g_held[g] := v_h;
        if g_du[g] + g_dh[g] > c_most - v_u - v_h then
          v_full := coalesce(v_full, v_leg.name);
        end if;
        v_ok := v_ok and (g_fits[g] or not v_deny or v_leg.mode = 'observe');
      end loop;
      if v_verb = 'refund' and v_status[i] is null then
        for j in i_from[i] .. i_to[i] loop
          if p_amount[j] > 0 and v_status[i] is null
             and not exists (select from unnest(v_legs[v_from[i]:v_to[i]]) l where l.meter = p_meter[j]) then
            v_status[i] := 'refund_too_large'; -- none of it was charged
            v_detail[i] := '0 ' || p_meter[j];
          end if;
        end loop;
      end if;
      continue when v_status[i] is not null;
      if v_ok and v_full is not null then
        v_status[i] := 'counter_full';
        v_detail[i] := v_full;
        continue;
      end if;
      if not v_ok then
        v_status[i] := 'denied';
        v_denied := true;
        continue;
      end if;
      v_status[i] := 'granted';
      continue when v_verb = 'check';
      v_write := true;
      for g in v_from[i] .. v_to[i] loop
        v_leg := v_legs[g];
        continue when v_leg.mode = 'off';
        v_slot := g_slot[g];
        v_expired := v_expired or v_leg.counter is not null and v_leg.expiry_at <= v_now;
        v_low := greatest(v_low, v_leg.last_at);
        if v_leg.input is not null then
          v_high := least(v_high, v_leg.end_at);
        end if;
        if v_slot is null then
          v_missing := true;
        else
          v_covered := v_covered and coalesce(v_leg.counter = any (l_id), false);
          g_charges[g] := s_last[v_slot] <> i;
          if g_charges[g] then
            s_last[v_slot] := i;
            s_du[v_slot] := s_du[v_slot] + g_du[g];
            s_dh[v_slot] := s_dh[v_slot] + g_dh[g];
            s_used[v_slot] := s_used[v_slot] + g_du[g];
            s_held[v_slot] := s_held[v_slot] + g_dh[g];
            s_de[v_slot] := s_de[v_slot] + (v_leg.billed and g_du[g] <> 0)::int;
          end if;
        end if;
      end loop;
    end loop;

    v_at := v_now;
    if not v_write then
      -- A rival with the same key may have been answered between the look at the keys and that at the
      -- counters; it is visible now.
      continue when v_denied and v_keyed and exists (
          select from pgquota.seen_keys(p_verb, p_scope, p_key, p_ref, p_ttl, p_change, p_meter, p_amount,
                                        v_now) k where v_status[k.change] = 'denied');
      -- A stricter caller looks through an old snapshot: a lock tells whether its denial still stands.
      if v_denied and l_id is null and current_setting('transaction_isolation') <> 'read committed' then
        l_tenant := s_tenant;
        l_id := s_id;
        continue;
      end if;
    elsif v_missing and exists (select from unnest(v_legs) l
                                 where l.counter is null and l.ended is null and l.mode <> 'off'
                                   and v_status[l.change] = 'granted' and p_verb[l.change] <> 'check') then
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
           and v_status[l.change] = 'granted' and p_verb[l.change] <> 'check'
         group by l.scope, l.meter, l.per
         order by l.scope collate "C", l.meter collate "C", l.per collate "C"
        on conflict (tenant, scope, meter, per) where current do update set used = c.used
        returning c.id, c.xmax = 0 as opened)
      select v_opened || coalesce(array_agg(id) filter (where opened), '{}') into v_opened from o;
      continue;
    elsif v_missing then
      -- Open the windows. Those before them are closed under their locks, which are taken in one go with
      -- those of the other counters, in order.
      select array_agg(x.tenant order by x.id), array_agg(x.id order by x.id) into m_tenant, m_id
        from (select split_part(l.scope, '/', 1) as tenant, l.ended as id
                from unnest(v_legs) l
               where l.counter is null and l.ended is not null and l.mode <> 'off'
                 and v_status[l.change] = 'granted' and p_verb[l.change] <> 'check'
              union
              select * from unnest(s_tenant, s_id)) x;
      if not m_id <@ coalesce(l_id, '{}') then
        l_tenant := m_tenant;
        l_id := m_id;
        continue;
      end if;
      update pgquota.counter c set current = false
        from unnest(v_legs) l
       where l.counter is null and c.tenant = split_part(l.scope, '/', 1) and c.id = l.ended
         and l.mode <> 'off' and v_status[l.change] = 'granted' and p_verb[l.change] <> 'check';
      with o as (
      insert into pgquota.counter (tenant, scope, meter, per, start_at, end_at, last_at, billed)
      select split_part(l.scope, '/', 1), l.scope, l.meter, l.per, min(l.start_at), min(l.end_at),
             min(l.start_at), bool_or(l.billed)
        from unnest(v_legs) l
       where l.counter is null and l.mode <> 'off'
         and v_status[l.change] = 'granted' and p_verb[l.change] <> 'check'
       group by l.scope, l.meter, l.per
       order by l.scope collate "C", l.meter collate "C", l.per collate "C"
      on conflict do nothing returning id)
      select v_opened || coalesce(array_agg(id), '{}') into v_opened from o;
      continue;
    elsif not v_covered or v_expired then
      v_reap := v_reap or v_expired;
      l_tenant := s_tenant;
      l_id := s_id;
      continue;
    else
      v_at := greatest(v_low, least(v_at, v_high - interval '1 microsecond'));
      if p_verb && '{reserve,extend}' then
        select min(case q.verb when 'extend' then q.expires
                               else v_now + least(q.ttl * interval '1 millisecond',
                                                  pgquota.exactly(z.longest_hold)) end)
          into v_first
          from pgquota.setting z, unnest(p_verb, p_ttl, v_status, v_expires) q (verb, ttl, status, expires)
         where q.verb in ('reserve', 'extend') and q.status = 'granted';
      end if;
      -- Locked and decided: what fits is known, so there is no guard.
      update pgquota.counter c
         set used = c.used + s.used, held = c.held + s.held, entries = c.entries + s.entries, last_at = v_at,
             expiry_at = least(c.expiry_at, v_first)
        from unnest(s_tenant, s_id, s_du, s_dh, s_de) s (tenant, id, used, held, entries)
       where c.tenant = s.tenant and c.id = s.id and (s.used <> 0 or s.held <> 0);
    end if;

    -- Answers, and what is to be written beside the counters.
    s_used := b_used;
    s_held := b_held;
    v_answers := '{}'; g_over := '{}';
    for i in 1 .. v_n loop
      continue when v_status[i] in ('replay', 'ended', 'same_key');
      if v_status[i] = 'granted' and p_verb[i] <> 'check' then
        v_op[i] := pgquota.operation_id(v_at);
        if p_verb[i] = 'reserve' then
          v_expires[i] := v_now + least(p_ttl[i] * interval '1 millisecond',
                                       (select pgquota.exactly(z.longest_hold) from pgquota.setting z));
          v_state[i] := 'open';
          w_holds := w_holds || row(split_part(p_scope[i], '/', 1), v_op[i], p_scope[i],
              p_meter[i_from[i]:i_to[i]], p_amount[i_from[i]:i_to[i]], '{}', '{}', v_at, v_expires[i],
              'open', null)::pgquota.hold;
        end if;
      end if;
      v_answer := null;
      v_answer.change := i;
      v_answer.status := v_status[i];
      v_answer.detail := v_detail[i];
      v_answer.operation := v_op[i];
      v_answer.at := v_at;
      v_answer.replayed := false;
      v_answer.late := v_late[i];
      v_answer.hold_state := v_state[i];
      v_answer.expires_at := v_expires[i];
      v_ok := false;
      for g in v_from[i] .. v_to[i] loop
        v_leg := v_legs[g];
        continue when v_leg.mode = 'off' or g_used[g] is null;
        v_ok := true;
        v_slot := g_slot[g];
        g_crossed := '{}';
        g_over[g] := 0;
        if v_op[i] is not null then
          if g_charges[g] then
            s_used[v_slot] := s_used[v_slot] + g_du[g];
            s_held[v_slot] := s_held[v_slot] + g_dh[g];
            if v_leg.billed and g_du[g] <> 0 then
              s_entries[v_slot] := s_entries[v_slot] + 1;
              w_ledger := w_ledger || row(s_tenant[v_slot], v_at, v_op[i], s_id[v_slot], s_entries[v_slot],
                  p_verb[i], g_du[g], s_used[v_slot], p_ref[i])::pgquota.ledger;
            end if;
            if p_verb[i] = 'reserve' then
              v_rows := cardinality(w_holds);
              w_holds[v_rows].counters := w_holds[v_rows].counters || s_id[v_slot];
              w_holds[v_rows].counter_meters := w_holds[v_rows].counter_meters || v_leg.meter;
              w_items := w_items || row(s_tenant[v_slot], s_id[v_slot], v_expires[i], v_op[i],
                                        g_dh[g])::pgquota.hold_item;
            end if;
          end if;
          g_used[g] := s_used[v_slot];
          g_held[g] := s_held[v_slot];
          g_over[g] := least(greatest(0, g_du[g] + g_dh[g]),
                             greatest(0, coalesce(g_used[g] - v_leg.capacity + g_held[g], 0)));
        end if;
        v_answer.ord := v_leg.ord;
        v_answer.counter := s_id[v_slot];
        v_answer.entry := case when v_op[i] is not null and g_charges[g] and v_leg.billed and g_du[g] <> 0
                               then s_entries[v_slot] end;
        v_answer.limit_name := v_leg.name;
        v_answer.meter := v_leg.meter;
        v_answer.scope := v_leg.scope;
        v_answer.mode := v_leg.mode;
        v_answer.per := v_leg.per;
        v_answer.capacity := v_leg.capacity;
        v_answer.ceiling := v_leg.ceiling;
        v_answer.used := g_used[g];
        v_answer.held := g_held[g];
        v_answer.start_at := v_leg.start_at;
        v_answer.end_at := v_leg.end_at;
        v_answer.fits := g_fits[g];
        v_answer.granted := case when v_status[i] = 'granted' then g_granted[g] else 0 end;
        v_answer.overage := g_over[g];
        v_answer.message := v_leg.message;
        if v_op[i] is not null and g_du[g] > 0 and cardinality(v_leg.thresholds) > 0 then
          g_crossed := array(select a
                               from unnest(pgquota.reached(v_answer, v_leg.thresholds)) a
                              where not exists (select from unnest(w_alerts) w
                                                 where w.counter = a.counter and w.percent = a.percent
                                                   and w.limit_name = a.limit_name));
          w_alerts := w_alerts || g_crossed;
        end if;
        v_answer.crossed := array(select a.percent from unnest(g_crossed) a);
        v_answers := v_answers || v_answer;
      end loop;
      if not v_ok then
        v_answers := v_answers || v_answer;
      end if;
    end loop;
    exit when not v_write or not v_keyed;
    insert into pgquota.operation_key (tenant, key, verb, scope, ref, ttl, meters, amounts, at, answers)
    select split_part(q.scope, '/', 1), q.key, q.verb, q.scope, q.ref, q.ttl,
           p_meter[i_from[q.ord]:i_to[q.ord]], p_amount[i_from[q.ord]:i_to[q.ord]], v_at,
           array(select a from unnest(v_answers) a where a.change = q.ord)
      from unnest(p_verb, p_scope, p_key, p_ref, p_ttl, v_status) with ordinality
           q (verb, scope, key, ref, ttl, status, ord)
     where q.key is not null and q.status = 'granted' and q.verb <> 'check'
     order by split_part(q.scope, '/', 1) collate "C", q.key collate "C"
    on conflict do nothing;
    get diagnostics v_rows = row_count;
    exit when v_rows = (select count(*) from unnest(p_verb, p_key, v_status) q (verb, key, status)
                         where q.key is not null and q.status = 'granted' and q.verb <> 'check');
    -- A rival's answer to one of the keys was committed while this call waited for the key. Take back what
    -- nobody has seen yet, and look again: the key tells the answer now.
    delete from pgquota.operation_key k using unnest(p_scope, p_key) q (scope, key)
     where k.tenant = split_part(q.scope, '/', 1) and k.key = q.key and k.answers[1].operation = any (v_op);
    update pgquota.counter c
       set used = c.used - s.used, held = c.held - s.held, entries = c.entries - s.entries
      from unnest(s_tenant, s_id, s_du, s_dh, s_de) s (tenant, id, used, held, entries)
     where c.tenant = s.tenant and c.id = s.id;
    l_tenant := s_tenant;
    l_id := s_id;
  end loop;

  -- A change that looked granted on windows not yet open may not fit beside those before it.
  if cardinality(v_opened) > 0 then
    with gone as (
      delete from pgquota.counter c using unnest(s_tenant, s_id) k (tenant, id)
       where c.tenant = k.tenant and c.id = k.id and c.id = any (v_opened)
         and c.entries = 0 and c.used + c.held = 0
         and not exists (select from unnest(v_legs) l where l.counter = c.id
                            and v_status[l.change] = 'granted' and p_verb[l.change] <> 'check')
      returning c.tenant, c.scope, c.meter, c.per, c.start_at
    )
    update pgquota.counter c set current = true -- the window before it is the newest again
      from gone g
     where c.tenant = g.tenant and c.scope = g.scope and c.meter = g.meter and c.per = g.per
       and c.start_at = (select max(b.start_at) from pgquota.counter b
                          where b.tenant = g.tenant and b.scope = g.scope and b.meter = g.meter
                            and b.per = g.per and b.start_at < g.start_at);
  end if;
  if v_write then
    if cardinality(w_holds) > 0 then
      insert into pgquota.hold select h.* from unnest(w_holds) h;
      insert into pgquota.hold_item select t.* from unnest(w_items) t;
    end if;
    if cardinality(w_ledger) > 0 then
      insert into pgquota.ledger select e.* from unnest(w_ledger) e;
    end if;
    if cardinality(w_alerts) > 0 then
      insert into pgquota.alert select a.* from unnest(w_alerts) a;
    end if;
  end if;
  foreach v_answer in array v_answers loop
    return next v_answer;
  end loop;
  for i in 1 .. v_n loop
    if p_verb[i] in ('settle', 'release', 'extend') and v_status[i] = 'granted' then
      delete from pgquota.hold_item t using pgquota.hold h, unnest(h.counters) c (id)
       where h.tenant = p_scope[i] and h.id = p_ref[i] and t.tenant = h.tenant
         and t.counter = c.id and t.expires_at = h.expires_at and t.hold = h.id;
      update pgquota.hold h
         set state = v_state[i], expires_at = v_expires[i],
             amounts = case when p_verb[i] <> 'extend' then h.amounts else array(
                 select m.amount + coalesce(q.amount, 0)
                   from unnest(h.meters, h.amounts) with ordinality m (meter, amount, ord)
                   left join unnest(p_meter[i_from[i]:i_to[i]], p_amount[i_from[i]:i_to[i]])
                             q (meter, amount) on q.meter = m.meter
                  order by m.ord) end,
             answers = case when p_verb[i] <> 'extend'
                            then array(select a from unnest(v_answers) a where a.change = i) end
       where h.tenant = p_scope[i] and h.id = p_ref[i];
      if p_verb[i] = 'extend' then
        insert into pgquota.hold_item (tenant, counter, expires_at, hold, amount)
        select h.tenant, c.id, h.expires_at, h.id, m.amount
          from pgquota.hold h, unnest(h.counters, h.counter_meters) c (id, meter),
               unnest(h.meters, h.amounts) m (meter, amount)
         where h.tenant = p_scope[i] and h.id = p_ref[i] and m.meter = c.meter;
      end if;
    end if;
    -- What was answered before is answered again.
    if v_status[i] = 'ended' then
      v_answers := (select h.answers from pgquota.hold h where h.tenant = p_scope[i] and h.id = p_ref[i]);
    elsif v_status[i] in ('replay', 'same_key') then
      for v_seen in
          select * from pgquota.seen_keys(p_verb[i:i], p_scope[i:i], p_key[i:i], p_ref[i:i], p_ttl[i:i],
                                          array_fill(1, array[i_to[i] - i_from[i] + 1]),
                                          p_meter[i_from[i]:i_to[i]], p_amount[i_from[i]:i_to[i]], v_now) loop
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
      return next v_answer;
    end if;
  end loop;
end $function$; -- owner pgquota_owner
grant execute on function pgquota.apply(p_verb text[], p_scope text[], p_key text[], p_ref uuid[], p_ttl bigint[], p_change integer[], p_meter text[], p_amount bigint[]) to pgquota_admin;
grant execute on function pgquota.apply(p_verb text[], p_scope text[], p_key text[], p_ref uuid[], p_ttl bigint[], p_change integer[], p_meter text[], p_amount bigint[]) to pgquota_app;

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
    from unnest(pgquota.resolve(array[p_scope], '{1}', '{null}', '{0}', pgquota.clock())) r
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
 IMMUTABLE
RETURN array_to_string((string_to_array(p_scope, '/'::text))[:(p_level + 1)], '/'::text); -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.exactly(p_span interval)
 RETURNS interval
 LANGUAGE sql
 IMMUTABLE
RETURN ((EXTRACT(epoch FROM p_span))::double precision * '00:00:01'::interval); -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.hold_legs(p_change integer, p_tenant text, p_hold uuid, p_now timestamp with time zone)
 RETURNS SETOF pgquota.leg
 LANGUAGE sql
 STABLE
AS $function$
  select p_change, null::int, m.amount, r.ord, coalesce(r.name, c.meter), c.meter, c.scope,
         coalesce(r.mode, 'observe'), c.per, r.capacity, r.ceiling, c.billed,
         coalesce(r.thresholds, '{}'), r.message, c.id, null::bigint, c.used, c.held - x.expired,
         x.expired, c.entries, c.start_at, c.end_at, c.last_at, c.expiry_at,
         coalesce(i.amount, 0)
    from pgquota.hold h
   cross join lateral unnest(h.counters, h.counter_meters) u (counter, meter)
    join pgquota.counter c on c.tenant = h.tenant and c.id = u.counter
   cross join lateral (select x.amount from unnest(h.meters, h.amounts) x (meter, amount)
                        where x.meter = u.meter) m
    left join pgquota.hold_item i
      on i.tenant = h.tenant and i.counter = u.counter and i.expires_at = h.expires_at and i.hold = h.id
     and i.expires_at > p_now
   cross join lateral (select coalesce(sum(e.amount), 0)::bigint as expired from pgquota.hold_item e
                        where e.tenant = h.tenant and e.counter = u.counter and e.expires_at <= p_now) x
    left join lateral (select * from unnest(pgquota.resolve(array[h.scope], '{1}', '{null}', '{0}', p_now)) r
                        where r.mode <> 'off' and r.scope = c.scope and r.meter = c.meter and r.per = c.per) r
      on true
   where h.tenant = p_tenant and h.id = p_hold
   order by r.ord, c.scope, c.meter, c.per, c.start_at
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
RETURN ((p_scope !~ '[[:cntrl:]]'::text) AND (p_scope ~ '^[^/]{1,128}(/[^/]{1,128}){0,8}$'::text) AND (p_scope !~ '(^|/)\s'::text) AND (p_scope !~ '\s(/|$)'::text)); -- owner pgquota_owner
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

CREATE OR REPLACE FUNCTION pgquota.look(p_verb text, p_scope text, p_meter text[], p_amount bigint[], p_state text, p_expires timestamp with time zone, p_now timestamp with time zone)
 RETURNS SETOF pgquota.part
 LANGUAGE sql
 STABLE
AS $function$
  select case when p_state is null then a.amount else 0 end,
         case when p_state is null then 0 else a.amount end,
         (c.billed and p_state is null)::int,
         case when p_verb <> 'record' and l.mode = 'enforce' and l.ceiling is not null then l.ceiling
              else 9223372036854775807 end, l.calm, l.thresholds,
         p_verb <> 'record' and l.mode = 'enforce' and a.amount > l.ceiling - c.used - c.held,
         c.id is not null and not l.shared and a.amount between 1 and 4611686018427387904
           and a.amount <= 9223372036854775807 - c.used - c.held,
         l.alone, l.leads,
         case when cardinality(p_meter) = cardinality(p_amount) then cardinality(p_meter) end, null::bigint[],
         row(1, 'granted', null, null, p_now, false, false, p_state, p_expires, l.ord, l.name, l.meter,
             c.scope, l.mode, l.per, l.capacity, l.ceiling, c.used, c.held, c.start_at, c.end_at,
             coalesce(a.amount <= l.ceiling - c.used - c.held, true), a.amount, 0, '{}', l.message, c.id,
             null)::pgquota.answer
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
         false, not l.shared and a.amount between 0 and 4611686018427387904, true, true,
         case when cardinality(p_meter) = cardinality(p_amount) then cardinality(h.counters) end, h.amounts,
         row(1, 'granted', null, null, p_now, false, false, p_state, h.expires_at, l.ord, l.name, l.meter,
             c.scope, l.mode, l.per, l.capacity, l.ceiling, c.used, c.held, c.start_at, c.end_at, true,
             a.amount, 0, '{}', l.message, c.id, null)::pgquota.answer
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
begin
  if coalesce(jsonb_typeof(p_limits), '') <> 'array' then
    raise exception 'is not an array' using errcode = 'PQ001', column = 'limits',
      detail = coalesce(p_limits::text, 'null');
  end if;
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
exception when sqlstate 'PQ099' then
  return v_old;
end $function$; -- owner pgquota_owner
comment on function pgquota.publish(p_plan text, p_limits jsonb, p_from timestamp with time zone) is 'Publishes a version of a plan, in force from a time on (null: at once), and returns its number; that of the version in force then, if it has the same limits';
grant execute on function pgquota.publish(p_plan text, p_limits jsonb, p_from timestamp with time zone) to pgquota_admin;

CREATE OR REPLACE FUNCTION pgquota.reached(p_answer pgquota.answer, p_thresholds integer[])
 RETURNS pgquota.alert[]
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(array_agg(row(split_part(p_answer.scope, '/', 1), p_answer.counter, p_answer.limit_name,
                                p.percent, p_answer.capacity, p_answer.used, p_answer.operation,
                                p_answer.at)::pgquota.alert
                            order by p.percent), '{}')
    from unnest(p_thresholds) p (percent)
   where p_answer.capacity > 0 and p_answer.used >= p_answer.capacity::numeric * p.percent / 100
     and not exists (select from pgquota.alert a
                      where a.tenant = split_part(p_answer.scope, '/', 1) and a.counter = p_answer.counter
                        and a.limit_name = p_answer.limit_name and a.percent = p.percent
                        and a.capacity = p_answer.capacity)
$function$; -- owner pgquota_owner

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

CREATE OR REPLACE FUNCTION pgquota.refund_legs(p_change integer, p_tenant text, p_operation uuid, p_now timestamp with time zone)
 RETURNS SETOF pgquota.leg
 LANGUAGE sql
 STABLE
AS $function$
  select p_change, null::int, e.amount, r.ord, coalesce(r.name, c.meter), c.meter, c.scope,
         coalesce(r.mode, 'observe'), c.per, r.capacity, r.ceiling, c.billed,
         '{}'::int[], r.message, c.id, null::bigint, c.used, c.held - x.expired, x.expired, c.entries,
         c.start_at, c.end_at, c.last_at, c.expiry_at,
         -- a reset in between has given back already: a counter does not go below zero
         greatest(0, least(e.amount - coalesce(g.given, 0), c.used))
    from (select e.counter, sum(e.amount)::bigint as amount
            from pgquota.ledger e
           where e.tenant = p_tenant and e.operation = p_operation
             and e.at = pgquota.operation_at(p_operation) and e.amount > 0 and e.verb <> 'repair'
           group by e.counter) e
    join pgquota.counter c on c.tenant = p_tenant and c.id = e.counter
   cross join lateral (select coalesce(sum(i.amount), 0)::bigint as expired from pgquota.hold_item i
                        where i.tenant = p_tenant and i.counter = e.counter and i.expires_at <= p_now) x
    left join lateral (select -sum(x.amount)::bigint as given
                         from pgquota.ledger x
                        where x.tenant = p_tenant and x.ref = p_operation and x.verb = 'refund'
                          and x.counter = e.counter) g on true
    left join lateral (select * from unnest(pgquota.resolve(array[c.scope], '{1}', '{null}', '{0}', p_now)) r
                        where r.mode <> 'off' and r.scope = c.scope and r.meter = c.meter and r.per = c.per) r
      on true
   order by r.ord, c.scope, c.meter, c.per, c.start_at
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
             row(null, null, null, null, coalesce(r.name, c.meter), c.meter, c.scope,
                 coalesce(r.mode, 'observe'), c.per, r.capacity, null, c.billed, null, null, c.id, null,
                 c.used, coalesce(r.held, c.held), null, c.entries, c.start_at, c.end_at, c.last_at,
                 null, null)::pgquota.leg order by c.scope, r.ord, c.id), '{}'),
         greatest(v_now, max(c.last_at))
    into v_legs, v_at
    from pgquota.counter c
    left join lateral (
         select r.* from unnest(pgquota.resolve(array[c.scope], '{1}', array[c.meter], '{0}', v_now)) r
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
 RETURNS pgquota.leg[]
 LANGUAGE plpgsql
 STABLE
AS $function$
declare
  c_most constant bigint := 4611686018427387904;
  v_legs pgquota.leg[];
  v_leg pgquota.leg;
  v_adjusted boolean;
  v_special boolean;
  v_tenant text;
  v_zone text;
  v_anchor timestamp;
  v_overrides bigint[];
  v_boost numeric;
  v_capacity bigint;
  v_overage bigint;
begin
  select array_agg(row(q.change, q.input, q.amount, l.ord, l.name, l.meter, s.scope, l.mode, l.per,
                       l.capacity, l.ceiling, case when c.end_at > p_now then c.billed else l.billed end,
                       l.thresholds, l.message, c.id, null, c.used, c.held, 0, c.entries,
                       c.start_at, c.end_at, c.last_at, c.expiry_at, null)::pgquota.leg),
         bool_or(t.adjusted),
         bool_or(c.id is null or c.end_at <= p_now or c.expiry_at <= p_now)
    into v_legs, v_adjusted, v_special
    from unnest(p_change, p_meter, p_amount) with ordinality q (change, meter, amount, input)
   cross join pgquota.setting z
    left join pgquota.tenant t on t.tenant = split_part(p_scope[q.change], '/', 1)
    join pgquota.plan_limit l
      on l.plan = coalesce(t.plan, z.default_plan) and l.until_at > p_now and l.from_at <= p_now
     and l.level < cardinality(string_to_array(p_scope[q.change], '/'))
     and (l.meter = q.meter or q.meter is null)
   cross join lateral (select pgquota.cut(p_scope[q.change], l.level)) s (scope)
    left join pgquota.counter c
      on c.tenant = split_part(p_scope[q.change], '/', 1) and c.scope = s.scope
     and c.meter = l.meter and c.per = l.per and c.current;
  if v_legs is null or not (coalesce(v_adjusted, false) or v_special) then
    return v_legs;
  end if;
  for g in 1 .. cardinality(v_legs) loop
    v_leg := v_legs[g];
    v_tenant := split_part(v_leg.scope, '/', 1);
    if v_adjusted then
      select array_agg(a.capacity::bigint order by length(a.scope) desc, a.from_at desc, a.made_at desc)
             filter (where a.kind = 'override'),
             sum(a.capacity) filter (where a.kind = 'boost')
        into v_overrides, v_boost
        from pgquota.adjustment a
       where a.tenant = v_tenant and a.limit_name = v_leg.name
         and a.from_at <= p_now and a.until_at > p_now
         and starts_with(v_leg.scope || '/', a.scope || '/');
      if v_overrides is not null or v_boost is not null then
        select case when v_overrides is null then v_leg.capacity else v_overrides[1] end, l.overage
          into v_capacity, v_overage
          from pgquota.setting z
          left join pgquota.tenant t on t.tenant = v_tenant
          join pgquota.plan_limit l
            on l.plan = coalesce(t.plan, z.default_plan) and l.meter = v_leg.meter and l.name = v_leg.name
           and l.until_at > p_now and l.from_at <= p_now;
        if v_capacity is not null then -- least() passes over a null, which says unlimited
          v_capacity := least(c_most, v_capacity + coalesce(v_boost, 0));
        end if;
        v_legs[g].capacity := v_capacity;
        v_legs[g].ceiling := v_capacity + case when v_overage < c_most then v_overage
                                               when v_overage = c_most then c_most - 1 end;
      end if;
    end if;
    if v_leg.counter is null or v_leg.end_at <= p_now then
      -- The newest window has ended, or there is none. While it runs it counts, whatever zone or anchor
      -- say now: so a changed zone waits for its end, and a clock that stepped back cannot leave it.
      select coalesce(t.zone, z.default_zone), coalesce(t.anchor, timestamp '2001-01-01')
        into v_zone, v_anchor
        from pgquota.setting z left join pgquota.tenant t on t.tenant = v_tenant;
      select greatest(w.start_at, v_leg.end_at), w.end_at into v_leg.start_at, v_leg.end_at
        from pgquota.window_at(v_leg.per, p_now, v_zone, v_anchor) w;
      v_legs[g].start_at := v_leg.start_at;
      v_legs[g].end_at := v_leg.end_at;
      v_legs[g].last_at := v_leg.start_at;
      v_legs[g].expiry_at := 'infinity';
      v_legs[g].counter := null;
      v_legs[g].ended := v_leg.counter;
      v_legs[g].used := 0;
      v_legs[g].held := 0;
      v_legs[g].entries := 0;
    elsif v_leg.expiry_at <= p_now then
      v_legs[g].expired := coalesce((select sum(i.amount)::bigint from pgquota.hold_item i
                                      where i.tenant = v_tenant and i.counter = v_leg.counter
                                        and i.expires_at <= p_now), 0);
      v_legs[g].held := v_leg.held - v_legs[g].expired;
    end if;
  end loop;
  return v_legs;
end $function$; -- owner pgquota_owner

CREATE OR REPLACE FUNCTION pgquota.schema_version()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE
RETURN 5; -- owner pgquota_owner
grant execute on function pgquota.schema_version() to pgquota_admin;
grant execute on function pgquota.schema_version() to pgquota_app;
grant execute on function pgquota.schema_version() to pgquota_report;

CREATE OR REPLACE FUNCTION pgquota.seen_keys(p_verb text[], p_scope text[], p_key text[], p_ref uuid[], p_ttl bigint[], p_change integer[], p_meter text[], p_amount bigint[], p_now timestamp with time zone)
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
         select coalesce(array_agg(m.meter order by m.meter collate "C"), '{}') as meters,
                coalesce(array_agg(m.amount order by m.meter collate "C"), '{}') as amounts
           from unnest(p_change, p_meter, p_amount) m (change, meter, amount)
          where m.change = q.change) m
   cross join lateral (
         select case when k.verb <> case q.verb when 'check' then 'consume' else q.verb end then 'verb'
                     when k.scope <> q.scope then 'scope'
                     when k.ref is distinct from q.ref then 'ref'
                     when k.ttl is distinct from q.ttl then 'ttl'
                     when k.meters <> m.meters then 'meters'
                     when k.amounts <> m.amounts then 'amounts' end as field) d
   where q.key is not null
     and (k.key is not null
          -- a key that is a UUIDv7 tells its own age, so its row need not be kept to refuse it
          or pgquota.key_time(q.key) is not null and pgquota.key_time(q.key) < pgquota.keys_from(p_now))
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
     where i.inhparent = 'pgquota.ledger'::regclass and t.relname ~ '^ledger_\d{4}_\d\d$'
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
