-- ping --
-- The cheapest proof that the server answers, that the schema is there and that rows can be written: a server that is
-- read-only refuses to lock rows, even none of them.
SELECT id FROM messages LIMIT 0 FOR UPDATE;

-- installation --
-- A name that no other installation has: of its own random number, and of its database, since a copy of one beside the
-- original has the number too.
SELECT left(md5(concat_ws('/', i.id, d.oid, d.datname)), 12) AS name
FROM installation i, pg_database d WHERE d.datname = current_database();

-- begin_transaction --
-- Begin a transaction.
BEGIN;

-- commit_transaction --
-- Commit a transaction.
COMMIT;

-- roll_back_transaction --
-- Roll a transaction back.
ROLLBACK;

-- enter_runtime --
-- Take the role of the runtimes for the whole session. Not where a pooler in transaction mode stands in between, which
-- ignores our session settings: the role would stay with the server's process, and meet another client.
SELECT set_config('role', runtime_role(), false) WHERE current_setting('plan_cache_mode') = 'force_generic_plan';

-- enter_schema --
-- Look for our tables in the schema `bulkhead_tables` where the session's own search path has none of ours: they stand
-- there in a database in which the path leads to the tables of the single-process server. The catalogue and no function
-- by name, since another installation's role may have no right to look into that schema. Not behind a pooler in
-- transaction mode, as for the role: the path would meet another client.
SELECT set_config('search_path', concat_ws(', ', n.nspname, nullif(current_setting('search_path'), '')), false)
FROM pg_class ours JOIN pg_namespace n ON n.oid = ours.relnamespace
WHERE n.nspname = 'bulkhead_tables' AND ours.relname = 'connection_types' AND has_schema_privilege(n.oid, 'USAGE')
  AND coalesce(to_regclass('connection_types'), ours.oid) = ours.oid
  AND current_setting('plan_cache_mode') = 'force_generic_plan';

-- enter_company --
-- Take the role of one company's requests until the transaction ends.
SELECT set_config('role', tenant_role(), true), set_config('bulkhead.company_id', %(company_id)s, true);

-- secure_tables --
-- Bring roles, policies and privileges up to date; says what an administrator has to do, if anything.
SELECT secure_tables() AS problem;

-- lock_migrations --
-- Wait until no other process migrates; released with the transaction, which must not be ended for being idle
-- meanwhile.
-- The lock's transaction stays open and idle while the migrations run on another connection.
SELECT set_config('idle_in_transaction_session_timeout', '0', true), pg_advisory_xact_lock(%(key)s);

-- server_facts --
-- What an operator needs to know of a server before Bulkhead uses it; no table of ours need be there.
SELECT current_setting('server_version_num')::integer AS version, current_user AS user_name,
       current_database() AS database_name, current_schema() AS schema_name,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
       pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean AS is_read_only,
       current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
           AS most_connections,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role_limit,
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_limit,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
        AND coalesce(application_name, '') NOT LIKE 'bulkhead/%%')::integer AS used_by_others,
       coalesce(has_table_privilege(to_regclass('process_heartbeats'), 'SELECT'), false) AS has_heartbeats,
       getdatabaseencoding() AS encoding, extract(epoch FROM clock_timestamp())::double precision AS clock,
       EXISTS (SELECT FROM pg_extension WHERE extname = 'vector'
               AND (string_to_array(extversion, '.'))[1:2]::integer[] >= ARRAY[0, 8]) AS has_vector;

-- connections_of_others --
-- How many connections the processes of other hosts may open, and which hosts those are; one that went silent just now
-- may come back.
SELECT coalesce(sum((detail ->> 'connectionsMost')::integer), 0)::integer AS most,
       coalesce(array_agg(DISTINCT host), '{}') AS hosts
FROM process_heartbeats
WHERE host <> %(host)s AND detail ? 'connectionsMost' AND leased_until > now() - interval '5 minutes';
