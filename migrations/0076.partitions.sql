-- Processes' metrics in partitions of one day each, as events are; one pair of functions makes and drops the days of any table.

-- Make the partitions of `parent` for today and `ahead` further days (UTC) of the column `instant`, and of days whose
-- rows went to its default partition; those rows are moved there. Returns how many partitions were made.
CREATE FUNCTION make_day_partitions(parent text, instant text, ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
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

-- Drop the partitions of `parent` that ended more than `age_s` seconds ago; of events, note the last one that is gone.
-- Returns how many.
CREATE FUNCTION drop_day_partitions(parent text, age_s double precision) RETURNS integer LANGUAGE plpgsql AS $$
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
        IF parent IN ('events_messages', 'events_others') THEN
            -- One pass over a day that nobody writes to any more; BRIN gives no order.
            EXECUTE format('SELECT xid, id FROM %I ORDER BY xid DESC, id DESC LIMIT 1', name) INTO last;
            IF last.xid IS NOT NULL THEN
                INSERT INTO event_horizons AS h (parent, xid, id) VALUES (drop_day_partitions.parent, last.xid, last.id)
                ON CONFLICT ON CONSTRAINT event_horizons_pkey DO UPDATE SET xid = excluded.xid, id = excluded.id
                WHERE (excluded.xid, excluded.id) > (h.xid, h.id);
            END IF;
        END IF;
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

-- A recorder of the version before still calls these.
CREATE OR REPLACE FUNCTION make_event_partitions(ahead integer) RETURNS integer LANGUAGE sql AS $$
    SELECT make_day_partitions('events_messages', 'written_at', ahead) + make_day_partitions('events_others', 'written_at', ahead)
$$;
CREATE OR REPLACE FUNCTION drop_event_partitions(parent text, age_s double precision) RETURNS integer LANGUAGE sql AS $$
    SELECT drop_day_partitions(parent, age_s)
$$;

-- What there is becomes the partition of today, which begins long ago.
ALTER TABLE process_metrics DROP COLUMN id;
-- written by a clock that was ahead: it would belong to another day
UPDATE process_metrics SET at = now() WHERE at > now();
ALTER INDEX process_metrics_by_process RENAME TO process_metrics_by_process_before;
ALTER TABLE process_metrics RENAME TO process_metrics_before;
CREATE TABLE process_metrics (
    process_name varchar(20) NOT NULL,
    instance     integer NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    metrics      jsonb NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX process_metrics_by_process ON process_metrics (process_name, instance, at DESC);
DO $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    name  text := 'process_metrics' || to_char(today, '_YYYYMMDD');
BEGIN
    EXECUTE format('ALTER TABLE process_metrics_before RENAME TO %I', name);
    EXECUTE format('ALTER TABLE process_metrics ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)', name,
                   (today + 1) || ' 00:00:00+00');
END
$$;
-- It takes what is written on a day for which there is no partition yet.
CREATE TABLE process_metrics_default PARTITION OF process_metrics DEFAULT;
DO $$ BEGIN PERFORM make_day_partitions('process_metrics', 'at', 3); END $$;
