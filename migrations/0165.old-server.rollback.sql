-- The single-process server's tables as they were before: what 0165 added goes, whatever else was added stays.
DO $$
DECLARE
    give_up timestamptz := clock_timestamp() + interval '5 seconds';
    one     record;
BEGIN
    -- as on the way there: all tables before the first change, or none
    PERFORM set_config('lock_timeout', '100ms', true);
    LOOP
        BEGIN
            FOR one IN SELECT DISTINCT t.tgrelid::regclass AS name FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                       WHERE t.tgname = 'bulkhead_process_name' AND p.pronamespace = current_schema()::regnamespace
                       UNION
                       SELECT a.attrelid::regclass FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                       WHERE a.attname = 'process_name' AND NOT a.attisdropped AND c.relname IN ('phone_configs', 'phone_status')
                         AND n.nspname = ANY (current_schemas(false)) AND col_description(a.attrelid, a.attnum) LIKE 'Bulkhead, 0165:%' LOOP
                EXECUTE format('LOCK TABLE %s', one.name);
            END LOOP;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() > give_up THEN
                RAISE;
            END IF;
        END;
        PERFORM pg_sleep(0.05 * random());
    END LOOP;
    FOR one IN SELECT t.tgrelid::regclass AS name, t.tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
               WHERE t.tgname = 'bulkhead_process_name' AND p.pronamespace = current_schema()::regnamespace LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', one.tgname, one.name);
    END LOOP;
    FOR one IN SELECT p.oid::regprocedure AS name FROM pg_proc p
               WHERE p.pronamespace = current_schema()::regnamespace AND p.proname IN ('set_old_phone_configs', 'set_old_phone_status') LOOP
        EXECUTE format('DROP FUNCTION %s', one.name);
    END LOOP;
    FOR one IN SELECT n.nspname, i.relname FROM pg_class i JOIN pg_namespace n ON n.oid = i.relnamespace
               WHERE i.relkind = 'i' AND i.relname IN ('bulkhead_phone_configs_process_name_status', 'bulkhead_phone_status_process_name_status')
                 AND n.nspname = ANY (current_schemas(false)) LOOP
        EXECUTE format('DROP INDEX %I.%I', one.nspname, one.relname);
    END LOOP;
    FOR one IN SELECT a.attrelid::regclass AS name FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE a.attname = 'process_name' AND NOT a.attisdropped AND c.relname IN ('phone_configs', 'phone_status')
                 AND n.nspname = ANY (current_schemas(false)) AND col_description(a.attrelid, a.attnum) LIKE 'Bulkhead, 0165:%' LOOP
        EXECUTE format('ALTER TABLE %s DROP COLUMN process_name', one.name);
    END LOOP;
END
$$;
