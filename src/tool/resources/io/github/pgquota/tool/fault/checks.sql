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

-- Calls that may have been charged though nobody was told, even when their keys were asked again; and
-- until when: a server that was frozen may finish what a process that is dead has sent.
create table missed as
select o.*, coalesce(o.told_at, l.at) + interval '30 s' as until
  from history.open o
  join (select process, max(at) as at
          from (select process, at from history.asked
                union all select process, at from history.told) w group by process) l using (process)
 where not exists (select from history.asked a join history.told t using (process, call)
                    where a.tenant = o.tenant and a.key = o.key
                      and (t.outcome = 'granted' or a.process = 'checker' and t.outcome in
                           ('denied', 'HoldEnded', 'NotFound', 'RefundTooLarge')));
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
       p.limit_name, p.scope, p.meter, p.start_at, p.mode, p.capacity, p.used, p.held, w.asked,
       w.refuses,
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

-- Capacities that were in force, of plans, overrides and boosts (two at a time at most), by when.
create table in_force as
with plain as (
  select p.tenant, l.name, upper(l.mode) as mode, l.capacity, l.from_at, l.until_at
    from plans p join pgquota.plan_limit l using (plan) where l.until_at > l.from_at
), overridden as (
  select tenant, name, mode, capacity, from_at, until_at from plain
  union all
  select p.tenant, p.name, p.mode, a.capacity, greatest(p.from_at, a.from_at),
         least(p.until_at, a.until_at)
    from plain p join pgquota.adjustment a
      on a.tenant = p.tenant and a.limit_name = p.name and a.kind = 'override'
), boost as (
  select tenant, limit_name, capacity, from_at, until_at from pgquota.adjustment where kind = 'boost'
  union all
  select a.tenant, a.limit_name, a.capacity + b.capacity, greatest(a.from_at, b.from_at),
         least(a.until_at, b.until_at)
    from pgquota.adjustment a
    join pgquota.adjustment b on b.tenant = a.tenant and b.limit_name = a.limit_name and b.id > a.id
   where a.kind = 'boost' and b.kind = 'boost'
), boosted as (
  select tenant, name, mode, capacity, from_at, until_at from overridden
  union all
  select o.tenant, o.name, o.mode, o.capacity + b.capacity, greatest(o.from_at, b.from_at),
         least(o.until_at, b.until_at)
    from overridden o join boost b on b.tenant = o.tenant and b.limit_name = o.name
)
select * from boosted;
analyze in_force;

-- What is left of an operation, and can be given back, in windows that were not dropped.
create table remainder as
select e.tenant, e.operation, w.meter, min(e.amount + coalesce(r.amount, 0)) as amount
  from entry e
  join counter w on w.tenant = e.tenant and w.id = e.counter
  left join pgquota.counter c on c.tenant = e.tenant and c.id = e.counter
  left join (select tenant, ref, counter, sum(amount) as amount from entry
              where verb = 'refund' group by tenant, ref, counter) r
    on r.tenant = e.tenant and r.ref = e.operation and r.counter = e.counter
 where e.amount > 0
 group by e.tenant, e.operation, w.meter having bool_and(c.id is not null);
analyze remainder;

-- What became of the calls of which nobody was told.
create table resolved as
select case when o.key is null and o.ref is null then 'without a key'
            when g.fresh then 'not charged' -- another call of the key, or another end, was the first
            when g.tenant is not null or k.tenant is not null
                 or h.state = case o.verb when 'settle' then 'settled'
                                          when 'release' then 'released' end then 'charged'
            when x.tenant is not null then 'key expired'
            else 'not charged' end as outcome, count(*) as calls
  from history.open o
  left join (select tenant, coalesce('key ' || key, 'end ' || ref) as what,
                    bool_or(not replayed) as fresh
               from granted where key is not null or ref is not null group by 1, 2) g
    on g.tenant = o.tenant and g.what = coalesce('key ' || o.key, 'end ' || o.ref)
  left join (select distinct tenant, key from operation_key where answers is not null) k
    on k.tenant = o.tenant and k.key = o.key
  left join hold h on o.key is null and h.tenant = o.tenant and h.id = o.ref
  left join (select distinct a.tenant, a.key from history.asked a join history.told t using (process, call)
              where t.outcome = 'KeyExpired') x
    on x.tenant = o.tenant and x.key = o.key
 group by 1;

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

-- : over_grants: by a capacity that was not in force since the call began
select s.* from (
  select process, call, tenant, limit_name, mode, capacity, asked_at, told_at from share
   where not replayed and verb in ('consume', 'consume_up_to', 'record', 'reserve')
  union all
  select process, call, tenant, limit_name, mode, capacity, asked_at, told_at from refusal) s
 where s.capacity is not null and not exists (
       select from in_force f
        where f.tenant = s.tenant and f.name = s.limit_name and f.capacity = s.capacity
          and f.mode = s.mode and f.from_at <= s.told_at
          -- a new one is committed later than it begins
          and f.until_at + interval '5 s' > s.asked_at);

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

-- : broken_promises: a check said yes, though it does not fit by its own figures
select * from share
 where verb = 'check' and mode = 'ENFORCE' and used + held + asked > capacity;

-- : broken_promises: told as certainly not done, though it was
select g.* from granted g
 where g.replayed and g.key is not null and g.key !~ '^(same|again)-' and g.tenant <> 'gate'
   and not exists (
       select from history.asked a left join history.told t using (process, call)
        where a.tenant = g.tenant and a.key = g.key and a.at < g.told_at
          and (a.process, a.call) <> (g.process, g.call)
          and (t.outcome in ('not', 'denied')) is not true);

-- : broken_promises: a key that was too old before its time
select a.*, t.at as told_at from history.told t
  join history.asked a using (process, call)
  join begun b on b.tenant = a.tenant and b.what = 'key ' || a.key
 -- keys are kept for 5 minutes
 where t.outcome = 'KeyExpired' and t.at < b.at + interval '295 s';

-- : broken_promises: not found, though it is there
select a.* from history.told t
  join history.asked a using (process, call)
  left join (select distinct tenant, operation from entry where amount > 0) e
    on e.tenant = a.tenant and e.operation = a.ref and a.verb = 'refund'
  left join pgquota.hold h on h.tenant = a.tenant and h.id = a.ref and a.verb <> 'refund'
   and cardinality(h.counters) = (select count(*) from pgquota.counter c
                                   where c.tenant = h.tenant and c.id = any (h.counters))
 where t.outcome = 'NotFound' and (e.tenant is not null or h.tenant is not null);

-- : broken_promises: told that a hold had ended, though nobody had ended it and it had time
select a.*, t.at as told_at, h.expires_at from history.told t
  join history.asked a using (process, call)
  join hold h on h.tenant = a.tenant and h.id = a.ref
 where t.outcome = 'HoldEnded' and h.expires_at > t.at
   and not exists (select from history.asked o
                    where o.tenant = a.tenant and o.ref = a.ref and o.verb in ('settle', 'release')
                      and o.at <= t.at);

-- : broken_promises: told that too much was to be given back, though it is left to this day
select a.*, r.amount from history.told t
  join history.asked a using (process, call)
  join remainder r on r.tenant = a.tenant and r.operation = a.ref
   and substring(a.amounts from '(?:^|,)' || r.meter || '=(\d+)')::bigint <= r.amount
 where t.outcome = 'RefundTooLarge';

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
          and m.until > c.start_at) m
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
          and m.until > c.start_at);

-- : double_charges: settlements and refunds that nobody was told and nobody can have missed
select u.* from untold u
 where u.ref is not null and not exists (
       select from missed m where m.tenant = u.tenant and m.verb = u.verb and m.ref = u.ref);

-- : double_charges: more operations that nobody was told than calls of which nobody knows
select u.* from (select tenant, verb, count(distinct operation) as operations
                   from untold group by tenant, verb) u
 where u.operations > (select count(*) from missed m where m.tenant = u.tenant and m.verb = u.verb);

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

-- : holds_left: open, though the time of all is over and upkeep has run
select * from pgquota.hold where state = 'open';

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
