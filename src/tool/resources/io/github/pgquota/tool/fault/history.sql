-- What everybody asked and was told, as Journal writes it. Times are those of the machine, which
-- is the server's too.
create schema history;
create table history.asked (process text, call bigint, verb text, tenant text,
  scope text, key text, ref uuid, ttl bigint, amounts text, at timestamptz,
  primary key (process, call));
create table history.told (process text, call bigint, outcome text, operation uuid,
  replayed boolean, at timestamptz, primary key (process, call));
create table history.part (process text, call bigint, limit_name text, meter text,
  scope text, start_at timestamptz, end_at timestamptz, mode text, capacity bigint,
  used bigint, held bigint, granted bigint, crossed int[]);

-- Calls that may have changed something, though nobody was told.
create view history.open as
select a.*, t.outcome, t.at as told_at
  from history.asked a left join history.told t using (process, call)
 where a.verb <> 'check' and coalesce(t.outcome, 'unknown') = 'unknown';

-- Calls that were granted.
create view history.granted as
select a.process, a.call, a.verb, a.tenant, a.key, a.ref, t.operation, t.replayed,
       a.scope, a.amounts, a.at as asked_at, t.at as told_at
  from history.asked a join history.told t using (process, call)
 where t.outcome = 'granted';
