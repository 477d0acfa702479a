set local role pgquota_owner;
reset role;
