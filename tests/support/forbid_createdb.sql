-- As the product makes the role.
ALTER ROLE $role NOCREATEDB;
