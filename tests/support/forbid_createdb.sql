-- As the product makes the role.
ALTER ROLE $role NOCREATEDB;

REVOKE CONNECT ON DATABASE postgres FROM $role;
