CREATE OR REPLACE FUNCTION drop_event_partitions(parent text, age_s double precision) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    name    text;
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
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
DROP TABLE event_horizons;
