-- What must not be, after faults. First what the checks read, each made once by hash joins and
-- sorts; then the checks: each query finds what contradicts. Checker reads them with their names;
-- before the colon is the figure that they are counted in.
set enable_nestloop = off;
set work_mem = '128MB';
set jit = off;
drop schema if exists checked cascade;
create schema checked;
set search_path = checked, pg_catalog;

-- What retention dropped is kept beside (see kept.sql), and is history all the same.
-- Columns of later versions are not looked at.
do $$
declare
  v record;
begin
  for v in select attrelid::regclass::text as kept, replace(attrelid::regclass::text, 'kept.', '') as name,
                  string_agg(quote_ident(attname), ', ' order by attnum) as columns
             from pg_attribute
            where attrelid in ('kept.counter'::regclass, 'kept.hold'::regclass,
                               'kept.operation_key'::regclass) and attnum > 0
            group by attrelid loop
    execute format('create view %1$I as select %2$s from pgquota.%1$I union all'
                   ' select %2$s from %3$s', v.name, v.columns, v.kept);
  end loop;
end $$;

create table granted as select * from history.granted;
analyze granted;
-- When each was first asked for: a key, or the end of a hold, may be asked about again.
create table begun as
select tenant, coalesce('key ' || key, 'end ' || ref) as what, min(at) as at from history.asked
 where key is not null or ref is not null group by 1, 2;
analyze begun;

-- What grants told of each limit.
create table share as
select g.process, g.call, g.verb, g.tenant, g.key, g.ref, g.operation, g.replayed, g.told_at,
       least(g.asked_at, b.at) as asked_at, p.limit_name, p.meter, p.scope, p.start_at, p.mode,
       p.capacity, p.used, p.held, p.granted, p.crossed, c.id as counter, c.billed,
       substring(g.amounts from '(?:^|,)' || p.meter || '=(\d+)')::bigint as asked
  from history.part p
  join granted g using (process, call)
  left join begun b on b.tenant = g.tenant
   and b.what = coalesce('key ' || g.key, 'end ' || g.ref)
  left join counter c on c.tenant = g.tenant and c.scope = p.scope and c.meter = p.meter
   and c.start_at = p.start_at and c.end_at = p.end_at;
analyze share;

-- The ledger, with what was before each entry in its chain, and when it was no longer the last of
-- it: before a later one was told. What was settled after its hold had expired may come above a
-- limit: it was used all the same.
create table entry as
select l.*, lag(l.used_after, 1, 0::bigint) over w as used_before,
       lag(l.entry, 1, 0::bigint) over w as entry_before,
       min(d.at) over (partition by l.tenant, l.counter order by l.entry desc
                       rows between unbounded preceding and 1 preceding) as gone_at,
       sum(case when l.verb = 'settle' and (l.at < h.expires_at) is not true then l.amount
                else 0 end) over w as late
  from pgquota.ledger l
  left join hold h on h.tenant = l.tenant and h.id = l.ref
  left join (select tenant, operation, min(told_at) as at from granted
              group by tenant, operation) d
    on d.tenant = l.tenant and d.operation = l.operation
window w as (partition by l.tenant, l.counter order by l.entry);
create index on entry (tenant, counter, at);
analyze entry;

-- What each hold takes from each counter, and when it no longer can: nobody was told of an end
-- before ended_at.
create table taken as
select h.tenant, u.counter, h.id as hold, h.taken_at, h.expires_at, h.state,
       h.amounts[array_position(h.meters, u.meter)] as amount, e.at as ended_at
  from hold h
 cross join lateral unnest(h.counters, h.counter_meters) u (counter, meter)
  left join (select tenant, ref, min(told_at) as at from granted
              where verb in ('settle', 'release') group by tenant, ref) e
    on e.tenant = h.tenant and e.ref = h.id;
create index on taken (tenant, counter);
analyze taken;

-- Calls that may have been charged though nobody was told, even when their keys were asked again.
create table missed as
select o.* from history.open o
 where not exists (select from history.asked a join history.told t using (process, call)
                    where a.tenant = o.tenant and a.key = o.key
                      and (t.outcome = 'granted' or a.process = 'checker'
                           and t.outcome not in ('unknown', 'KeyExpired')));
create table missed_amount as
select m.*, split_part(a, '=', 1) as meter, split_part(a, '=', 2)::bigint as amount
  from missed m cross join lateral unnest(string_to_array(m.amounts, ',')) a;
create index on missed_amount (tenant);
create index on missed (tenant, ref);
analyze missed, missed_amount;

-- Those who go through a gate have a key for each call: which were told as granted or let through, and
-- what they were charged by.
create table gate_key as
select tenant, key, (answers[1]).operation from operation_key where tenant = 'gate' and answers is not null;
create table gate as
select a.tenant, a.key, a.acknowledged, count(distinct k.operation) as operations
  from (select a.tenant, a.key, bool_or(t.outcome in ('granted', 'away')) as acknowledged
          from history.asked a left join history.told t using (process, call)
         where a.tenant = 'gate' group by a.tenant, a.key) a
  left join gate_key k using (tenant, key)
 group by a.tenant, a.key, a.acknowledged;
analyze gate_key, gate;

-- What was in the ledger, but in no answer.
create table untold as
select e.* from entry e
 where not starts_with(e.tenant, 'probe') and e.tenant <> 'gate' and e.verb not in ('reset', 'repair')
   and not exists (select from granted g
                    where g.tenant = e.tenant and g.operation = e.operation);
analyze untold;

create table plans as
select distinct tenant, after->>'plan' as plan from pgquota.audit
 where what = 'tenant' and after->>'plan' is not null;
create table thresholds as
select distinct p.tenant, l.name, unnest(l.thresholds) as percent
  from plans p join pgquota.plan_limit l using (plan);
analyze plans, thresholds;

-- The most that a counter may have come to; null where it may come to anything. A call that began
-- before its window may have read an older version.
create table bound as
select c.tenant, c.id, case when bool_and(l.mode = 'enforce' and l.capacity is not null)
                            then max(l.capacity) end + coalesce((
       select sum(a.capacity) from pgquota.adjustment a
        where a.tenant = c.tenant and a.until_at > c.start_at - interval '10 s'
          and a.from_at < c.end_at), 0) as most
  from counter c
  join plans p on p.tenant = c.tenant
  join pgquota.plan_limit l on l.plan = p.plan and l.meter = c.meter and l.per = c.per
   and l.level = cardinality(string_to_array(c.scope, '/')) - 1
   and l.until_at > l.from_at and l.until_at > c.start_at - interval '10 s'
   and l.from_at < c.end_at
 group by c.tenant, c.id, c.start_at, c.end_at;
analyze bound;

-- What denials told of each limit, and whether it refused; most: what used and held can have come
-- to at that time, by the ledger and the holds.
create table refusal as
select a.process, a.call, a.verb, a.tenant, a.key, a.at as asked_at, t.at as told_at,
       p.limit_name, p.scope, p.meter, p.start_at, p.capacity, p.used, p.held, w.asked, w.refuses,
       c.id as counter, c.billed
  from history.told t
  join history.asked a using (process, call)
  join history.part p using (process, call)
 cross join lateral (
       select substring(a.amounts from '(?:^|,)' || p.meter || '=(\d+)')::bigint as asked) v
 cross join lateral (
       select v.asked, coalesce(p.mode = 'ENFORCE' and v.asked > p.capacity - p.used - p.held,
                                false) as refuses) w
  left join counter c on c.tenant = a.tenant and c.scope = p.scope and c.meter = p.meter
   and c.start_at = p.start_at and c.end_at = p.end_at
 where t.outcome = 'denied';
analyze refusal;
set enable_nestloop = on;
create table refused as
select r.*, coalesce((select max(e.used_after) from entry e
                       where e.tenant = r.tenant and e.counter = r.counter and e.at <= r.told_at
                         and (e.gone_at < r.asked_at) is not true),
                     case when r.billed then 0 else r.used end)
            + coalesce((select sum(h.amount) from taken h
                         where h.tenant = r.tenant and h.counter = r.counter
                           and h.taken_at <= r.told_at and h.expires_at > r.asked_at
                           and (h.ended_at < r.asked_at) is not true), 0) as most
  from refusal r where r.refuses and r.counter is not null;
set enable_nestloop = off;
analyze refused;

-- : broken_promises: errors that nobody should be told
select * from history.told where outcome like 'ERROR%';

-- : broken_promises: granted, but not what was asked for
select * from share
 where verb in ('consume', 'record', 'reserve', 'settle') and granted <> asked
   and (key is not null or not replayed)
    or verb = 'consume_up_to' and granted > asked;

-- : over_grants: answers above the capacity that they tell
select * from share
 where mode = 'ENFORCE' and granted > 0 and used + held > capacity
   and verb in ('consume', 'consume_up_to', 'reserve', 'extend');

-- : over_grants: counters above every capacity that was in force
select c.*, b.most, e.late from counter c
  join bound b on b.tenant = c.tenant and b.id = c.id
  left join (select tenant, counter, max(late) as late, max(used_after - late) as most
               from entry group by tenant, counter) e
    on e.tenant = c.tenant and e.counter = c.id
 where (c.billed or c.held > 0)
   and greatest(c.used + c.held - coalesce(e.late, 0), e.most) > b.most;

-- : broken_promises: denied, though all of it fits by the denial's own figures
select process, call, verb, tenant from refusal group by process, call, verb, tenant
having not bool_or(refuses);

-- : broken_promises: denied, though by the ledger and the holds there was room all the time
select process, call, min(tenant), min(scope), min(limit_name), min(capacity), min(used),
       min(held), min(asked), max(most)
  from refused group by process, call having bool_and(most + asked <= capacity);

-- : chain_gaps: ledgers that are no chain
select * from entry where used_after <> used_before + amount or entry <> entry_before + 1;

-- : chain_gaps: an operation comes after one that began when it had been answered
select * from (
  select e.tenant, e.counter, e.entry, s.told_at, s.operation,
         max(s.asked_at) over (partition by e.tenant, e.counter order by e.entry
                               rows between unbounded preceding and 1 preceding) as began
    from entry e
    join (select tenant, counter, operation, min(asked_at) as asked_at, min(told_at) as told_at
            from share group by tenant, counter, operation) s
      on s.tenant = e.tenant and s.counter = e.counter and s.operation = e.operation) o
 where began > told_at;

-- : ledger_differences: counters that are not the sum of their ledger
select c.tenant, c.scope, c.meter, c.start_at, c.used, l.amount
  from counter c
  left join (select tenant, counter, sum(amount) as amount, count(*) as entries
               from entry group by tenant, counter) l
    on l.tenant = c.tenant and l.counter = c.id
 where c.billed and (c.used <> coalesce(l.amount, 0) or c.entries <> coalesce(l.entries, 0));

-- : ledger_differences: counters that are not the sum of their holds
select c.tenant, c.scope, c.meter, c.start_at, c.held, i.amount
  from counter c
  left join (select tenant, counter, sum(amount) as amount
               from pgquota.hold_item group by tenant, counter) i
    on i.tenant = c.tenant and i.counter = c.id
 where c.held <> coalesce(i.amount, 0);

-- : lost_charges: told, but not in the ledger as they were told
select s.* from share s
  left join entry e on e.tenant = s.tenant and e.counter = s.counter and e.operation = s.operation
 where s.verb in ('consume', 'consume_up_to', 'record', 'settle', 'refund') and s.granted > 0
   and (s.counter is null
        or s.billed and (abs(e.amount) = s.granted and e.used_after = s.used) is not true);

-- : ledger_differences: not acknowledged <= used <= acknowledged and unknown, where nothing is billed
select c.*, m.amount as missed, s.amount as settled
  from (select c.tenant, c.id, c.scope, c.meter, c.start_at, c.end_at, c.used,
               coalesce(a.told, 0) as told
          from counter c
          left join (
          select tenant, counter, sum(granted) as told
            from (select distinct tenant, counter, operation, granted from share
                   where verb in ('consume', 'consume_up_to', 'record', 'settle')) o
           group by tenant, counter) a
            on a.tenant = c.tenant and a.counter = c.id
         where not c.billed and c.used <> coalesce(a.told, 0)) c
 cross join lateral (
       select coalesce(sum(m.amount), 0) as amount from missed_amount m
        where m.tenant = c.tenant and m.meter = c.meter and m.verb in ('consume', 'consume_up_to')
          and starts_with(m.scope || '/', c.scope || '/') and m.at < c.end_at
          and coalesce(m.told_at, 'infinity') + interval '1 min' > c.start_at) m
 cross join lateral (
       select coalesce(sum(t.amount), 0) as amount from taken t
        where t.tenant = c.tenant and t.counter = c.id
          and exists (select from missed m where m.tenant = t.tenant and m.ref = t.hold
                                             and m.verb = 'settle')) s
 where c.used not between c.told and c.told + m.amount + s.amount;

-- : lost_charges: told as granted or let through by a gate, and never charged
select * from gate where acknowledged and operations = 0;

-- : double_charges: through a gate, twice or under no key that was asked for
select e.tenant, e.operation::text from entry e
  join counter c on c.tenant = e.tenant and c.id = e.counter
 where e.tenant = 'gate' and c.scope = 'gate'
   and not exists (select from gate_key k join gate using (tenant, key) where k.operation = e.operation)
union all
select tenant, key from gate where operations > 1;

-- : lost_charges: given back more than was taken
select * from (select tenant, ref, counter, -sum(amount) as given from entry
                where verb = 'refund' group by tenant, ref, counter) r
  left join (select tenant, operation, counter, sum(amount) as amount from entry
              where amount > 0 group by tenant, operation, counter) e
    on e.tenant = r.tenant and e.counter = r.counter and e.operation = r.ref
 where (r.given <= e.amount) is not true;

-- : double_charges: a key with two operations
select tenant, key, count(distinct operation) from (
  select tenant, key, operation, replayed, process || call as call from granted
   where key is not null
  union all
  select tenant, key, (answers[1]).operation, true, null from pgquota.operation_key
   where answers is not null) k
 group by tenant, key
having count(distinct operation) > 1
    or count(distinct call) filter (where not replayed) > 1;

-- : double_charges: a key that was answered, and refused later
select r.*, g.operation from granted g
  join history.asked a on a.tenant = g.tenant and a.key = g.key and a.at > g.told_at
  join history.told r on r.process = a.process and r.call = a.call
 where r.outcome not in ('granted', 'unknown', 'not', 'KeyExpired') and r.outcome not like 'ERROR%';

-- : double_charges: operations that nobody was told and nobody can have missed
select u.tenant, u.counter, u.verb, u.amount, u.operations
  from (select tenant, counter, verb, amount, count(*) as operations from untold
         where ref is null group by tenant, counter, verb, amount) u
  join counter c on c.tenant = u.tenant and c.id = u.counter
 where u.operations > (
       select count(*) from missed_amount m
        where m.tenant = u.tenant and m.verb = u.verb and m.meter = c.meter
          and (m.amount = u.amount or m.verb = 'consume_up_to')
          and starts_with(m.scope || '/', c.scope || '/') and m.at < c.end_at
          and coalesce(m.told_at, 'infinity') + interval '1 min' > c.start_at);

-- : double_charges: settlements and refunds that nobody was told and nobody can have missed
select u.* from untold u
 where u.ref is not null and not exists (
       select from missed m where m.tenant = u.tenant and m.verb = u.verb and m.ref = u.ref);

-- : holds_ended_twice: told as new by two operations of one hold
select tenant, ref, count(distinct operation) from granted
 where verb in ('settle', 'release') group by tenant, ref
having count(distinct operation) > 1
    or count(*) filter (where not replayed) > 1;

-- : holds_ended_twice: holds that were settled twice
select tenant, ref, counter, count(*) from entry where verb = 'settle'
 group by tenant, ref, counter having count(*) > 1;

-- : holds_ended_twice: holds that are not as somebody was told
select g.*, h.state from granted g left join hold h on h.tenant = g.tenant
   and h.id = case g.verb when 'reserve' then g.operation else g.ref end
 where g.verb = 'reserve' and h.id is null
    or g.verb = 'settle' and not g.replayed and h.state is distinct from 'settled'
    or g.verb = 'release' and not g.replayed and (h.state in ('released', 'expired')) is not true;

-- : holds_left: open, though their time is over and upkeep has run
select * from pgquota.hold where state = 'open' and expires_at < now() - interval '1 minute';

-- : holds_left: items that are not as the state of their hold
select h.tenant, h.id, h.state, i.items, h.counters
  from hold h
  left join (select tenant, hold, count(*) as items from pgquota.hold_item group by tenant, hold) i
    on i.tenant = h.tenant and i.hold = h.id
 where coalesce(i.items, 0) <> case when h.state = 'open' then cardinality(h.counters) else 0 end;

-- : broken_promises: thresholds that were told twice
select tenant, counter, limit_name, capacity, percent, count(distinct operation)
  from share, unnest(crossed) p (percent)
 group by tenant, counter, limit_name, capacity, percent having count(distinct operation) > 1;

-- : broken_promises: thresholds that were told, but not kept
select s.* from share s cross join unnest(s.crossed) p (percent)
  left join pgquota.alert a on a.tenant = s.tenant and a.operation = s.operation
   and a.counter = s.counter and a.limit_name = s.limit_name and a.percent = p.percent
 where a.tenant is null;

-- : broken_promises: thresholds that were kept, but not told to who was told of the operation
select a.* from pgquota.alert a
  join (select tenant, operation, limit_name, counter from share
         group by tenant, operation, limit_name, counter) g
    on g.tenant = a.tenant and g.operation = a.operation and g.limit_name = a.limit_name
   and g.counter = a.counter
  left join (select s.*, p.percent from share s cross join unnest(s.crossed) p (percent)) s
    on s.tenant = a.tenant and s.operation = a.operation and s.limit_name = a.limit_name
   and s.counter = a.counter and s.percent = a.percent
 where s.tenant is null;

-- : broken_promises: thresholds that were reached, and nobody was told, or only a later one was
select s.tenant, s.scope, s.limit_name, s.start_at, s.capacity, s.used, t.percent, a.operation
  from share s
  join thresholds t on t.tenant = s.tenant and t.name = s.limit_name
   and s.used >= s.capacity::numeric * t.percent / 100
  left join pgquota.alert a on a.tenant = s.tenant and a.counter = s.counter
   and a.limit_name = s.limit_name and a.percent = t.percent and a.capacity = s.capacity
  left join entry e on e.tenant = a.tenant and e.counter = a.counter and e.operation = a.operation
  left join entry own on own.tenant = s.tenant and own.counter = s.counter
   and own.operation = s.operation
 where s.verb in ('consume', 'consume_up_to', 'record', 'settle') and s.granted > 0
   and s.capacity > 0 and (a.tenant is null or e.entry > own.entry);
