-- In the maintenance database, once: the role that Bulkhead signs in as, and its database. PostgreSQL's own superuser
-- has no way in.
CREATE ROLE $role LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD '$password';

CREATE DATABASE $database OWNER $role;

REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;

REVOKE CONNECT ON DATABASE template1 FROM PUBLIC;
