-- Backups, and databases that were loaded from one.

-- server_version --
-- The server's major version, and how large the database is.
SELECT current_setting('server_version_num')::integer / 10000 AS major, pg_database_size(current_database()) AS bytes;

-- event_position --
-- The last position of events that this database gave.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint + event_xid_offset() AS position;

-- applied_migrations --
-- Names of the migrations that were applied.
SELECT migration_id FROM _yoyo_migration ORDER BY migration_id;

-- own_relations --
-- Tables, views and sequences that are in this schema and belong to no extension.
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
  AND NOT EXISTS (
      SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.relname LIMIT 5;

-- forget_row_security --
-- Undo what a dump keeps of row-level security without its policies, so that all of it is made anew, with roles of this
-- server.
SELECT forget_row_security();

-- continue_event_positions --
-- Let positions of events go on behind the last one that the dumped database gave.
SELECT continue_event_positions(%(last)s);

-- pause_restored_connections --
-- Hold everything that waits: it may have been sent after the dump.
UPDATE phone_configs SET status = 'paused', status_reason = %(reason)s, updated_at = now() WHERE status = 'active';
