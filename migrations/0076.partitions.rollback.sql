-- Metrics in one table again, with numbers.
CREATE TABLE process_metrics_whole (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    process_name varchar(20) NOT NULL,
    instance     integer NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    metrics      jsonb NOT NULL
);
INSERT INTO process_metrics_whole (process_name, instance, at, metrics)
SELECT process_name, instance, at, metrics FROM process_metrics ORDER BY at;
DROP TABLE process_metrics;
ALTER TABLE process_metrics_whole RENAME TO process_metrics;
ALTER TABLE process_metrics ADD CONSTRAINT process_metrics_pkey PRIMARY KEY (id);
ALTER SEQUENCE process_metrics_whole_id_seq RENAME TO process_metrics_id_seq;
CREATE INDEX process_metrics_by_process ON process_metrics (process_name, instance, at DESC);

CREATE OR REPLACE FUNCTION make_event_partitions(ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    begins date;
    name   text;
    made   integer := 0;
BEGIN
    -- One at a time, since two recorders would make the same partition. Writers wait for two seconds at most: behind a
    -- lock that is waited for, every insert waits too.
    PERFORM pg_advisory_xact_lock(hashtext('make_event_partitions')), set_config('lock_timeout', '2s', true);
    FOREACH parent IN ARRAY ARRAY['events_messages', 'events_others'] LOOP
        FOR begins IN EXECUTE format(
            'SELECT generate_series((now() AT TIME ZONE ''UTC'')::date, (now() AT TIME ZONE ''UTC'')::date + $1, ''1 day'')::date
             UNION SELECT (written_at AT TIME ZONE ''UTC'')::date FROM %I ORDER BY 1', parent || '_default') USING ahead
        LOOP
            name := parent || to_char(begins, '_YYYYMMDD');
            -- The usual case: a day's partition is there already, and nothing is locked.
            CONTINUE WHEN to_regclass(name) IS NOT NULL;
            -- nobody may write rows of this day into the default partition while they are moved
            EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
            -- Filled first and attached afterwards: PARTITION OF would fail while the default partition has rows of
            -- that day.
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS)', name, parent);
            EXECUTE format('WITH moved AS (DELETE FROM %I WHERE written_at >= $1 AND written_at < $2 RETURNING *) INSERT INTO %I SELECT * FROM moved',
                           parent || '_default', name) USING begins::timestamp AT TIME ZONE 'UTC', (begins + 1)::timestamp AT TIME ZONE 'UTC';
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name,
                           begins || ' 00:00:00+00', (begins + 1) || ' 00:00:00+00');
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
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
DROP FUNCTION make_day_partitions(text, text, integer);
DROP FUNCTION drop_day_partitions(text, double precision);
