-- Once: the roles of row-level security, which the migrations give their privileges. They have no login;
-- Bulkhead's own role takes them (`SET ROLE`) and has none of their privileges by itself.
DO 'DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[''bulkhead_runtime'', ''bulkhead_tenant''] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format(''CREATE ROLE %I NOLOGIN NOINHERIT'', name);
        END IF;
        EXECUTE format(''GRANT %I TO $role WITH INHERIT FALSE, SET TRUE'', name);
    END LOOP;
END';
