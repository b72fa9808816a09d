-- What an installation has waiting, for metrics and alerts. Each count ends at a bound, so that a look stays short
-- however much there is.

-- queue_figures --
-- Messages that wait to be sent, by the kind that sends them. A paused connection's are counted, but not its age: they
-- wait on purpose.
WITH waiting AS (
    SELECT connection_id, count(*) AS messages, min(id) AS first
    FROM (SELECT connection_id, id FROM messages
          WHERE state = 'queued' AND scheduled_for IS NULL LIMIT %(most)s) AS found
    GROUP BY connection_id
), due AS (
    -- scheduled ones whose time has come: a look for each connection, since most of them are not due
    SELECT c.id AS connection_id, found.messages, found.first_at
    FROM phone_configs c
    CROSS JOIN LATERAL (SELECT count(*) AS messages, min(scheduled_for) AS first_at
                        FROM (SELECT scheduled_for FROM messages m
                              WHERE m.connection_id = c.id AND m.state = 'queued' AND m.scheduled_for IS NOT NULL
                                AND m.scheduled_for <= now()
                              ORDER BY m.scheduled_for LIMIT %(most)s) AS first_ones) AS found
    WHERE found.messages > 0
), open AS (
    SELECT w.connection_id, w.messages,
           (SELECT greatest(m.created_at, m.not_before) FROM messages m WHERE m.id = w.first) AS since
    FROM waiting w
    UNION ALL
    SELECT connection_id, messages, first_at FROM due
)
SELECT c.process_name AS queue, sum(o.messages)::bigint AS messages,
       coalesce(max(extract(epoch FROM now() - o.since)) FILTER (WHERE c.status <> 'paused'), 0)::double precision
           AS oldest_s
FROM open o JOIN phone_configs c ON c.id = o.connection_id GROUP BY c.process_name;

-- doubt_figures --
-- Messages in doubt, and those of them that are left to a human, by the kind that sent them.
SELECT process_name AS queue, count(*) AS in_doubt, count(*) FILTER (WHERE held) AS held
FROM (SELECT process_name, held_at IS NOT NULL AS held FROM messages WHERE state = 'in_doubt' LIMIT %(most)s) AS found
GROUP BY process_name;

-- dead_figures --
-- Dead letters that are kept.
SELECT count(*) AS messages
FROM (SELECT FROM messages WHERE state = 'failed' OR held_at IS NOT NULL LIMIT %(most)s) AS found;

-- hook_figures --
-- Webhooks by what they are doing, and what waits for them.
SELECT CASE WHEN state = 'active' AND failing_since < now() - interval '1 minute' THEN 'failing' ELSE state END
           AS state,
       count(*) AS hooks
FROM hooks GROUP BY 1;

-- hook_retry_figures --
-- Deliveries that wait to be tried again, and those that were given up.
SELECT state, count(*) AS deliveries
FROM (SELECT state FROM hook_retries LIMIT %(most)s) AS found GROUP BY state;

-- reader_figures --
-- How long ago the first event was written that a reader of the stream has not passed: the slowest webhook that should
-- get something, and the export to a broker while some process serves it.
WITH slowest AS (
    SELECT h.xid, h.event_id FROM hooks h LEFT JOIN companies owner ON owner.id = h.company_id
    WHERE h.state = 'active' AND (h.company_id IS NULL OR owner.state = 'active') ORDER BY h.xid, h.event_id LIMIT 1
), readers AS (
    SELECT 'hooks' AS reader, xid, event_id FROM slowest
    UNION ALL
    SELECT name, xid, event_id FROM event_exports WHERE leased_until > now() - interval '1 minute'
)
SELECT r.reader,
       coalesce(extract(epoch FROM now() - least((
           -- rows lie nearly in the order of their transactions, so that the first one found is as good as the first
           SELECT written_at FROM events_messages WHERE xid >= r.xid AND (xid, id) > (r.xid, r.event_id) LIMIT 1
       ), (
           SELECT written_at FROM events_others WHERE xid >= r.xid AND (xid, id) > (r.xid, r.event_id) LIMIT 1
       ))), 0)::double precision AS lag_s
FROM readers r;

-- connection_figures --
-- Connections by type and state.
SELECT connection_type, status, count(*) AS connections FROM phone_configs GROUP BY connection_type, status;

-- waiting_figures --
-- Customers who wait for a human, those of them who wait beyond the limit of their company, and how long the first has
-- waited.
SELECT count(*) AS customers, count(*) FILTER (WHERE is_late) AS late,
       coalesce(max(waits_s), 0)::double precision AS longest_s
FROM (
    SELECT extract(epoch FROM now() - c.state_at) AS waits_s,
           c.state_at < now() - setting_minutes(o.settings, 'waitingLimitMinutes', %(limit_minutes)s) AS is_late
    FROM conversations c JOIN companies o ON o.id = c.company_id
    WHERE c.state = 'waiting' ORDER BY c.state_at LIMIT %(most)s
) AS waiting;
