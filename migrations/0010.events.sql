-- One table of events: what happened to messages, sessions, connections, accounts and processes, append-only, in
-- partitions of one day each.

-- Not owned by an identity column: a partitioned table's rows are numbered in the order in which their statements ran.
CREATE SEQUENCE event_ids AS bigint;

-- One row for each thing that happened, written by the statement that made it happen, never changed. There are no
-- foreign keys: an event outlives what it is about, and retention drops whole partitions.
CREATE TABLE events (
    id            bigint NOT NULL DEFAULT nextval('event_ids'),
    -- start of the writing transaction; names the partition
    written_at    timestamptz NOT NULL DEFAULT now(),
    -- when it happened: of a provider's status, by the provider's clock
    at            timestamptz NOT NULL DEFAULT now(),
    -- the writing transaction. Readers go by (xid, id) and stop below the oldest running transaction: ids alone become
    -- visible out of order. bigint and not xid8, which BRIN cannot index.
    xid           bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    -- the first part of `type`
    subject       text NOT NULL,
    type          text NOT NULL,
    -- null for what concerns no company: processes, and accounts whose company is not known
    company_id    text,
    -- process kind that it concerns
    kind          text,
    connection_id bigint,
    message_id    bigint,
    -- numbered place of a process, and its life there
    slot          text,
    incarnation   text,
    -- the subject's state after it
    state         text,
    attempt       integer,
    -- reason of a step, by which lists are filtered; null where there is none, as in every column below
    code          text,
    detail        text,
    -- what else is known, by type; of a message's event only what its provider reported
    data          jsonb
) PARTITION BY LIST (subject);
ALTER SEQUENCE event_ids OWNED BY events.id;

-- Messages apart from the rest, because they are kept for another time.
CREATE TABLE events_messages PARTITION OF events FOR VALUES IN ('message') PARTITION BY RANGE (written_at);
CREATE TABLE events_others PARTITION OF events DEFAULT PARTITION BY RANGE (written_at);
-- They take what is written on a day for which there is no partition yet, so that no insert fails for want of one.
CREATE TABLE events_messages_default PARTITION OF events_messages DEFAULT;
CREATE TABLE events_others_default PARTITION OF events_others DEFAULT;

-- For readers that follow the stream: rows lie nearly in the order of their transactions.
CREATE INDEX events_xid ON events USING brin (xid) WITH (pages_per_range = 16, autosummarize = on);
-- The one index on a message's events: its history, and the look for steps that are written already.
CREATE INDEX events_messages_history ON events_messages (message_id, id);
CREATE INDEX events_others_id ON events_others (id);
-- For the history of one browser session.
CREATE INDEX events_others_connection ON events_others (connection_id, id) WHERE connection_id IS NOT NULL;
-- For rows that a dead incarnation's last claim took (`proved_dead`): asked each second, about very few rows.
CREATE INDEX events_others_slot_free ON events_others (incarnation) WHERE type = 'process.slot_free';

-- Make the partitions of today and `ahead` further days (UTC), and of days whose rows went to a default partition;
-- those rows are moved there. Returns how many partitions were made.
CREATE FUNCTION make_event_partitions(ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
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

-- Drop the partitions of `parent` that ended more than `age_s` seconds ago. Returns how many.
CREATE FUNCTION drop_event_partitions(parent text, age_s double precision) RETURNS integer LANGUAGE plpgsql AS $$
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

-- How far each source whose events are numbered has been written: reading it twice writes it once. A unique key on
-- events would have to hold the day too, and a repeated event may come on another day.
CREATE TABLE event_positions (
    source     text PRIMARY KEY,
    seq        bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Names of events that a provider may send again; a second arrival is a no-op. Kept for longer than any provider
-- repeats.
CREATE TABLE event_names (
    name       text PRIMARY KEY,
    written_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX event_names_written_at ON event_names (written_at);

-- What there is already goes into one partition that ends today.
DO $$
DECLARE
    parent text;
    today  date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    FOREACH parent IN ARRAY ARRAY['events_messages', 'events_others'] LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (MINVALUE) TO (%L)', parent || to_char(today, '"_before_"YYYYMMDD'), parent,
                       today || ' 00:00:00+00');
    END LOOP;
    PERFORM make_event_partitions(3);
END
$$;

-- Never in the future, so that no row is in a partition of a day to come, and never before the message was made: its
-- history is read from that day on.
INSERT INTO events (written_at, at, subject, type, company_id, kind, connection_id, message_id, incarnation, state, attempt, code, detail, data)
SELECT greatest(least(e.at, now()), m.created_at), e.at, 'message',
       'message.' || CASE WHEN e.code IN ('edited', 'deleted_for_me') THEN e.code ELSE e.state END,
       m.company_id, m.process_name, m.connection_id, m.id, nullif(e.incarnation, ''), e.state, e.attempt, nullif(e.code, ''), nullif(e.detail, ''), e.extra
FROM message_events e JOIN messages m ON m.id = e.message_id ORDER BY e.id;

INSERT INTO events (written_at, at, subject, type, company_id, kind, connection_id, incarnation, state, detail)
SELECT least(e.at, now()), e.at, 'session', 'session.' || e.event, c.company_id, c.process_name, c.id, nullif(e.incarnation, ''), nullif(e.state, ''),
       nullif(e.detail, '')
FROM session_events e JOIN phone_configs c ON c.id = e.connection_id ORDER BY e.id;

INSERT INTO events (written_at, at, subject, type, kind, slot, incarnation, data)
SELECT least(at, now()), at, 'process', 'process.' || event, nullif(process_name, ''), process_name || '-' || instance, nullif(incarnation, ''),
       jsonb_build_object('boot', boot_id, 'seq', seq, 'detail', detail)
FROM process_events ORDER BY id;
-- Journals are followed from where they were: otherwise the first batch would write everything a second time.
INSERT INTO event_positions (source, seq) SELECT 'orchestrator:' || boot_id, max(seq) FROM process_events GROUP BY boot_id;

INSERT INTO events (written_at, at, subject, type, kind, data)
SELECT least(created_at, now()), at, 'account', 'account.' || kind, process_name,
       jsonb_build_object('accountId', account_id, 'name', name, 'journalId', journal_id, 'value', value)
FROM account_events ORDER BY id;
-- A provider may still repeat these.
INSERT INTO event_names (name, written_at) SELECT name, created_at FROM account_events;

DROP VIEW recent_process_events;
DROP TABLE message_events, session_events, process_events, account_events;

CREATE VIEW recent_process_events AS
    SELECT at, coalesce(kind, '')::varchar(20) AS process_name, substring(slot FROM '-([0-9]+)$')::integer AS instance,
           split_part(type, '.', 2)::varchar(40) AS event, coalesce(data -> 'detail', '{}') AS detail
    FROM events WHERE subject = 'process' AND written_at > now() - interval '1 hour' ORDER BY at DESC;

-- An edit or a deletion that went out is applied to its message by the statement `apply_to_target`, run by the code
-- that says it went out.
DROP TRIGGER messages_apply_to_target ON messages;
DROP FUNCTION apply_to_target();
