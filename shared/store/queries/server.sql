-- ping --
-- The cheapest proof that the server answers and that the schema is there.
SELECT id FROM messages LIMIT 0;

-- lock_migrations --
-- Wait until no other process migrates; given up with the connection.
SELECT pg_advisory_lock(%(key)s);

-- cut_connections --
-- End every other connection of one slot's processes, as a network does that breaks down.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name LIKE 'bulkhead/' || %(slot)s || '/%%' AND pid <> pg_backend_pid();
