-- depends: 0076.partitions
-- Row-level security: rows of one company cannot be seen or changed by a transaction of another one, whatever its
-- statements say. docs/internals/store.md tells what a later migration has to do.

-- Tables and the condition by which a row belongs to the transaction's company. A table with a column company_id that is
-- not listed here is protected as well, and closed to the tenant role.
CREATE TABLE row_security_rules (
    -- of a table; or of a function that runs with its owner's rights, and that the tenant role may execute
    name       text PRIMARY KEY,
    -- an SQL condition on a row
    condition  text NOT NULL,
    -- privileges of the tenant role, as GRANT takes them; empty: none
    tenant_may text NOT NULL,
    -- digest of what was applied last
    applied    text NOT NULL DEFAULT ''
);

-- The roles of this database; `none`: there are none, and transactions run as the user that signed in. Replaced by
-- `choose_role`.
CREATE FUNCTION runtime_role() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT 'none'::text $$;
CREATE FUNCTION tenant_role() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT 'none'::text $$;

CREATE FUNCTION no_company() RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RAISE EXCEPTION 'no company is set for this transaction';
END
$$;

-- The company of this transaction. Fails when there is none: an empty list would look like a company without data.
-- In SQL, so that it is part of the statement that is planned and costs no call for each row.
CREATE FUNCTION own_company() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- after a transaction in which it was set, a setting is empty and not null
    SELECT coalesce(nullif(current_setting('bulkhead.company_id', true), ''), no_company())
$$;

-- Choose the role for one purpose (`runtime`, `tenant`) and make it where it is missing. Roles belong to the whole
-- server: one that another user may take is another installation's, and this one then has roles with its own id in their
-- names. Returns null when there is none and this user may not make it.
CREATE FUNCTION choose_role(purpose text, in_use text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    name   text;
    -- privilege `SET` came with version 16, which also tells it from `INHERIT`
    modern boolean := current_setting('server_version_num')::integer >= 160000;
BEGIN
    FOREACH name IN ARRAY ARRAY[nullif(in_use, 'none'), 'bulkhead_' || purpose, 'bulkhead_' || purpose || '_' || (SELECT id FROM installation)] LOOP
        CONTINUE WHEN name IS NULL;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', name);
                EXECUTE format('GRANT %I TO CURRENT_USER %s', name, CASE WHEN modern THEN 'WITH INHERIT FALSE, SET TRUE' END);
            -- or another database's migration was faster
            EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
                CONTINUE;
            END;
        END IF;
        CONTINUE WHEN NOT pg_has_role(name, CASE WHEN modern THEN 'SET' ELSE 'MEMBER' END);
        -- who made it may hand it out without taking it; the option is a column since version 16
        CONTINUE WHEN name = 'bulkhead_' || purpose AND name IS DISTINCT FROM in_use AND EXISTS (
            SELECT FROM pg_auth_members m
            WHERE m.roleid = name::regrole AND m.member <> current_user::regrole AND coalesce((to_jsonb(m) ->> 'set_option')::boolean, true));
        IF (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = name) THEN
            RAISE EXCEPTION 'the role % bypasses row-level security: run ALTER ROLE % NOSUPERUSER NOBYPASSRLS', name, name;
        END IF;
        RETURN name;
    END LOOP;
    RETURN NULL;
END
$$;

-- Bring one table of `row_security_rules` up to date. Locks the table only when there is something to change.
CREATE FUNCTION apply_row_security(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wanted record;
    owner  text;
    state  text;
BEGIN
    SELECT * INTO wanted FROM row_security_rules r WHERE r.name = apply_row_security.name;
    IF to_regclass(name) IS NULL OR runtime_role() = 'none' THEN
        RETURN;
    END IF;
    SELECT relowner::regrole::text INTO owner FROM pg_class WHERE oid = name::regclass;
    -- a view follows the policies of its reader
    IF (SELECT relkind = 'v' FROM pg_class WHERE oid = name::regclass) THEN
        EXECUTE format('ALTER VIEW %I SET (security_invoker = true)', name);
        EXECUTE format('GRANT SELECT ON %I TO %I, %I', name, runtime_role(), tenant_role());
        RETURN;
    END IF;
    state := md5(concat_ws('|', wanted.condition, wanted.tenant_may, runtime_role(), tenant_role(), owner));
    IF state = wanted.applied AND has_table_privilege(runtime_role(), name, 'INSERT')
       AND (SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = name::regclass)
       AND (SELECT count(*) FROM pg_policy WHERE polrelid = name::regclass) >= 3 THEN
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('DROP POLICY IF EXISTS whole_for_owner ON %I', name);
    EXECUTE format('DROP POLICY IF EXISTS whole_for_runtime ON %I', name);
    EXECUTE format('DROP POLICY IF EXISTS own_company ON %I', name);
    -- FORCE holds for the owner too, who migrates
    EXECUTE format('CREATE POLICY whole_for_owner ON %I TO %s USING (true) WITH CHECK (true)', name, owner);
    EXECUTE format('CREATE POLICY whole_for_runtime ON %I TO %I USING (true) WITH CHECK (true)', name, runtime_role());
    EXECUTE format('CREATE POLICY own_company ON %I TO %I USING (%s) WITH CHECK (%s)', name, tenant_role(), wanted.condition, wanted.condition);
    EXECUTE format('REVOKE ALL ON %I FROM %I, %I', name, runtime_role(), tenant_role());
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO %I', name, runtime_role());
    IF wanted.tenant_may <> '' THEN
        EXECUTE format('GRANT %s ON %I TO %I', wanted.tenant_may, name, tenant_role());
    END IF;
    UPDATE row_security_rules r SET applied = state WHERE r.name = apply_row_security.name;
END
$$;

-- For migrations: protect a table by a condition on its rows. The tenant role may do what is named, and nothing else.
CREATE FUNCTION protect_table(name text, condition text, tenant_may text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO row_security_rules AS r (name, condition, tenant_may) VALUES (protect_table.name, protect_table.condition, protect_table.tenant_may)
    ON CONFLICT ON CONSTRAINT row_security_rules_pkey DO UPDATE SET condition = excluded.condition, tenant_may = excluded.tenant_may;
    PERFORM apply_row_security(name);
END
$$;

-- For migrations: let the tenant role execute a function that runs with its owner's rights. It sees every company's
-- rows, so it takes the company as an argument, compares it, and returns no more than ids.
CREATE FUNCTION open_function(name text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO row_security_rules (name, condition, tenant_may) VALUES (open_function.name, '', 'EXECUTE') ON CONFLICT DO NOTHING
$$;

-- For migrations: let the tenant role read a view of protected tables.
CREATE FUNCTION open_view(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO row_security_rules (name, condition, tenant_may) VALUES (open_view.name, '', 'SELECT') ON CONFLICT DO NOTHING;
    PERFORM apply_row_security(name);
END
$$;

-- For migrations: protect a table that has a column company_id.
CREATE FUNCTION protect_company_table(name text, tenant_may text DEFAULT 'SELECT, INSERT, UPDATE, DELETE') RETURNS void LANGUAGE sql AS $$
    SELECT protect_table(name, 'company_id = own_company()', tenant_may)
$$;

-- For migrations: protect a table whose rows belong to the row of `parent` that `reference` names; that table's own
-- protection then holds for them.
CREATE FUNCTION protect_child_table(name text, reference text, parent text, tenant_may text DEFAULT 'SELECT, INSERT, UPDATE, DELETE')
RETURNS void LANGUAGE sql AS $$
    SELECT protect_table(name, format('EXISTS (SELECT FROM %I parent WHERE parent.id = %I.%I)', parent, name, reference), tenant_may)
$$;

-- A partition is used by its parent's name, and by its own only for its owner's maintenance.
CREATE FUNCTION protect_partition(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF runtime_role() <> 'none' AND NOT (SELECT relforcerowsecurity FROM pg_class WHERE oid = name::regclass) THEN
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY whole_for_owner ON %I TO %s USING (true) WITH CHECK (true)', name,
                       (SELECT relowner::regrole FROM pg_class WHERE oid = name::regclass));
    END IF;
END
$$;

-- Bring everything up to date: roles, policies and privileges. Runs after the migrations at every start, so that a new
-- table is protected before it is used. Returns what an administrator has to do, or nothing.
CREATE FUNCTION secure_tables() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    runtime text := choose_role('runtime', runtime_role());
    tenant  text := choose_role('tenant', tenant_role());
    id      text := (SELECT i.id FROM installation i);
    place   text := current_schema();
    one     record;
BEGIN
    IF runtime IS NULL OR tenant IS NULL THEN
        IF runtime_role() <> 'none' THEN
            RAISE EXCEPTION 'the roles % and % are gone, or % may not use them any more', runtime_role(), tenant_role(), current_user;
        END IF;
        RETURN format('the database user %1$I may not create roles: let an administrator run CREATE ROLE bulkhead_runtime_%2$s NOLOGIN NOINHERIT; '
                      'CREATE ROLE bulkhead_tenant_%2$s NOLOGIN NOINHERIT; GRANT bulkhead_runtime_%2$s, bulkhead_tenant_%2$s TO %1$I %3$s', current_user, id,
                      CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'WITH INHERIT FALSE, SET TRUE' ELSE '' END);
    END IF;
    IF (runtime, tenant) IS DISTINCT FROM (runtime_role(), tenant_role()) THEN
        EXECUTE format('CREATE OR REPLACE FUNCTION runtime_role() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L', format('SELECT %L::text', runtime));
        EXECUTE format('CREATE OR REPLACE FUNCTION tenant_role() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L', format('SELECT %L::text', tenant));
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', place, runtime, tenant);
    END IF;
    INSERT INTO row_security_rules (name, condition, tenant_may)
    SELECT c.relname, 'company_id = own_company()', '' FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = place::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attname = 'company_id' AND NOT a.attisdropped
    ON CONFLICT DO NOTHING;
    PERFORM apply_row_security(r.name) FROM row_security_rules r;
    FOR one IN
        SELECT c.oid, c.relname, c.relkind, c.relispartition, c.reloptions FROM pg_class c
        WHERE c.relnamespace = place::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S') AND pg_has_role(c.relowner, 'USAGE')
          -- the library's, and what decides about all others
          AND c.relname NOT LIKE '%yoyo%' AND c.relname NOT IN (SELECT 'row_security_rules' UNION ALL SELECT r.name FROM row_security_rules r)
          -- an extension's, and sequences of identity columns, which the table's privileges cover
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype IN ('e', 'i'))
    LOOP
        CASE
            WHEN one.relispartition THEN
                PERFORM protect_partition(one.relname);
            WHEN one.relkind = 'S' AND NOT has_sequence_privilege(tenant, one.oid, 'USAGE') THEN
                EXECUTE format('GRANT USAGE ON SEQUENCE %I TO %I, %I', one.relname, runtime, tenant);
            WHEN one.relkind = 'v' AND NOT (coalesce('security_invoker=true' = ANY(one.reloptions), false)
                                            AND has_table_privilege(runtime, one.oid, 'SELECT')) THEN
                -- its reader's policies and not its owner's
                EXECUTE format('ALTER VIEW %I SET (security_invoker = true)', one.relname);
                EXECUTE format('GRANT SELECT ON %I TO %I', one.relname, runtime);
            WHEN one.relkind IN ('r', 'p') AND NOT has_table_privilege(runtime, one.oid, 'INSERT') THEN
                EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO %I', one.relname, runtime);
            ELSE NULL;
        END CASE;
    END LOOP;
    -- what runs with its owner's rights is the runtimes' maintenance
    FOR one IN
        SELECT p.oid::regprocedure AS name, r.name IS NOT NULL AS is_open FROM pg_proc p
        LEFT JOIN row_security_rules r ON r.name = p.proname AND r.tenant_may = 'EXECUTE'
        WHERE p.pronamespace = place::regnamespace AND p.prosecdef AND pg_has_role(p.proowner, 'USAGE')
          AND (NOT has_function_privilege(runtime, p.oid, 'EXECUTE')
               OR has_function_privilege(tenant, p.oid, 'EXECUTE') <> (r.name IS NOT NULL))
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', one.name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', one.name, runtime);
        IF one.is_open THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', one.name, tenant);
        END IF;
    END LOOP;
    RETURN '';
END
$$;

-- As before, and protects what it makes.
CREATE OR REPLACE FUNCTION make_day_partitions(parent text, instant text, ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    begins date;
    name   text;
    made   integer := 0;
BEGIN
    -- One at a time, since two recorders would make the same partition. Writers wait for two seconds at most: behind a
    -- lock that is waited for, every insert waits too.
    PERFORM pg_advisory_xact_lock(hashtext('make_day_partitions')), set_config('lock_timeout', '2s', true);
    FOR begins IN EXECUTE format(
        'SELECT generate_series((now() AT TIME ZONE ''UTC'')::date, (now() AT TIME ZONE ''UTC'')::date + $1, ''1 day'')::date
         UNION SELECT (%I AT TIME ZONE ''UTC'')::date FROM %I ORDER BY 1', instant, parent || '_default') USING ahead
    LOOP
        name := parent || to_char(begins, '_YYYYMMDD');
        -- The usual case: a day's partition is there already, and nothing is locked.
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        -- nobody may write rows of this day into the default partition while they are moved
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
        -- Filled first and attached afterwards: PARTITION OF would fail while the default partition has rows of
        -- that day.
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS)', name, parent);
        EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %I >= $1 AND %I < $2 RETURNING *) INSERT INTO %I SELECT * FROM moved',
                       parent || '_default', instant, instant, name) USING begins::timestamp AT TIME ZONE 'UTC', (begins + 1)::timestamp AT TIME ZONE 'UTC';
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name,
                       begins || ' 00:00:00+00', (begins + 1) || ' 00:00:00+00');
        PERFORM protect_partition(name);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- Reactions of a company to messages of some connections, by the provider's ids of those: ids of the reactions. Such a
-- look-up by a part of `content` cannot use its index where policies apply, since the operator might show a row that they
-- hide; the caller reads the rows themselves under its own policies.
CREATE FUNCTION reactions_to(company text, connection_ids bigint[], targets text[]) RETURNS TABLE (reaction_id bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 20 AS $$
BEGIN
    RETURN QUERY
        SELECT m.id FROM messages m
        WHERE m.type = 'reaction' AND m.content ->> 'target' = ANY(targets) AND m.connection_id = ANY(connection_ids) AND m.company_id = company
        UNION ALL
        SELECT i.id FROM inbound_messages i
        WHERE i.type = 'reaction' AND i.content ->> 'target' = ANY(targets) AND i.connection_id = ANY(connection_ids) AND i.company_id = company;
END
$$;

-- Whether a connection of any company is proved to serve a provider's account; a claim without a proof blocks no other
-- connection. `but`: not this one.
CREATE FUNCTION account_in_use(connection_type text, account text, but bigint) RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM phone_configs c
        WHERE c.account_id = account AND c.account_id <> ''
          AND c.process_name = (SELECT t.process_name FROM connection_types t WHERE t.connection_type = account_in_use.connection_type)
          AND c.account_id = ANY(c.proved_ids) AND c.status <> 'removed' AND c.id IS DISTINCT FROM but);
END
$$;

-- Partitions are made and dropped by the runtimes, who may not change tables otherwise.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['make_day_partitions(text, text, integer)', 'drop_day_partitions(text, double precision)', 'reactions_to(text, bigint[], text[])',
                               'account_in_use(text, text, bigint)'] LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path TO %I, pg_temp', name, current_schema());
    END LOOP;
END
$$;

DO $$
BEGIN
    PERFORM protect_table('companies', 'id = own_company()', 'SELECT');
    PERFORM protect_company_table('phone_configs', 'SELECT, INSERT, UPDATE');
    PERFORM protect_company_table('messages', 'SELECT, UPDATE');
    PERFORM protect_company_table('inbound_messages', 'SELECT');
    PERFORM protect_company_table('inbound_media', 'SELECT');
    PERFORM protect_company_table('tasks', 'SELECT, INSERT');
    PERFORM protect_company_table('media_files', 'SELECT, INSERT, UPDATE');
    PERFORM protect_company_table('contact_aliases', 'SELECT');
    PERFORM protect_company_table('environment_seeds', '');
    -- not the digests of keys
    PERFORM protect_company_table('api_keys', 'SELECT (id, company_id, name, prefix, scopes, created_at, rotated_at, previous_until, expires_at, last_used_at, '
                                  'revoked_at, limits), UPDATE (revoked_at)');
    PERFORM protect_company_table('hooks');
    -- each part by itself, since some statements name it
    PERFORM protect_company_table('events', 'SELECT, INSERT');
    PERFORM protect_company_table('events_messages', 'SELECT, INSERT');
    PERFORM protect_company_table('events_others', 'SELECT, INSERT');
    PERFORM protect_child_table('phone_status', 'connection_id', 'phone_configs', 'SELECT, UPDATE');
    PERFORM protect_child_table('templates', 'connection_id', 'phone_configs', 'SELECT, DELETE');
    PERFORM protect_child_table('media_uploads', 'connection_id', 'phone_configs', 'SELECT, DELETE');
    PERFORM protect_child_table('contacts', 'connection_id', 'phone_configs', 'SELECT');
    PERFORM protect_child_table('timed_pauses', 'connection_id', 'phone_configs', 'SELECT');
    PERFORM protect_child_table('hook_retries', 'hook_id', 'hooks', 'SELECT, INSERT, UPDATE');
    PERFORM protect_child_table('hook_deliveries', 'hook_id', 'hooks', 'SELECT');
    -- no tenant's data: which process kind serves a connection type, and which events are gone
    PERFORM protect_table('event_horizons', 'true', 'SELECT');
    PERFORM protect_table('connection_types', 'true', 'SELECT');
    PERFORM open_function('reactions_to');
    PERFORM open_function('account_in_use');
END
$$;
