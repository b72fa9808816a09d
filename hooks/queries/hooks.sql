-- hooks_needed --
-- A row while there is a subscriber to serve.
SELECT h.id FROM hooks h LEFT JOIN companies owner ON owner.id = h.company_id
WHERE h.state = 'active' AND (h.company_id IS NULL OR owner.state = 'active') LIMIT 1;

-- lease_hooks --
-- Make one incarnation the server of subscribers that have none. Those of a suspended company wait where they are;
-- those of the installation have no company.
WITH free AS (
    SELECT h.id FROM hooks h LEFT JOIN companies owner ON owner.id = h.company_id
    WHERE h.state = 'active' AND (h.company_id IS NULL OR owner.state = 'active')
      AND NOT h.id = ANY(%(in_hand)s::bigint[])
      AND (h.leased_until < now() OR h.incarnation = %(incarnation)s)
    ORDER BY h.leased_until LIMIT %(most)s FOR UPDATE OF h SKIP LOCKED
)
UPDATE hooks h SET incarnation = %(incarnation)s, leased_until = now() + make_interval(secs => %(lease_s)s)
FROM free WHERE h.id = free.id
RETURNING h.id, h.company_id, h.url, h.types, h.phone_indexes, h.sealed, h.former_until, h.xid, h.event_id,
          h.failing_since, h.version;

-- renew_hooks --
-- Keep what one incarnation serves. What is not returned is served by another one, or by none any more.
WITH mine AS MATERIALIZED (
    -- in one order here and in settle_hooks, so that neither waits for the other in a circle
    SELECT h.id FROM hooks h LEFT JOIN companies owner ON owner.id = h.company_id
    WHERE h.incarnation = %(incarnation)s AND h.state = 'active' AND (h.company_id IS NULL OR owner.state = 'active')
      AND h.id = ANY(%(ids)s::bigint[])
    ORDER BY h.id FOR UPDATE OF h
)
UPDATE hooks h SET leased_until = now() + make_interval(secs => %(lease_s)s) FROM mine WHERE h.id = mine.id
RETURNING h.id, h.version;

-- release_hooks --
-- Give back what a dead incarnation served.
UPDATE hooks SET incarnation = '', leased_until = now() WHERE incarnation = %(incarnation)s RETURNING id;

-- waiting_conversations --
-- How many events of which conversations wait for a subscriber.
SELECT conversation, count(*) AS events FROM hook_retries WHERE hook_id = %(hook_id)s AND state = 'waiting'
GROUP BY conversation;

-- waiting_events_after --
-- Events that wait for a subscriber although they come after a position of the stream.
SELECT xid, event_id FROM hook_retries
WHERE hook_id = %(hook_id)s AND state = 'waiting' AND (xid, event_id) > (%(xid)s::bigint, %(event_id)s::bigint);

-- due_hook_retries --
-- Events of conversations whose first one is due again, in order, at most `each` of a conversation. Those in hand are
-- left out: their rows are not yet as they will be written.
WITH due AS (
    SELECT conversation FROM (
        SELECT DISTINCT ON (conversation) conversation, next_at FROM hook_retries
        WHERE hook_id = %(hook_id)s AND state = 'waiting' ORDER BY conversation, xid, event_id
    ) AS first
    WHERE next_at <= now() AND NOT conversation = ANY(%(in_hand)s::text[]) ORDER BY next_at LIMIT %(most)s
)
SELECT r.conversation, r.xid, r.event_id, r.message_id, r.attempts, r.first_at FROM due CROSS JOIN LATERAL (
    SELECT conversation, xid, event_id, message_id, attempts, first_at FROM hook_retries
    WHERE hook_id = %(hook_id)s AND state = 'waiting' AND conversation = due.conversation
    ORDER BY xid, event_id LIMIT %(each)s
) AS r
ORDER BY r.conversation, r.xid, r.event_id;

-- next_hook_retry --
-- Seconds until the first event of some conversation that is not in hand is due; below zero: it is. NULL: nothing
-- waits.
SELECT extract(epoch FROM min(next_at) - now())::float AS after_s FROM (
    SELECT DISTINCT ON (conversation) conversation, next_at FROM hook_retries
    WHERE hook_id = %(hook_id)s AND state = 'waiting' ORDER BY conversation, xid, event_id
) AS first
WHERE NOT conversation = ANY(%(in_hand)s::text[]);

-- settle_hooks --
-- Write in one statement how far subscribers have come: positions, attempts, what waits and what is done with. Nothing,
-- and no row, for those that another incarnation serves, or that were changed meanwhile.
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(hooks)s::jsonb)
        AS g(id bigint, version integer, xid bigint, event_id bigint, taken boolean, failed boolean)
), mine AS MATERIALIZED (
    SELECT h.id FROM hooks h JOIN given g ON g.id = h.id
    WHERE h.incarnation = %(incarnation)s AND h.version = g.version AND h.state = 'active'
    ORDER BY h.id FOR UPDATE OF h
), moved AS (
    UPDATE hooks h
    SET xid = coalesce(g.xid, h.xid), event_id = coalesce(g.event_id, h.event_id),
        failing_since = CASE WHEN g.taken THEN NULL
                             WHEN g.failed THEN coalesce(h.failing_since, now()) ELSE h.failing_since END
    FROM mine JOIN given g USING (id) WHERE h.id = mine.id
    RETURNING h.id, h.failing_since
), logged AS (
    INSERT INTO hook_deliveries (hook_id, xid, event_id, type, at, attempt, outcome, status, error, took_ms)
    SELECT mine.id, r.xid, r.event_id, r.type, r.at, r.attempt, r.outcome, r.status, r.error, r.took_ms
    FROM jsonb_to_recordset(%(attempts)s::jsonb)
        AS r(hook_id bigint, xid bigint, event_id bigint, type text, at timestamptz, attempt integer, outcome text,
             status integer, error text, took_ms integer)
    JOIN mine ON mine.id = r.hook_id
), kept AS (
    INSERT INTO hook_retries AS k (hook_id, xid, event_id, message_id, conversation, state, attempts, first_at,
                                   next_at, status, error)
    SELECT mine.id, r.xid, r.event_id, r.message_id, r.conversation, r.state, r.attempts, r.first_at,
           now() + make_interval(secs => r.after_s), r.status, r.error
    FROM jsonb_to_recordset(%(kept)s::jsonb)
        AS r(hook_id bigint, xid bigint, event_id bigint, message_id bigint, conversation text, state text,
             attempts integer, first_at timestamptz, after_s double precision, status integer, error text)
    JOIN mine ON mine.id = r.hook_id
    ON CONFLICT (hook_id, xid, event_id) DO UPDATE
    SET state = excluded.state, attempts = excluded.attempts, first_at = excluded.first_at, next_at = excluded.next_at,
        status = excluded.status, error = excluded.error, updated_at = now()
), gone AS (
    DELETE FROM hook_retries r
    USING mine, unnest(%(done_hooks)s::bigint[], %(done_xids)s::bigint[], %(done_ids)s::bigint[])
        AS d(hook_id, xid, event_id)
    WHERE d.hook_id = mine.id AND r.hook_id = mine.id AND r.xid = d.xid AND r.event_id = d.event_id
)
SELECT id, extract(epoch FROM now() - failing_since)::float AS failing_s FROM moved;

-- hurry_hook_retries --
-- Let everything that waits for a subscriber be due now: it takes events again.
UPDATE hook_retries SET next_at = now() WHERE hook_id = %(hook_id)s AND state = 'waiting' AND next_at > now();

-- disable_hook --
-- End a subscriber, with an event.
WITH ended AS (
    UPDATE hooks SET state = 'disabled', state_reason = %(reason)s, version = version + 1, updated_at = now()
    WHERE id = %(hook_id)s AND incarnation = %(incarnation)s AND state = 'active'
    RETURNING id, company_id
)
INSERT INTO events (subject, type, company_id, kind, detail, data)
SELECT 'hook', 'hook.disabled', company_id, 'hooks', %(reason)s, jsonb_build_object('hookId', id) FROM ended;

-- prune_dead_hook_retries --
-- Delete the oldest events that were given up so many seconds ago, at most so many.
DELETE FROM hook_retries WHERE (hook_id, xid, event_id) IN (
    SELECT hook_id, xid, event_id FROM hook_retries
    WHERE state = 'dead' AND updated_at < now() - make_interval(secs => %(age_s)s) ORDER BY updated_at LIMIT %(most)s
)
RETURNING hook_id;

-- sealed_hooks --
-- Sealed secrets of subscribers, a page by id.
SELECT id, sealed, 'hooks/' || id AS context,
       'webhook ' || id || coalesce(' of company ' || company_id, ' of the installation') AS name
FROM hooks
WHERE id > %(after)s ORDER BY id LIMIT %(most)s;

-- reseal_hook --
-- Replace the sealed secrets of one subscriber, unless they were changed meanwhile.
UPDATE hooks SET sealed = %(new)s WHERE id = %(id)s AND sealed = %(old)s RETURNING id;

-- add_event_export --
-- Begin an export of events at the end of the stream, unless there is one of this name.
INSERT INTO event_exports (name, xid, event_id)
VALUES (%(name)s, pg_snapshot_xmin(pg_current_snapshot())::text::bigint + event_xid_offset(), 0)
ON CONFLICT (name) DO NOTHING;

-- lease_event_export --
-- Make one incarnation the one that exports, unless another one does.
UPDATE event_exports SET incarnation = %(incarnation)s, leased_until = now() + make_interval(secs => %(lease_s)s)
WHERE name = %(name)s AND (leased_until < now() OR incarnation = %(incarnation)s)
RETURNING xid, event_id;

-- move_event_export --
-- Write how far an export has come; nothing when another incarnation exports.
UPDATE event_exports
SET xid = %(xid)s, event_id = %(event_id)s, leased_until = now() + make_interval(secs => %(lease_s)s),
    updated_at = now()
WHERE name = %(name)s AND incarnation = %(incarnation)s;

-- end_event_export --
-- Move an export to the end of the stream.
UPDATE event_exports
SET xid = pg_snapshot_xmin(pg_current_snapshot())::text::bigint + event_xid_offset(), event_id = 0, updated_at = now()
WHERE name = %(name)s AND incarnation = %(incarnation)s;

-- release_event_exports --
-- Give back what a dead incarnation exported.
UPDATE event_exports SET incarnation = '', leased_until = now() WHERE incarnation = %(incarnation)s RETURNING name;
