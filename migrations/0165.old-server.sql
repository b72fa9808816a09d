-- depends: 0120.conversations
-- Beside a single-process server: its tables get the process that serves a connection, and stay its own. Without such a
-- server's tables in the search path, nothing changes.
--
-- Backward compatible: one more column, which may be null, an index and a trigger that changes no other column. The server
-- reads and writes as before, also while this runs; a statement of it waits for moments.

DO $$
DECLARE
    place   text := (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                     WHERE c.relname = 'phone_configs' AND c.relkind = 'r' AND n.nspname = ANY (current_schemas(false)) AND n.nspname <> current_schema()
                       -- not another installation's
                       AND NOT EXISTS (SELECT FROM pg_class o WHERE o.relname = 'connection_types' AND o.relnamespace = n.oid)
                     ORDER BY array_position(current_schemas(false), n.nspname) LIMIT 1);
    give_up timestamptz := clock_timestamp() + interval '5 seconds';
    one     text;
    found   text[];
    configs text[];
    lookup  text;
    served  text := 'CASE lower(%s::text) WHEN ''wwebjs'' THEN ''webdriver'' WHEN ''meta_direct'' THEN ''meta'' '
                    'WHEN ''meta_embedded'' THEN ''meta'' WHEN ''360dialog'' THEN ''meta'' END';
BEGIN
    IF place IS NULL THEN
        RETURN;
    END IF;
    -- Behind a transaction that holds one of the tables, every statement of the server would wait for this one. A
    -- transaction of the server may also hold one table and wait for the other, which is ours: this migration gives way,
    -- before the database ends one of the two (after deadlock_timeout, a second), and tries again.
    PERFORM set_config('lock_timeout', '100ms', true);
    LOOP
        BEGIN
            FOREACH one IN ARRAY ARRAY['phone_configs', 'phone_status'] LOOP
                CONTINUE WHEN to_regclass(format('%I.%I', place, one)) IS NULL;
                EXECUTE format('LOCK TABLE %I.%I', place, one);
            END LOOP;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() > give_up THEN
                RAISE;
            END IF;
        END;
        PERFORM pg_sleep(0.05 * random());
    END LOOP;
    SELECT array_agg(attname::text) INTO configs FROM pg_attribute
    WHERE attrelid = format('%I.phone_configs', place)::regclass AND attnum > 0 AND NOT attisdropped;
    FOREACH one IN ARRAY ARRAY['phone_configs', 'phone_status'] LOOP
        CONTINUE WHEN to_regclass(format('%I.%I', place, one)) IS NULL;
        SELECT array_agg(attname::text) INTO found FROM pg_attribute
        WHERE attrelid = format('%I.%I', place, one)::regclass AND attnum > 0 AND NOT attisdropped;
        IF NOT 'process_name' = ANY (found) THEN
            EXECUTE format('ALTER TABLE %I.%I ADD COLUMN process_name varchar(20)', place, one);
            -- the way back drops what has this comment
            EXECUTE format('COMMENT ON COLUMN %I.%I.process_name IS %L', place, one, 'Bulkhead, 0165: the kind of process that serves the connection');
        END IF;
        -- a status names its connection in one of these ways
        lookup := CASE
            WHEN 'connection_type' = ANY (found) THEN format(served, 'NEW.connection_type')
            WHEN NOT 'connection_type' = ANY (configs) THEN NULL
            WHEN ARRAY['company_id', 'phone_index'] <@ found AND ARRAY['company_id', 'phone_index'] <@ configs THEN
                format('(SELECT %s FROM %I.phone_configs c WHERE c.company_id::text = NEW.company_id::text AND c.phone_index::text = NEW.phone_index::text LIMIT 1)',
                       format(served, 'c.connection_type'), place)
            WHEN 'phone_config_id' = ANY (found) AND 'id' = ANY (configs) THEN
                format('(SELECT %s FROM %I.phone_configs c WHERE c.id = NEW.phone_config_id)', format(served, 'c.connection_type'), place) END;
        IF lookup IS NOT NULL THEN
            EXECUTE format('CREATE FUNCTION %I() RETURNS trigger LANGUAGE plpgsql AS %L', 'set_old_' || one,
                           -- whatever the server later changes in its tables, no write of it may fail here
                           format('BEGIN NEW.process_name := %s; RETURN NEW; EXCEPTION WHEN undefined_column OR undefined_table THEN RETURN NEW; END', lookup));
            EXECUTE format('UPDATE %I.%I AS new SET process_name = %s', place, one, replace(lookup, 'NEW.', 'new.'));
            EXECUTE format('CREATE TRIGGER bulkhead_process_name BEFORE INSERT OR UPDATE ON %I.%I FOR EACH ROW EXECUTE FUNCTION %I()',
                           place, one, 'set_old_' || one);
        END IF;
        IF 'status' = ANY (found) THEN
            EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I.%I (process_name, status)', 'bulkhead_' || one || '_process_name_status', place, one);
        END IF;
    END LOOP;
END
$$;
