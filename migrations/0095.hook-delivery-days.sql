-- depends: 0080.row-level-security
-- Attempts of deliveries in partitions of one day each: retention drops days, and deletes no row.

ALTER TABLE hook_deliveries RENAME TO hook_deliveries_before;
ALTER INDEX hook_deliveries_hook RENAME TO hook_deliveries_before_hook;
ALTER TABLE hook_deliveries_before ALTER COLUMN id DROP IDENTITY;
ALTER TABLE hook_deliveries_before DROP CONSTRAINT hook_deliveries_pkey, DROP CONSTRAINT hook_deliveries_hook_id_fkey;
-- as a partition it is used by the name of the whole, whose policies then count
DROP POLICY IF EXISTS own_company ON hook_deliveries_before;
DROP POLICY IF EXISTS whole_for_runtime ON hook_deliveries_before;
-- and so do its privileges
DO $$ BEGIN
    IF runtime_role() <> 'none' THEN
        EXECUTE format('REVOKE ALL ON hook_deliveries_before FROM %I, %I', runtime_role(), tenant_role());
    END IF;
END $$;

-- Not owned by an identity column, which partitioned tables have only since PostgreSQL 17.
CREATE SEQUENCE hook_delivery_ids AS bigint;
CREATE TABLE hook_deliveries (
    id       bigint NOT NULL DEFAULT nextval('hook_delivery_ids'),
    -- No foreign key: the one statement that writes here has locked the subscriber's row, and a check for each row would
    -- cost more than the row. A trigger deletes the rows of a subscriber that is removed.
    hook_id  bigint NOT NULL,
    xid      bigint NOT NULL,
    event_id bigint NOT NULL,
    type     text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    attempt  integer NOT NULL,
    outcome  text NOT NULL,
    status   integer,
    error    text NOT NULL DEFAULT '',
    took_ms  integer NOT NULL
) PARTITION BY RANGE (at);
ALTER SEQUENCE hook_delivery_ids OWNED BY hook_deliveries.id;
CREATE INDEX hook_deliveries_hook ON hook_deliveries (hook_id, id);
-- It takes what is written on a day for which there is no partition yet.
CREATE TABLE hook_deliveries_default PARTITION OF hook_deliveries DEFAULT;

-- What there is becomes the partition of today, which begins long ago; nothing is copied.
DO $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    name  text := 'hook_deliveries_' || to_char(today, 'YYYYMMDD');
BEGIN
    PERFORM setval('hook_delivery_ids', greatest(1, (SELECT max(id) FROM hook_deliveries_before)));
    -- of a process whose clock was ahead
    WITH moved AS (DELETE FROM hook_deliveries_before WHERE at >= (today + 1)::timestamp AT TIME ZONE 'UTC' RETURNING *)
    INSERT INTO hook_deliveries_default SELECT * FROM moved;
    EXECUTE format('ALTER TABLE hook_deliveries_before RENAME TO %I', name);
    EXECUTE format('ALTER TABLE hook_deliveries ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)', name,
                   (today + 1) || ' 00:00:00+00');
    PERFORM make_day_partitions('hook_deliveries', 'at', 3);
    PERFORM protect_child_table('hook_deliveries', 'hook_id', 'hooks', 'SELECT');
END
$$;

-- With its owner's rights, as a foreign key would: a tenant may remove a subscriber, and may not write here.
CREATE FUNCTION forget_hook_deliveries() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    DELETE FROM hook_deliveries WHERE hook_id = OLD.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER hooks_forget_deliveries AFTER DELETE ON hooks FOR EACH ROW EXECUTE FUNCTION forget_hook_deliveries();
DO $$ BEGIN
    EXECUTE format('ALTER FUNCTION forget_hook_deliveries() SET search_path TO %I, pg_temp', current_schema());
END $$;
