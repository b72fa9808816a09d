-- Each test gets a database of its own, so the suite's role may make them.
ALTER ROLE $role CREATEDB;
