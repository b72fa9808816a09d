-- Back to one user for everything; the roles stay, since they belong to the server and not to this database.
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
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

DO $$
DECLARE
    one  record;
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['make_day_partitions(text, text, integer)', 'drop_day_partitions(text, double precision)'] LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY INVOKER RESET ALL', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', name);
        IF runtime_role() <> 'none' THEN
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %I', name, runtime_role());
        END IF;
    END LOOP;
    FOR one IN SELECT p.polname, c.relname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = current_schema()::regnamespace LOOP
        EXECUTE format('DROP POLICY %I ON %I', one.polname, one.relname);
    END LOOP;
    FOR one IN SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relrowsecurity LOOP
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY', one.relname);
    END LOOP;
    IF runtime_role() <> 'none' THEN
        FOR one IN SELECT format('%s %I', CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, relname) AS thing FROM pg_class
                   WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'S') AND pg_has_role(relowner, 'USAGE') LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %I, %I', one.thing, runtime_role(), tenant_role());
        END LOOP;
        FOR one IN SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'v' AND pg_has_role(relowner, 'USAGE') LOOP
            EXECUTE format('ALTER VIEW %I RESET (security_invoker)', one.relname);
        END LOOP;
        EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM %I, %I', current_schema(), runtime_role(), tenant_role());
    END IF;
END
$$;

DROP FUNCTION secure_tables(), reactions_to(text, bigint[], text[]), account_in_use(text, text, bigint), open_function(text), open_view(text), protect_partition(text), protect_child_table(text, text, text, text), protect_company_table(text, text),
    protect_table(text, text, text), apply_row_security(text), choose_role(text, text), own_company(), no_company(), tenant_role(), runtime_role();
DROP TABLE row_security_rules;
