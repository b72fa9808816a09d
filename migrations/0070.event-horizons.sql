-- Which events retention has dropped: a reader that comes with an older position is told so, and misses nothing unseen.

-- The last event of each part that was dropped: no event up to it is promised to be there.
CREATE TABLE event_horizons (
    parent text PRIMARY KEY,
    xid    bigint NOT NULL,
    id     bigint NOT NULL
);

-- As before, and notes what is gone.
CREATE OR REPLACE FUNCTION drop_event_partitions(parent text, age_s double precision) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    name    text;
    last    record;
    dropped integer := 0;
BEGIN
    -- DROP locks the parent for all; rather fail and try in the next round than let inserts queue behind it.
    PERFORM set_config('lock_timeout', '2s', true);
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = parent::regclass
          -- The end of a partition is in its bound, of which the catalogue has only the expression; a default partition
          -- has none, and is never dropped.
          AND substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)''\)')::timestamptz < now() - make_interval(secs => age_s)
    LOOP
        -- One pass over a day that nobody writes to any more; BRIN gives no order.
        EXECUTE format('SELECT xid, id FROM %I ORDER BY xid DESC, id DESC LIMIT 1', name) INTO last;
        IF last.xid IS NOT NULL THEN
            INSERT INTO event_horizons AS h (parent, xid, id) VALUES (drop_event_partitions.parent, last.xid, last.id)
            ON CONFLICT ON CONSTRAINT event_horizons_pkey DO UPDATE SET xid = excluded.xid, id = excluded.id
            WHERE (excluded.xid, excluded.id) > (h.xid, h.id);
        END IF;
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
