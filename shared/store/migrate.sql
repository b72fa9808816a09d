-- places --
-- Where tables are: whether the search path leads to ours, whether there is the schema `bulkhead_tables`, and the table
-- `phone_configs` that the path leads to, with its columns.
SELECT to_regclass('connection_types') IS NOT NULL AS has_ours,
       to_regnamespace('bulkhead_tables') IS NOT NULL AS has_schema,
       c.relnamespace::regnamespace::text AS old_schema, pg_get_userbyid(c.relowner) AS old_owner,
       pg_has_role(c.relowner, 'USAGE') AS may_alter,
       has_database_privilege(current_database(), 'CREATE') AS may_make_schemas, current_user AS user_name,
       current_setting('search_path') AS path,
       ARRAY(SELECT attname::text FROM pg_attribute
             WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum) AS old_columns
FROM (SELECT) here LEFT JOIN pg_class c ON c.oid = to_regclass('phone_configs');

-- make_schema --
-- The schema for our tables beside those of the single-process server.
CREATE SCHEMA IF NOT EXISTS bulkhead_tables;

-- make_migration_digests --
-- What each migration was when it was applied. Like the library's notes, it is there before the first migration and
-- after the last one is undone.
CREATE TABLE IF NOT EXISTS _yoyo_digests (migration_id text PRIMARY KEY, digest text NOT NULL);

-- migration_digests --
-- The digests of applied migrations.
SELECT migration_id, digest FROM _yoyo_digests;

-- keep_migration_digests --
-- Keep digests of applied migrations; those that are kept already stay.
INSERT INTO _yoyo_digests (migration_id, digest)
SELECT * FROM unnest(%(names)s::text[], %(digests)s::text[]) ON CONFLICT DO NOTHING;

-- forget_migration_digest --
-- A migration is not applied any more.
DELETE FROM _yoyo_digests WHERE migration_id = %(name)s;

-- applied_migrations --
-- The library's notes, oldest first.
SELECT migration_id, applied_at_utc AT TIME ZONE 'UTC' AS applied_at FROM _yoyo_migration
ORDER BY applied_at_utc, migration_id;

-- living_processes --
-- Processes that wrote a heartbeat within the last half minute.
SELECT process_name, instance FROM process_health WHERE last_heartbeat > now() - interval '30 seconds'
ORDER BY process_name, instance;

-- count_rows --
-- Rows of a table, up to a number.
SELECT count(*) FROM (SELECT FROM {table} LIMIT %(most)s) counted;

-- count_values --
-- Rows of a table with a value in a column, up to a number.
SELECT count(*) FROM (SELECT FROM {table} WHERE {column} IS NOT NULL LIMIT %(most)s) counted;

-- is_relation --
-- Whether the search path leads to a table.
SELECT to_regclass(%(table)s) IS NOT NULL;
