-- The engine: pgquota.apply decides and writes, in one call, for one change or many.
set local role pgquota_owner;

-- A span of a setting, in seconds: a day of an interval would be as long as the session's zone has it.
create function pgquota.exactly(p_span interval) returns interval
  language sql immutable
  return extract(epoch from p_span) * interval '1 second';

-- The scope that a limit of a level counts, of a path.
create function pgquota.cut(p_scope text, p_level int) returns text
  language sql immutable
  return array_to_string((string_to_array(p_scope, '/'))[:p_level + 1], '/');

-- An operation's id is a UUIDv7 (RFC 9562): milliseconds, then the microseconds in place of the first
-- random bits, then 62 random bits. So it sorts by time and holds the exact time of its ledger entries.
create function pgquota.operation_id(p_at timestamptz) returns uuid
  language sql volatile
  return encode(overlay(uuid_send(gen_random_uuid()) placing int8send(
             ((date_part('epoch', p_at) * 1000000)::bigint / 1000 << 16)
             | 28672 -- the version, 7, in its place
             | (date_part('epoch', p_at) * 1000000)::bigint % 1000) from 1), 'hex')::uuid;

create function pgquota.operation_at(p_operation uuid) returns timestamptz
  language sql immutable
as $$
  select timestamptz 'epoch'
         + (('x' || translate(left(p_operation::text, 13), '-', ''))::bit(48)::bigint * 1000
            + ('x' || substr(p_operation::text, 16, 3))::bit(12)::int) * interval '1 microsecond'
$$;

-- A change's share in one limit: what is asked, the limit, and how its counter stands.
--   counter  null where the running window is not open yet: then used and held are 0, ended is the counter
--            of the window before it, start_at and end_at are those that opening it would give
--   held     what open holds take, without those that have expired; expired: what these still have in the row
--   ceiling  capacity plus allowed overage; null where nothing is refused
create type pgquota.leg as (
  change int, input int, amount bigint, ord int, name text, meter text, scope text, mode text, per text,
  capacity bigint, ceiling bigint, billed boolean, thresholds int[], message text,
  counter bigint, ended bigint, used bigint, held bigint, expired bigint, entries bigint,
  start_at timestamptz, end_at timestamptz, last_at timestamptz, expiry_at timestamptz,
  took bigint -- of a hold: what it still takes here; of a refund: what is left to give back
);

-- Which limits apply to scopes at a time, and how they stand: the one place that reads plan, override,
-- boost, window and counter together. A null meter stands for all. In no particular order. One query finds
-- what every call needs; what few calls need is looked up afterwards, because the start of a query costs by
-- the tables in it.
create function pgquota.resolve(
    p_scope text[], p_change int[], p_meter text[], p_amount bigint[], p_now timestamptz)
  returns pgquota.leg[]
  language plpgsql stable
as $$
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
end $$;

-- The counters of a hold, with the limits that stand over them now. A limit that the plan no longer has
-- leaves its counter nameless, but not unsettled.
create function pgquota.hold_legs(p_change int, p_tenant text, p_hold uuid, p_now timestamptz)
  returns setof pgquota.leg
  language sql stable
as $$
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
$$;

-- The counters that an operation charged, and what is left to give back of each.
create function pgquota.refund_legs(p_change int, p_tenant text, p_operation uuid, p_now timestamptz)
  returns setof pgquota.leg
  language sql stable
as $$
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
$$;

-- Why no limit applies to a meter: the status of such a change.
create function pgquota.why_no_limit(p_scope text, p_meter text, p_now timestamptz) returns text
  language sql stable
as $$
  select case when count(p.plan) = 0 then 'unknown_tenant'
              when count(l.name) = 0 then 'no_version'
              when bool_or(l.meter = p_meter) then 'scope_too_short'
              else 'unknown_meter' end
    from pgquota.setting z
    left join pgquota.tenant t on t.tenant = split_part(p_scope, '/', 1)
   cross join lateral (select coalesce(t.plan, z.default_plan) as plan) p
    left join pgquota.plan_limit l on l.plan = p.plan and l.from_at <= p_now and l.until_at > p_now
$$;

-- The time in a key that is a UUIDv7, else null.
create function pgquota.key_time(p_key text) returns timestamptz
  language sql immutable
  return case when p_key ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'
              then pgquota.operation_at(p_key::uuid) end;

-- Whether meters are in order, each named once.
create function pgquota.is_sorted(p_meter text[]) returns boolean
  language sql immutable
  return p_meter = array(select distinct m collate "C" from unnest(p_meter) m order by m collate "C");

-- The thresholds that a counter has reached and that nobody was told of. Under the counter's lock: only
-- who holds it writes its alerts.
create function pgquota.reached(p_answer pgquota.answer, p_thresholds int[])
  returns pgquota.alert[]
  language sql stable
as $$
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
$$;

-- Keys before this are refused, though there is no row of them: their answers may have been dropped, if not
-- by today's retention, then by a shorter one before.
create function pgquota.keys_from(p_now timestamptz) returns timestamptz
  language sql stable
as $$
  select greatest(p_now - pgquota.exactly(z.key_retention),
                  (select m.at from pgquota.mark m where m.name = 'keys_dropped'))
    from pgquota.setting z
$$;

-- What the keys of a call say: one row for each change whose key is taken, or too old to know.
create function pgquota.seen_keys(
    p_verb text[], p_scope text[], p_key text[], p_ref uuid[], p_ttl bigint[],
    p_change int[], p_meter text[], p_amount bigint[], p_now timestamptz)
  returns table (change int, status text, detail text)
  language sql stable
as $$
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
$$;

-- Ends what has expired on counters that the caller has locked, and gives their units back. Holds are
-- locked after counters, in the order of their ids, as everywhere.
create function pgquota.reap(p_tenant text[], p_counter bigint[], p_now timestamptz) returns int
  language plpgsql volatile
as $$
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
end $$;

-- Decides and writes a list of changes, each on its own, in their order. Arguments as of the function of the
-- same name for one change, below; an array has an element a change, but for p_change, p_meter and p_amount:
-- the amounts, each with the number (from 1) of its change, in their order.
--
-- Every statement in here sees what was committed before it began (READ COMMITTED). The order of work
-- rests on that: look without a lock; refuse on that look, so that a denial writes nothing; else lock the
-- counters in the order of their names, look again, decide, write. Locks are taken in one order by everybody:
-- counters, keys, holds, each sorted.
create function pgquota.apply(
    p_verb text[], p_scope text[], p_key text[], p_ref uuid[], p_ttl bigint[],
    p_change int[], p_meter text[], p_amount bigint[])
  returns setof pgquota.answer
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  -- Index look-ups in the order given, whatever the statistics say: a plan that was made over empty
  -- tables must not read whole ones later.
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set jit = off
  set join_collapse_limit = 1
as $$
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
end $$;

-- What a single change does to one counter.
--   du, dh   what is added to used and held, which may come to room; up to calm there is no more to tell
--   entries  1 if the ledger is to show it
--   plain    the counter is open, none of its holds has expired, and no other limit counts on it
--   alone, leads, whole: whether a meter has no other limit; whether this is the first of its meter or hold,
--            and how many of those there must be
--   answer   what is told of it
create type pgquota.part as (
  du bigint, dh bigint, entries int, room bigint, calm bigint, thresholds int[], denied boolean,
  plain boolean, alone boolean, leads boolean, whole int, held bigint[], answer pgquota.answer
);

-- The limits that count for a scope, if the tenant has no overrides or boosts. Inlined where it is called.
create function pgquota.plain_limits(p_scope text, p_now timestamptz) returns setof pgquota.plan_limit
  language sql stable
as $$
  select l.*
    from pgquota.plan_limit l
   where l.plan = coalesce((select case when t.adjusted then '' else t.plan end
                              from pgquota.tenant t where t.tenant = split_part(p_scope, '/', 1)),
                           (select z.default_plan from pgquota.setting z))
     and l.until_at > p_now and l.from_at <= p_now and l.mode <> 'off'
     and l.level < cardinality(string_to_array(p_scope, '/'))
$$;

-- How a request stands with its limits. Inlined where it is called.
create function pgquota.look(
    p_verb text, p_scope text, p_meter text[], p_amount bigint[], p_state text, p_expires timestamptz,
    p_now timestamptz)
  returns setof pgquota.part
  language sql stable
as $$
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
$$;

-- How a hold stands with the limits over its counters. Inlined where it is called.
create function pgquota.look_at_hold(
    p_verb text, p_tenant text, p_hold uuid, p_meter text[], p_amount bigint[], p_state text,
    p_now timestamptz)
  returns setof pgquota.part
  language sql stable
as $$
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
$$;

-- Decides and writes one change; returns a row a limit.
--   p_verb   consume | consume_up_to | record | reserve | check | settle | release | extend | refund
--   p_scope  the scope; for settle, release, extend and refund the tenant
--   p_key    the caller's key, or null       p_ref  the hold or operation that the verb is about
--   p_ttl    milliseconds a hold lives (reserve, extend)
--   p_meter, p_amount: what is asked for, sorted by meter
--
-- Over counters that are open, and on which no hold has expired, a look and a guarded UPDATE a counter will
-- do. That is what most calls are, and it is done here, with few expressions: PL/pgSQL prepares each anew in
-- every transaction. All else is a list of one, and so is what turns out otherwise under the locks.
create function pgquota.apply(
    p_verb text, p_scope text, p_key text, p_ref uuid, p_ttl bigint, p_meter text[], p_amount bigint[])
  returns setof pgquota.answer
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set jit = off
  set join_collapse_limit = 1
as $$
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
end $$;

-- Every limit that applies to a scope, with its window, on the database's clock.
create function pgquota.balances(p_scope text)
  returns table (name text, meter text, scope text, mode text, per text, capacity bigint,
                 used bigint, held bigint, remaining bigint, start_at timestamptz, end_at timestamptz)
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
  select r.name, r.meter, r.scope, r.mode, r.per, r.capacity, r.used, r.held,
         -- greatest() would pass over the null of an unlimited limit
         case when r.capacity is not null then greatest(0, r.capacity - r.used - r.held) end,
         r.start_at, r.end_at
    from unnest(pgquota.resolve(array[p_scope], '{1}', '{null}', '{0}', pgquota.clock())) r
   order by r.ord
$$;

grant usage on schema pgquota to pgquota_app, pgquota_admin, pgquota_report;
grant execute on function
  pgquota.apply(text, text, text, uuid, bigint, text[], bigint[]),
  pgquota.apply(text[], text[], text[], uuid[], bigint[], int[], text[], bigint[]),
  pgquota.balances(text) to pgquota_app, pgquota_admin;

reset role;
