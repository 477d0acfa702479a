-- Windows: which stretch of time a counter counts. All of it is arithmetic on its arguments, so it
-- takes part in nobody's locks, and there is no table of windows and no job that resets anything.
set local role pgquota_owner;

-- Inlined into the query that calls it: neither strict, nor security definer, nor with settings of
-- its own. Each "offset 0" keeps the planner from merging a step into the next, which would compute
-- the step again wherever the next one mentions it; a conversion between zones is the dear part.
--
-- Boundary n is always the anchor plus n units, never the boundary before plus one unit: 31 January
-- plus one month is 28 February, and one more would be 28 March for ever after.
create function pgquota.window_at(
    p_per text, p_at timestamptz, p_zone text, p_anchor timestamp)
  returns table (start_at timestamptz, end_at timestamptz)
  language sql stable parallel safe rows 1
as $$
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
$$;

comment on function pgquota.window_at(text, timestamptz, text, timestamp) is
  'The window that holds an instant, start included and end not; windows of one kind, zone and '
  'anchor tile time. Calendar units are counted from the anchor in the zone; hours from the '
  'anchor''s instant; fixed windows start at the instant asked for. One row, nulls for a kind that '
  'is_per refuses';

reset role;
