-- What must not be, after faults: each query finds what contradicts. Checker reads them
-- with their names; before the colon is the figure that they are counted in.

-- : broken_promises: errors that nobody should be told
select * from history.told where outcome like 'ERROR%';

-- : over_grants: answers above the capacity that they tell
select g.verb, p.* from history.part p join history.granted g using (process, call)
 where p.mode = 'ENFORCE' and not g.replayed and g.tenant <> 'free'
   and g.verb in ('consume', 'consume_up_to', 'reserve', 'extend')
   and p.granted > 0 and p.used + p.held > p.capacity;

-- : over_grants: counters above every capacity that was in force
-- what was settled after its hold had expired was used all the same, and is charged
select c.* from pgquota.counter c join pgquota.tenant t using (tenant)
 where c.tenant <> 'free' and c.billed and c.used + c.held - (
       select coalesce(sum(l.amount), 0)
         from pgquota.ledger l join pgquota.hold h on h.tenant = l.tenant and h.id = l.ref
        where l.tenant = c.tenant and l.counter = c.id and l.verb = 'settle'
          and l.at >= h.expires_at) > (
       select coalesce(max(l.capacity), 9223372036854775807)
         from pgquota.plan_limit l
        where l.plan = t.plan and l.meter = c.meter and l.per = c.per
          and l.capacity is not null
          and l.level = cardinality(string_to_array(c.scope, '/')) - 1);

-- : chain_gaps: ledgers that are no chain
select * from (
  select l.*, lag(l.used_after, 1, 0::bigint) over w as before,
         lag(l.entry, 1, 0::bigint) over w as entry_before
    from pgquota.ledger l
  window w as (partition by l.tenant, l.counter order by l.entry)) l
 where used_after <> before + amount or entry <> entry_before + 1;

-- : ledger_differences: counters that are not the sum of their ledger
select c.tenant, c.scope, c.meter, c.start_at, c.used, sum(l.amount)
  from pgquota.counter c
  left join pgquota.ledger l on l.tenant = c.tenant and l.counter = c.id
 where c.billed group by c.tenant, c.id
having c.used <> coalesce(sum(l.amount), 0) or c.entries <> count(l.entry);

-- : ledger_differences: counters that are not the sum of their holds
select c.tenant, c.scope, c.meter, c.start_at, c.held, sum(i.amount)
  from pgquota.counter c
  left join pgquota.hold_item i on i.tenant = c.tenant and i.counter = c.id
 group by c.tenant, c.id having c.held <> coalesce(sum(i.amount), 0);

-- : lost_charges: told, but not in the ledger as they were told
select g.verb, g.operation, p.* from history.part p
  join history.granted g using (process, call)
  join pgquota.counter c on c.tenant = g.tenant and c.scope = p.scope
   and c.meter = p.meter and c.start_at = p.start_at and c.billed
   and c.per = (select min(l.per) from pgquota.plan_limit l
                  join pgquota.tenant t on t.plan = l.plan
                 where t.tenant = g.tenant and l.name = p.limit_name)
 where g.verb in ('consume', 'consume_up_to', 'record', 'settle', 'refund')
   and p.granted > 0 and not exists (
       select from pgquota.ledger l
        where l.tenant = g.tenant and l.counter = c.id and l.operation = g.operation
          and abs(l.amount) = p.granted
          and (g.replayed or l.used_after = p.used));

-- : double_charges: a key with two operations
select tenant, key, count(distinct operation) from history.granted
 where key is not null group by tenant, key
having count(distinct operation) > 1
    or count(distinct call || process) filter (where not replayed) > 1;

-- : double_charges: operations that nobody was told and nobody can have missed
select l.verb, l.tenant, l.operations, coalesce(o.calls, 0) as open from (
  select e.verb, e.tenant, count(distinct e.operation) as operations
    from pgquota.ledger e
   where e.tenant <> 'probe' and e.verb not in ('reset', 'repair')
     and not exists (select from history.granted g
                      where g.tenant = e.tenant and g.operation = e.operation)
   group by e.verb, e.tenant) l
  left join (
  select verb, tenant, count(*) as calls from history.open
   where key is null group by verb, tenant) o using (verb, tenant)
 where l.operations > coalesce(o.calls, 0);

-- : holds_ended_twice: told as new by two operations of one hold
select tenant, ref, count(distinct operation) from history.granted
 where verb in ('settle', 'release') group by tenant, ref
having count(distinct operation) > 1
    or count(*) filter (where not replayed) > 1;

-- : holds_ended_twice: holds that were settled twice
select tenant, ref, counter, count(*) from pgquota.ledger where verb = 'settle'
 group by tenant, ref, counter having count(*) > 1;

-- : holds_left: open, though their time is over and upkeep has run
select * from pgquota.hold where state = 'open' and expires_at < now() - interval '1 minute';

-- : holds_left: items that are not as the state of their hold
select h.tenant, h.id, h.state, count(i.hold), cardinality(h.counters)
  from pgquota.hold h
  left join pgquota.hold_item i on i.tenant = h.tenant and i.hold = h.id
 group by h.tenant, h.id
having count(i.hold) <> case when h.state = 'open' then cardinality(h.counters)
                             else 0 end;

-- : ledger_differences: not acknowledged <= used <= acknowledged and unknown, where nothing is billed
select c.tenant, c.scope, c.meter, sum(c.used), coalesce(min(a.told), 0)
  from pgquota.counter c
  left join (
  select g.tenant, p.scope, p.meter, sum(case g.verb when 'refund' then -p.granted
                                         else p.granted end) as told
    from history.part p join history.granted g using (process, call)
   where not g.replayed and p.limit_name = 'user' and g.verb in (
         'consume', 'consume_up_to', 'record', 'settle', 'refund')
   group by g.tenant, p.scope, p.meter) a
    on a.tenant = c.tenant and a.scope = c.scope and a.meter = c.meter
 where not c.billed and c.tenant = 'acme'
 group by c.tenant, c.scope, c.meter
having sum(c.used) not between coalesce(min(a.told), 0) - (
         select count(*) * 100 from history.open o
          where o.tenant = c.tenant and o.verb = 'refund')
       and coalesce(min(a.told), 0) + (
         select count(*) * 100 from history.open o where o.tenant = c.tenant);

-- : broken_promises: thresholds that were told twice
select g.tenant, p.scope, p.limit_name, p.start_at, p.capacity, percent, count(*)
  from history.part p join history.granted g using (process, call),
       unnest(p.crossed) percent
 where not g.replayed group by 1, 2, 3, 4, 5, 6 having count(*) > 1;

-- : broken_promises: thresholds that were told, but not kept
select g.tenant, p.* from history.part p
  join history.granted g using (process, call), unnest(p.crossed) percent
 where not exists (select from pgquota.alert a
                    where a.tenant = g.tenant and a.operation = g.operation
                      and a.limit_name = p.limit_name and a.percent = percent);

-- : broken_promises: thresholds that were kept, but not told to who was told of the operation
select a.* from pgquota.alert a
  join history.granted g on g.tenant = a.tenant and g.operation = a.operation
 where not exists (
       select from history.granted h join history.part p using (process, call)
        where h.tenant = a.tenant and h.operation = a.operation
          and p.limit_name = a.limit_name and a.percent = any (p.crossed));
