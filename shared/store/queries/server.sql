-- ping --
-- The cheapest proof that the server answers.
SELECT 1 AS one;

-- schema_version --
-- The newest migration that was applied; fails when there is none.
SELECT migration_id FROM _yoyo_migration ORDER BY applied_at_utc DESC, migration_id DESC LIMIT 1;

-- lock_migrations --
-- Wait until no other process migrates; given up with the connection.
SELECT pg_advisory_lock(%(key)s);
