-- Each test gets a database of its own, so the suite's role may make them; some make users too.
ALTER ROLE $role CREATEDB CREATEROLE;
