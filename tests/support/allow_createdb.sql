-- Each test gets a database of its own, so the suite's role may make them; some make users too.
ALTER ROLE $role CREATEDB CREATEROLE;

-- From here it does so: while a connection to a database is open, no other one can copy that database.
GRANT CONNECT ON DATABASE postgres TO $role;
