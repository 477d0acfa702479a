-- Roles, tables, constraints. Everything belongs to pgquota_owner, which cannot log in: a function that
-- runs with its owner's rights must not run with those of the superuser who happened to migrate.

do $$
declare
  r text;
begin
  foreach r in array array['pgquota_owner', 'pgquota_app', 'pgquota_admin', 'pgquota_report'] loop
    begin
      if not exists (select from pg_roles where rolname = r) then
        execute format('create role %I nologin', r);
      end if;
    exception when duplicate_object or unique_violation then
      null; -- roles belong to the cluster: another database's migration made it in this moment
    end;
  end loop;
  if not pg_has_role(current_user, 'pgquota_owner', 'usage') then
    execute format('grant pgquota_owner to %I', current_user);
  end if;
  execute format('grant create on schema pgquota to %I', current_user);
end $$;

alter schema pgquota owner to pgquota_owner;
set local role pgquota_owner;
-- of the owner's functions anywhere: for a schema alone PostgreSQL only adds to what PUBLIC has already
alter default privileges revoke execute on functions from public;

comment on schema pgquota is
  'Usage quotas: plans, counters, holds, ledger. See pgquota.balance, pgquota.usage, pgquota.ledger_line.';

-- The database's clock, in one place: nothing in this schema reads the time in another way.
create function pgquota.clock() returns timestamptz
  language sql volatile
  return clock_timestamp();

-- Path of a scope: 1 to 9 segments of 1 to 128 characters, no control characters or surrounding blanks.
-- The blanks are named, as \s would mean others under another collation. With the longest tenant and meter
-- so many bytes fit an entry of the index of counters.
create function pgquota.is_scope(p_scope text) returns boolean
  language sql immutable
  return p_scope ~ '^[^/[:cntrl:]]{1,128}(/[^/[:cntrl:]]{1,128}){0,8}$'
     and p_scope !~ '(^|/)[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'
     and p_scope !~ '[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000](/|$)'
     and octet_length(p_scope) <= 1600;

-- In a CHECK constraint: refuses a kind of window that window_at would answer with nulls.
create function pgquota.is_per(p_per text) returns boolean
  language sql immutable parallel safe
as $$
  -- case, because only case promises that the cast sees digits only
  select case when p_per ~ '^(fixed|aligned):[1-9][0-9]{0,7}$'
              then split_part(p_per, ':', 2)::int <= 366 * 86400
              else p_per in ('lifetime', 'hour', 'day', 'week', 'month', 'quarter', 'year')
         end
$$;

comment on function pgquota.is_per(text) is
  'Whether a text names a kind of window: lifetime, fixed:SECONDS, aligned:SECONDS (1 second to '
  '366 days), hour, day, week, month, quarter, year';

-- The same rule as for one segment, but that a name may have slashes.
create domain pgquota.name as text collate "C" check (pgquota.is_scope(translate(value, '/', '-')));
create domain pgquota.tally as bigint check (value >= 0);
create domain pgquota.amount as bigint check (value between 0 and 4611686018427387904);

create table pgquota.setting (
  only_row boolean primary key default true check (only_row),
  default_plan pgquota.name,
  default_zone text collate "C" not null default 'UTC',
  key_retention interval not null default '35 days' check (key_retention > interval '0'),
  ledger_retention interval not null default '400 days' check (ledger_retention > interval '31 days'),
  window_retention interval not null default '7 days' check (window_retention > interval '0'),
  longest_hold interval not null default '1 day' check (longest_hold > interval '0')
);
insert into pgquota.setting default values;

-- A version is never changed; what changes is when it ends, as another one takes over.
create table pgquota.plan_version (
  plan pgquota.name not null,
  version int not null check (version > 0),
  from_at timestamptz not null,
  published_at timestamptz not null default pgquota.clock(),
  primary key (plan, version)
);

create table pgquota.plan_limit (
  plan pgquota.name not null,
  version int not null,
  ord int not null check (ord > 0),
  from_at timestamptz not null,
  until_at timestamptz not null default 'infinity' check (until_at >= from_at),
  name pgquota.name not null,
  meter pgquota.name not null,
  level int not null check (level between 0 and 8),
  per text collate "C" not null check (pgquota.is_per(per)),
  capacity pgquota.amount,
  -- how far above the capacity a request may still go: 0 denies, null never denies
  overage pgquota.amount,
  ceiling bigint generated always as (
    case when overage is not null then capacity + least(overage, 4611686018427387903) end) stored,
  mode text collate "C" not null check (mode in ('enforce', 'observe', 'off')),
  billed boolean not null,
  thresholds int[] not null default '{}'
    check (cardinality(thresholds) <= 16 and 0 < all (thresholds) and 1000 >= all (thresholds)),
  -- up to here used and held may come, and nothing is to be told of it; thresholds are sorted
  calm bigint generated always as (
    least(capacity, ceil(capacity::numeric * thresholds[1] / 100) - 1, 9223372036854775807)::bigint) stored,
  -- the first limit that counts its meter, from the tenant down: if any applies to a scope, this one does
  leads boolean not null default false,
  -- no other limit of the version counts its meter
  alone boolean not null default false,
  -- another limit of the version counts on the same counters
  shared boolean not null default false,
  -- with places that denials fill in, and no others
  message text check (length(message) <= 1000 and message !~
    '\{(?!(limit|meter|scope|capacity|used|held|remaining|asked|resets_at)\})[^{}]*\}'),
  primary key (plan, version, ord),
  unique (plan, version, name),
  foreign key (plan, version) references pgquota.plan_version
);
create index plan_limit_in_force on pgquota.plan_limit (plan, until_at);
comment on column pgquota.plan_limit.until_at is
  'when the next version takes over; the same as from_at if it never was in force';

create table pgquota.tenant (
  tenant text collate "C" primary key check (pgquota.is_scope(tenant) and position('/' in tenant) = 0),
  plan pgquota.name,
  zone text collate "C",
  anchor timestamp not null default '2001-01-01',
  adjusted boolean not null default false
);
comment on table pgquota.tenant is
  'Settings of a tenant; without a row, and where a column is null, the defaults of pgquota.setting hold';
comment on column pgquota.tenant.adjusted is
  'there are overrides or boosts, kept by a trigger: who has none need not look for them';

-- An override is another capacity for a limit (null: unlimited), a boost is added to it. Both hold for
-- the scope they name and all below it; the override nearest to the counter's scope wins.
create table pgquota.adjustment (
  tenant text collate "C" not null,
  id uuid not null default gen_random_uuid(),
  scope text collate "C" not null check (pgquota.is_scope(scope) and split_part(scope, '/', 1) = tenant),
  limit_name pgquota.name not null,
  kind text collate "C" not null check (kind in ('override', 'boost')),
  capacity pgquota.amount check (kind = 'override' or capacity is not null),
  from_at timestamptz not null,
  until_at timestamptz not null default 'infinity',
  reason text,
  made_at timestamptz not null default pgquota.clock(),
  primary key (tenant, id),
  check (until_at > from_at)
);
create index adjustment_of_limit on pgquota.adjustment (tenant, limit_name);

-- One row for tenant, scope, meter and window; the newest window of a key is its current one, and the
-- closed ones stay as history. Half of a page stays free so that updates stay on it (HOT). The rules that
-- need a whole row are checked by a trigger, once, as the row is inserted: a CHECK would be prepared anew
-- by every update, and no update changes those columns.
create table pgquota.counter (
  tenant text collate "C" not null,
  id bigint generated always as identity,
  scope text collate "C" not null,
  meter text collate "C" not null,
  per text collate "C" not null,
  current boolean not null default true,
  start_at timestamptz not null,
  end_at timestamptz not null,
  billed boolean not null,
  used pgquota.tally not null default 0,
  held pgquota.tally not null default 0,
  entries pgquota.tally not null default 0,
  last_at timestamptz not null, -- of the last operation: a clock that steps back does not disorder the ledger
  expiry_at timestamptz not null default 'infinity', -- no open hold on it expires before this
  primary key (tenant, id)
) with (fillfactor = 50);
create unique index counter_current on pgquota.counter (tenant, scope, meter, per) where current;
-- Not of current ones: nothing that looks for a running window may walk through those that have ended.
create index counter_ended on pgquota.counter (tenant, scope, meter, per, start_at) where not current;

create function pgquota.check_counter() returns trigger
  language plpgsql
as $$
begin
  if new.end_at <= new.start_at or not pgquota.is_scope(new.scope)
     or split_part(new.scope, '/', 1) <> new.tenant then
    raise exception 'scope "%" cannot have a counter from % to %', new.scope, new.start_at, new.end_at
      using errcode = 'check_violation',
            hint = 'a scope is 1 to 9 segments of 1 to 128 characters, joined by slashes';
  end if;
  return new;
end $$;
create trigger check_row before insert on pgquota.counter
  for each row execute function pgquota.check_counter();

-- The proof. entry numbers the rows of a counter from 1 without a gap, in the order in which they were
-- counted; used_after is the counter's value after each.
create table pgquota.ledger (
  tenant text collate "C" not null,
  at timestamptz not null,
  operation uuid not null,
  counter bigint not null,
  entry bigint not null,
  verb text collate "C" not null,
  amount bigint not null check (amount <> 0),
  used_after bigint not null check (used_after >= 0),
  ref uuid
) partition by range (at);
comment on column pgquota.ledger.ref is
  'the hold that was settled, or the operation that was refunded';
-- By time alone: it grows at its right end only, so a row costs the same in a large ledger. An
-- operation's id holds its time to the microsecond, so this index finds its entries too.
create index ledger_at on pgquota.ledger (at);
create index ledger_refund on pgquota.ledger (tenant, ref) where verb = 'refund';
create table pgquota.ledger_rest partition of pgquota.ledger default;

create table pgquota.hold (
  tenant text collate "C" not null,
  id uuid not null,
  scope text collate "C" not null,
  meters text[] not null,
  amounts bigint[] not null,
  counters bigint[] not null,
  counter_meters text[] not null,
  taken_at timestamptz not null,
  expires_at timestamptz not null,
  state text collate "C" not null default 'open' check (state in ('open', 'settled', 'released', 'expired')),
  primary key (tenant, id)
) with (fillfactor = 70);
create index hold_expiry on pgquota.hold using brin (expires_at);
comment on column pgquota.hold.state is
  'expired says that its units are back; a late settlement still makes it settled';

-- What open holds still take from a counter. A row leaves when its hold ends. Whoever changes a hold has
-- locked all its counters first, so under the lock of a counter its rows here stand still.
create table pgquota.hold_item (
  tenant text collate "C" not null,
  counter bigint not null,
  expires_at timestamptz not null,
  hold uuid not null,
  amount pgquota.tally not null,
  primary key (tenant, counter, expires_at, hold)
);

create table pgquota.alert (
  tenant text collate "C" not null,
  counter bigint not null,
  limit_name text collate "C" not null,
  percent int not null,
  capacity bigint not null,
  used bigint not null,
  operation uuid not null,
  at timestamptz not null,
  primary key (tenant, counter, limit_name, percent, capacity)
);
comment on table pgquota.alert is
  'A threshold that was reached: once for a limit, window, per cent and capacity, written with the charge';

create table pgquota.audit (
  at timestamptz not null default pgquota.clock(),
  id uuid not null default gen_random_uuid(),
  tenant text collate "C",
  who text not null,
  login text not null default session_user,
  why text,
  what text not null,
  before jsonb,
  after jsonb,
  primary key (at, id)
);

-- One row an answer and limit. It is what pgquota.apply returns and what a key remembers.
create type pgquota.answer as (
  change int,
  status text,
  detail text,
  operation uuid,
  at timestamptz,
  replayed boolean,
  late boolean,
  hold_state text,
  expires_at timestamptz,
  ord int,
  limit_name text,
  meter text,
  scope text,
  mode text,
  per text,
  capacity bigint,
  ceiling bigint,
  used bigint,
  held bigint,
  start_at timestamptz,
  end_at timestamptz,
  fits boolean,
  granted bigint,
  overage bigint,
  crossed int[],
  message text,
  counter bigint,
  entry bigint,
  times int,   -- equal calls that this answers; all figures are as after the last of them
  nth int[]    -- which of them crossed each of the thresholds
);
comment on type pgquota.answer is
  'One answer of the engine; an answer over several limits is several rows with the same change';

-- The outcome of a hold that ended, for whoever ends it again.
alter table pgquota.hold add column answers pgquota.answer[];

-- The first answer to a key, and the request that it answered.
create table pgquota.operation_key (
  tenant text collate "C" not null,
  key text collate "C" not null check (length(key) between 1 and 200),
  verb text collate "C" not null,
  scope text collate "C" not null,
  ref uuid,
  ttl bigint,
  meters text[] not null,
  amounts bigint[] not null,
  at timestamptz not null,
  answers pgquota.answer[],
  primary key (tenant, key)
);
create index operation_key_at on pgquota.operation_key using brin (at);

-- What the database remembers about its own housekeeping.
--   ledger_from   entries before this were dropped by retention, so a chain may begin later
--   keys_until    all answers of keys before this are dropped
--   keys_dropped  some answers of keys before this may be
--   windows_at    when closed windows were last looked through
create table pgquota.mark (
  name text primary key,
  at timestamptz not null
);
insert into pgquota.mark (name, at) values
  ('ledger_from', '-infinity'), ('keys_until', '-infinity'), ('keys_dropped', '-infinity'),
  ('windows_at', '-infinity');

-- Monthly partitions of the ledger, from the month of p_from on. Rows for a month without one go to
-- ledger_rest, so nothing depends on this having run.
create function pgquota.add_ledger_partitions(p_from timestamptz, p_months int) returns int
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '200ms'
  set datestyle = 'ISO' -- with offsets: a caller's style may write a zone that is read as another one
as $$
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
end $$;
select pgquota.add_ledger_partitions(pgquota.clock(), 13);

reset role;
