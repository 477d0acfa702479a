-- Views for people and reports. They read tables with their owner's rights, so who may select from a view
-- needs no right on the tables; functions in them are called with the reader's rights.
set local role pgquota_owner;

-- The rule for what applies is pgquota.resolve, as for every charge, so a window that nobody has touched
-- is in here with what it will be when it is.
create view pgquota.balance as
select s.tenant, s.scope, b.name as limit_name, b.meter, b.mode, b.per, b.capacity, b.used, b.held,
       b.remaining, greatest(0, b.used - b.capacity + b.held) as over,
       nullif(b.start_at, '-infinity') as start_at, nullif(b.end_at, 'infinity') as resets_at,
       coalesce(t.plan, z.default_plan)::text as plan
  from (select t.tenant, t.tenant as scope from pgquota.tenant t
        union
        select c.tenant, p.scope
          from (select distinct c.tenant, c.scope from pgquota.counter c) c
         cross join lateral unnest(array[c.tenant, c.scope]) p (scope)
        union
        select a.tenant, a.scope from pgquota.adjustment a) s
 cross join pgquota.setting z
  left join pgquota.tenant t on t.tenant = s.tenant
 cross join lateral pgquota.balances(s.scope) b
 where b.scope = s.scope;
comment on view pgquota.balance is
  'Every limit that applies to every known scope, at this moment. Known are tenants with settings, scopes '
  'that have used something, and scopes with an override or boost. Ask for a tenant; all of them take long';
comment on column pgquota.balance.tenant is 'who is billed';
comment on column pgquota.balance.scope is 'whose limit: the tenant, or a path below it';
comment on column pgquota.balance.limit_name is 'the limit''s name in the plan';
comment on column pgquota.balance.meter is 'what it counts';
comment on column pgquota.balance.mode is 'enforce, observe (reports, never refuses) or off (counts nothing)';
comment on column pgquota.balance.per is
  'its window: lifetime, hour to year, fixed:SECONDS or aligned:SECONDS';
comment on column pgquota.balance.capacity is
  'units a window, overrides and boosts included; null: unlimited';
comment on column pgquota.balance.used is 'units used in the running window';
comment on column pgquota.balance.held is 'units that open holds take of it, expired ones not counted';
comment on column pgquota.balance.remaining is 'what is neither used nor held, at least 0; null: unlimited';
comment on column pgquota.balance.over is 'units used and held above the capacity';
comment on column pgquota.balance.start_at is 'where the window begins; null for a lifetime';
comment on column pgquota.balance.resets_at is
  'where the window ends and the count begins anew; null for a lifetime';
comment on column pgquota.balance.plan is 'the tenant''s plan, its own or the default one';

create view pgquota.usage as
select c.tenant, c.scope, c.meter, c.per, nullif(c.start_at, '-infinity') as start_at,
       nullif(c.end_at, 'infinity') as end_at, c.end_at <= now.at as closed, c.used,
       case when c.held = 0 then 0
            else c.held - coalesce((select sum(i.amount)::bigint from pgquota.hold_item i
                                     where i.tenant = c.tenant and i.counter = c.id
                                       and i.expires_at <= now.at), 0)
       end as held
  from pgquota.counter c
 cross join (select pgquota.clock() as at) now;
comment on view pgquota.usage is
  'A row for each window in which something was used or held, closed ones too. Those of limits that are '
  'not billed are kept for the setting window_retention, others for ever';
comment on column pgquota.usage.tenant is 'who is billed';
comment on column pgquota.usage.scope is 'who used: the tenant, or a path below it';
comment on column pgquota.usage.meter is 'what was counted';
comment on column pgquota.usage.per is
  'the kind of window: lifetime, hour to year, fixed:SECONDS or aligned:SECONDS';
comment on column pgquota.usage.start_at is 'where the window begins; null for a lifetime';
comment on column pgquota.usage.end_at is 'where the window ends; null for a lifetime';
comment on column pgquota.usage.closed is
  'the window has ended; late settlements and refunds may still change it';
comment on column pgquota.usage.used is 'units used';
comment on column pgquota.usage.held is 'units that open holds take, expired ones not counted';

create view pgquota.ledger_line as
select l.tenant, l.at, l.operation, l.verb, c.scope, c.meter, c.per,
       nullif(c.start_at, '-infinity') as start_at, nullif(c.end_at, 'infinity') as end_at,
       l.entry, l.amount, l.used_after, l.ref
  from pgquota.ledger l
  left join pgquota.counter c on c.tenant = l.tenant and c.id = l.counter;
comment on view pgquota.ledger_line is
  'Every change of a billed counter. Ask for a span of time (at): the ledger is kept in the order of time';
comment on column pgquota.ledger_line.tenant is 'who is billed';
comment on column pgquota.ledger_line.at is 'the database''s time of the change';
comment on column pgquota.ledger_line.operation is 'the operation; entries of one operation share it';
comment on column pgquota.ledger_line.verb is
  'consume, consume_up_to, record, settle, refund, reset or repair';
comment on column pgquota.ledger_line.scope is 'whose counter: the tenant, or a path below it';
comment on column pgquota.ledger_line.meter is 'what was counted';
comment on column pgquota.ledger_line.per is 'the kind of the counter''s window';
comment on column pgquota.ledger_line.start_at is 'where the counter''s window begins; null for a lifetime';
comment on column pgquota.ledger_line.end_at is 'where the counter''s window ends; null for a lifetime';
comment on column pgquota.ledger_line.entry is 'number within the counter''s window, from 1 without a gap';
comment on column pgquota.ledger_line.amount is 'units; negative gives back';
comment on column pgquota.ledger_line.used_after is 'the counter after it';
comment on column pgquota.ledger_line.ref is 'the hold that was settled, or the operation that was refunded';

create view pgquota.alert_line as
select a.tenant, a.at, c.scope, a.limit_name, c.meter, nullif(c.start_at, '-infinity') as start_at,
       nullif(c.end_at, 'infinity') as end_at, a.percent, a.capacity, a.used, a.operation
  from pgquota.alert a
  join pgquota.counter c on c.tenant = a.tenant and c.id = a.counter;
comment on view pgquota.alert_line is
  'Thresholds that were reached: once for a limit, window, per cent and capacity';
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

grant select on pgquota.balance to pgquota_app, pgquota_admin, pgquota_report;
grant select on pgquota.usage, pgquota.ledger_line, pgquota.alert_line to pgquota_admin, pgquota_report;
-- called by the view balance with its reader's rights; only reads
grant execute on function pgquota.balances(text) to pgquota_report;

-- The number of the newest script: what Schema.verify() compares. Each later script replaces it.
create or replace function pgquota.schema_version() returns int
  language sql immutable
  return 5;
grant execute on function pgquota.schema_version() to pgquota_app, pgquota_admin, pgquota_report;

reset role;
