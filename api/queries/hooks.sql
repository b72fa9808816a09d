-- add_hook --
-- Add a subscriber, from the end of the stream on; no row when its owner has as many as it may. A subscriber of the
-- installation has no company, here and below.
INSERT INTO hooks (company_id, url, types, phone_indexes, header_names, sealed, xid, event_id)
SELECT %(company_id)s, %(url)s, %(types)s::text[], %(phone_indexes)s::integer[], %(header_names)s::text[], '',
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint + event_xid_offset(), 0
WHERE (SELECT count(*) FROM hooks
       WHERE company_id = %(company_id)s OR (company_id IS NULL AND %(company_id)s::text IS NULL)) < %(most)s
RETURNING id;

-- seal_hook --
-- Write the sealed secrets of a subscriber; its server reads it again.
UPDATE hooks SET sealed = %(sealed)s, header_names = %(header_names)s::text[],
    former_until = CASE WHEN %(former_s)s::float IS NULL THEN former_until
                        ELSE now() + make_interval(secs => %(former_s)s) END,
    version = version + 1, updated_at = now()
WHERE id = %(id)s;

-- hooks_of_company --
-- Subscribers of a company or of the installation, one or all, with what waits for them.
SELECT h.id, h.url, h.types, h.phone_indexes, h.header_names, h.sealed, h.state, h.state_reason, h.xid, h.event_id,
       h.failing_since, h.former_until, h.created_at, h.updated_at,
       (SELECT count(*) FROM hook_retries r WHERE r.hook_id = h.id AND r.state = 'waiting') AS waiting,
       (SELECT count(*) FROM hook_retries r WHERE r.hook_id = h.id AND r.state = 'dead') AS dead
FROM hooks h
WHERE (h.company_id = %(company_id)s OR (h.company_id IS NULL AND %(company_id)s::text IS NULL))
  AND (%(id)s::bigint IS NULL OR h.id = %(id)s)
ORDER BY h.id;

-- lock_hook --
-- Keep a subscriber as it is until what is changed about it is committed.
SELECT id FROM hooks
WHERE (company_id = %(company_id)s OR (company_id IS NULL AND %(company_id)s::text IS NULL)) AND id = %(id)s
FOR UPDATE;

-- change_hook --
-- Change what is given about a subscriber; its server reads it again. Made active: what waits for it is due at once.
WITH due AS (
    UPDATE hook_retries SET next_at = now()
    WHERE hook_id = %(id)s AND state = 'waiting' AND next_at > now() AND %(state)s = 'active'
)
UPDATE hooks
SET url = coalesce(%(url)s, url), types = coalesce(%(types)s::text[], types),
    phone_indexes = coalesce(%(phone_indexes)s::integer[], phone_indexes), state = coalesce(%(state)s, state),
    state_reason = CASE WHEN %(state)s::text IS NULL THEN state_reason ELSE '' END,
    failing_since = CASE WHEN %(state)s = 'active' THEN NULL ELSE failing_since END,
    version = version + 1, updated_at = now()
WHERE id = %(id)s;

-- remove_hook --
-- Remove a subscriber with everything that waits for it.
DELETE FROM hooks
WHERE (company_id = %(company_id)s OR (company_id IS NULL AND %(company_id)s::text IS NULL)) AND id = %(id)s
RETURNING id;

-- test_hook --
-- Write a test event and let it be delivered to one subscriber.
WITH written AS (
    INSERT INTO events (subject, type, company_id, kind, data)
    VALUES ('hook', 'hook.test', %(company_id)s, 'hooks', jsonb_build_object('hookId', %(id)s::bigint))
    RETURNING xid, id
), kept AS (
    INSERT INTO hook_retries (hook_id, xid, event_id, conversation) SELECT %(id)s, xid, id, 'test' FROM written
), noticed AS (
    UPDATE hooks SET version = version + 1 WHERE id = %(id)s
)
SELECT xid, id FROM written;

-- replay_hook_events --
-- Let events of its company be delivered to a subscriber once more; not those that the stream has yet to bring it, or
-- one of these would be delivered beside its conversation.
WITH found AS (
    SELECT DISTINCT e.xid, e.id, e.message_id,
           (e.xid, e.id) > (h.xid, h.event_id)
           AND (e.type = ANY(%(types)s::text[]) OR e.subject = ANY(%(subjects)s::text[]))
           AND (h.phone_indexes = '{}' OR EXISTS (
               SELECT FROM phone_configs c
               WHERE c.company_id = e.company_id AND c.id = e.connection_id AND c.phone_index = ANY(h.phone_indexes)
           )) AS is_to_come
    -- `+ 0` keeps the planner from an index whose second column is the id, of which it would read everything
    FROM unnest(%(xids)s::bigint[], %(ids)s::bigint[]) AS p(xid, id) JOIN events e ON e.xid = p.xid AND e.id + 0 = p.id
    JOIN hooks h ON h.id = %(id)s
    WHERE e.company_id = %(company_id)s
), kept AS (
    INSERT INTO hook_retries AS r (hook_id, xid, event_id, message_id, conversation)
    SELECT %(id)s, xid, id, message_id, 'replay' FROM found WHERE NOT is_to_come
    -- what waits already keeps its place in its conversation
    ON CONFLICT (hook_id, xid, event_id) DO UPDATE
    SET state = 'waiting', attempts = 0, first_at = NULL, next_at = now(), updated_at = now()
), noticed AS (
    UPDATE hooks SET version = version + 1 WHERE id = %(id)s
)
SELECT count(*) AS events FROM found;

-- replay_hook_since --
-- Move a subscriber back to the first event of its company that was written after an instant.
UPDATE hooks h SET xid = first.xid, event_id = 0, version = version + 1, updated_at = now()
FROM (
    -- Day by day, to the first with an event: not all that has happened since then is read.
    SELECT day.xid
    -- sorted here too, so that the look for a later day is not made to sort it
    FROM (SELECT begin FROM generate_series(greatest(%(since)s::timestamptz, now() - interval '10 years'), now(),
                                            interval '1 day') AS begin ORDER BY begin) AS days
    CROSS JOIN LATERAL (
        -- Ten minutes more, the longest that a transaction lasts: one that began later may have a smaller number.
        SELECT min(xid) AS xid FROM events
        WHERE company_id = %(company_id)s AND written_at >= begin
          AND written_at < begin + interval '1 day 10 minutes'
        HAVING count(*) FILTER (WHERE written_at < begin + interval '1 day') > 0
    ) AS day
    ORDER BY begin LIMIT 1
) AS first
WHERE h.id = %(id)s AND first.xid < h.xid
RETURNING h.xid;

-- replay_dead_hook_retries --
-- Let what was given up be delivered once more.
WITH again AS (
    UPDATE hook_retries SET state = 'waiting', attempts = 0, first_at = NULL, next_at = now(), updated_at = now()
    WHERE hook_id = %(id)s AND state = 'dead' RETURNING hook_id
), noticed AS (
    UPDATE hooks SET version = version + 1 WHERE id = %(id)s
)
SELECT count(*) AS events FROM again;

-- hook_deliveries_of --
-- Attempts of deliveries to a subscriber, newest first.
SELECT id, xid, event_id, type, at, attempt, outcome, status, error, took_ms FROM hook_deliveries
WHERE hook_id = %(hook_id)s AND id < %(before)s AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
ORDER BY id DESC LIMIT %(most)s;
