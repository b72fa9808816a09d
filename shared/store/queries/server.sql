-- ping --
-- The cheapest proof that the server answers and that the schema is there.
SELECT id FROM messages LIMIT 0;

-- lock_migrations --
-- Wait until no other process migrates; given up with the connection.
SELECT pg_advisory_lock(%(key)s);
