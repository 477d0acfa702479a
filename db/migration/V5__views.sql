set local role pgquota_owner;

-- The number of the newest script: what Schema.verify() compares. Each later script replaces it.
create function pgquota.schema_version() returns int
  language sql immutable
  return 5;
grant execute on function pgquota.schema_version() to pgquota_app, pgquota_admin, pgquota_report;

reset role;
