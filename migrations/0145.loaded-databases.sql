-- depends: 0165.old-server
-- For databases that were loaded from a dump.

-- Positions of events go on after a restore. They are numbers of transactions, and a fresh server counts those from the
-- beginning: new events would stand before the restored ones, and no reader would see them.

-- What is added to the server's number of a transaction; 0 where the database was made. In SQL and immutable, so that it
-- is part of the statement that is planned and costs nothing; plans are made anew when it is replaced.
CREATE FUNCTION event_xid_offset() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT 0::bigint $$;

ALTER TABLE events ALTER COLUMN xid SET DEFAULT pg_current_xact_id()::text::bigint + event_xid_offset();

-- Let positions go on behind `last`, the highest that the database gave before it was dumped. Returns the offset. Nothing
-- may be written meanwhile.
CREATE FUNCTION continue_event_positions(last bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    -- readers of the database that was lost may hold positions of what was written after the dump
    margin   CONSTANT bigint := 1000000000;
    present  bigint := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
    shift    bigint := greatest(event_xid_offset(), last + margin - present);
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION event_xid_offset() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L',
                   format('SELECT %s::bigint', shift));
    RETURN shift;
END
$$;

-- Undo what a dump keeps of row-level security without its policies and privileges, so that `secure_tables` makes all of it
-- anew, with roles of this server.
CREATE FUNCTION forget_row_security() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    CREATE OR REPLACE FUNCTION runtime_role() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT ''none''::text';
    CREATE OR REPLACE FUNCTION tenant_role() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT ''none''::text';
    FOR one IN SELECT relname FROM pg_class
               WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND (relforcerowsecurity OR relrowsecurity) LOOP
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY', one.relname);
    END LOOP;
    -- without privileges in the dump, these are everybody's
    FOR one IN SELECT p.oid::regprocedure AS name FROM pg_proc p
               WHERE p.pronamespace = current_schema()::regnamespace AND p.prosecdef AND pg_has_role(p.proowner, 'USAGE') LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', one.name);
    END LOOP;
    UPDATE row_security_rules SET applied = '';
END
$$;
