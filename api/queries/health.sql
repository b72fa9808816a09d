-- write_health_probe --
-- Write as messages are written: a server that is read-only, full or short of rights refuses it.
INSERT INTO health_probes (slot, at) VALUES (%(slot)s, now()) ON CONFLICT (slot) DO UPDATE SET at = excluded.at;

-- unwell_connections --
-- Connections of which something may be wrong, of all companies or one, by id; what they are about is decided by
-- `shared.observations`. Bounded however much waits: it goes from one connection with a queue to the next by the index.
WITH RECURSIVE waiting AS (
    -- a skip scan, at most 1,000 connections: PostgreSQL has none for DISTINCT
    (SELECT connection_id, 1 AS step FROM messages WHERE state = 'queued' AND scheduled_for IS NULL
     ORDER BY connection_id LIMIT 1)
    UNION ALL
    SELECT (SELECT connection_id FROM messages
            WHERE connection_id > waiting.connection_id AND state = 'queued' AND scheduled_for IS NULL
            ORDER BY connection_id LIMIT 1), step + 1
    FROM waiting WHERE waiting.connection_id IS NOT NULL AND step < 1000
), due AS (
    -- the oldest 1,000 of each: enough to know how long they wait
    SELECT w.connection_id, q.messages, q.oldest_s
    FROM waiting w CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE due_at <= now()) AS messages, extract(epoch FROM now() - min(due_at)) AS oldest_s
        FROM (SELECT coalesce(not_before, created_at) AS due_at FROM messages
              WHERE connection_id = w.connection_id AND state = 'queued' AND scheduled_for IS NULL
              ORDER BY id LIMIT 1000) AS oldest) AS q
    WHERE w.connection_id IS NOT NULL
), held AS (
    SELECT connection_id, count(*) AS messages
    FROM (SELECT connection_id FROM messages WHERE state = 'in_doubt' AND held_at IS NOT NULL LIMIT 5000) AS several
    GROUP BY connection_id
), owners AS (
    (SELECT company_id, 1 AS step FROM messages WHERE state = 'failed' OR held_at IS NOT NULL
     ORDER BY company_id LIMIT 1)
    UNION ALL
    SELECT (SELECT company_id FROM messages
            WHERE company_id > owners.company_id AND (state = 'failed' OR held_at IS NOT NULL)
            ORDER BY company_id LIMIT 1), step + 1
    FROM owners WHERE owners.company_id IS NOT NULL AND step < 1000
), dead AS (
    -- the newest 200 of each company: what failed lately is among what was accepted lately
    SELECT f.connection_id, count(*) AS messages
    FROM owners o CROSS JOIN LATERAL (
        SELECT connection_id, state, updated_at FROM messages
        WHERE company_id = o.company_id AND (state = 'failed' OR held_at IS NOT NULL) ORDER BY id DESC LIMIT 200) AS f
    WHERE o.company_id IS NOT NULL AND f.state = 'failed' AND f.updated_at > now() - interval '1 hour'
    GROUP BY f.connection_id
)
SELECT c.id, c.company_id, c.phone_index, c.connection_type, c.process_name, c.status = 'paused' AS is_paused,
       c.status_reason, c.desired_state,
       coalesce(shown_state(c.process_name, s.status, s.proved_at, s.updated_at), '') AS observed,
       coalesce(shown_detail(c.process_name, s.status, s.detail, s.proved_at, s.updated_at), '') AS detail,
       coalesce(s.account, '') AS account, coalesce(s.warning, '') AS warning,
       extract(epoch FROM now() - s.updated_at)::double precision AS since_s,
       -- what a suspended company's queue holds waits on purpose
       CASE WHEN owner.state = 'active' THEN coalesce(due.messages, 0) ELSE 0 END AS due,
       coalesce(due.oldest_s, 0)::double precision AS oldest_due_s,
       coalesce(held.messages, 0) AS held, coalesce(dead.messages, 0) AS dead
FROM phone_configs c
JOIN companies owner ON owner.id = c.company_id
LEFT JOIN phone_status s ON s.connection_id = c.id
LEFT JOIN due ON due.connection_id = c.id
LEFT JOIN held ON held.connection_id = c.id
LEFT JOIN dead ON dead.connection_id = c.id
WHERE c.status <> 'removed' AND c.id > %(after)s
  AND (%(company_id)s::text IS NULL OR c.company_id = %(company_id)s)
  AND (%(whole)s::bool OR c.status = 'paused' OR due.messages > 0 OR held.messages > 0 OR dead.messages > 0
       OR coalesce(s.warning, '') <> ''
       OR (c.process_name = 'webdriver' AND c.desired_state = 'linked'
           AND shown_state(c.process_name, s.status, s.proved_at, s.updated_at) <> 'ready'))
ORDER BY c.id LIMIT %(most)s;

-- unwell_companies --
-- Companies that are not active, whose customers wait for a human beyond its limit, or with documents that wait to be
-- indexed or cannot be; of all or one.
WITH late AS (
    SELECT company_id, count(*) AS customers, max(waits_s) AS longest_s
    FROM (SELECT c.company_id, extract(epoch FROM now() - c.state_at) AS waits_s
          FROM conversations c JOIN companies o ON o.id = c.company_id
          WHERE c.state = 'waiting' AND (%(company_id)s::text IS NULL OR c.company_id = %(company_id)s)
            AND c.state_at < now() - setting_minutes(o.settings, 'waitingLimitMinutes', %(limit_minutes)s)
          ORDER BY c.state_at LIMIT 1000) AS longest
    GROUP BY company_id
), unsearched AS (
    SELECT company_id, count(*) FILTER (WHERE state IN ('uploaded', 'indexing')) AS waiting,
           extract(epoch FROM now() - min(asked_at) FILTER (WHERE state IN ('uploaded', 'indexing'))) AS oldest_s,
           count(*) FILTER (WHERE state IN ('failed', 'no_text')) AS failed
    FROM (
        -- By the partial indexes: what is searched is not looked at.
        (SELECT company_id, state, asked_at FROM documents WHERE state IN ('uploaded', 'indexing')
            AND (%(company_id)s::text IS NULL OR company_id = %(company_id)s) LIMIT 1000)
        UNION ALL
        (SELECT company_id, state, asked_at FROM documents
         WHERE state IN ('failed', 'no_text') AND updated_at > now() - interval '1 day'
            AND (%(company_id)s::text IS NULL OR company_id = %(company_id)s) LIMIT 1000)) AS several
    GROUP BY company_id
)
SELECT o.id AS company_id, o.state, coalesce(late.customers, 0) AS waiting,
       coalesce(late.longest_s, 0)::double precision AS waiting_s,
       coalesce(unsearched.waiting, 0) AS documents,
       coalesce(unsearched.oldest_s, 0)::double precision AS documents_s,
       coalesce(unsearched.failed, 0) AS documents_failed
FROM companies o LEFT JOIN late ON late.company_id = o.id LEFT JOIN unsearched ON unsearched.company_id = o.id
WHERE (o.state <> 'active' OR late.customers > 0 OR unsearched.company_id IS NOT NULL)
  AND (%(company_id)s::text IS NULL OR o.id = %(company_id)s)
ORDER BY o.id LIMIT %(most)s;

-- unwell_hooks --
-- Subscribers that were switched off by us, or have taken nothing for a while, of all companies or one.
SELECT id, company_id, state, state_reason,
       coalesce(extract(epoch FROM now() - failing_since), 0)::double precision AS failing_s
FROM hooks
WHERE (state = 'disabled' OR failing_since IS NOT NULL)
  AND (%(company_id)s::text IS NULL OR company_id = %(company_id)s)
ORDER BY id LIMIT %(most)s;

-- unwell_inbound --
-- Raw webhooks of each kind that wait, and those of the last day that could not be processed.
SELECT k.kind, w.waiting, w.oldest_s, f.failed
FROM unnest(%(kinds)s::text[]) AS k(kind)
CROSS JOIN LATERAL (
    SELECT count(*) AS waiting,
           coalesce(extract(epoch FROM now() - min(received_at)), 0)::double precision AS oldest_s
    FROM (SELECT received_at FROM inbound_journal WHERE process_name = k.kind AND processed_at IS NULL
          ORDER BY id LIMIT 1000) AS oldest) AS w
CROSS JOIN LATERAL (
    SELECT count(*) AS failed
    FROM (SELECT outcome, received_at, process_name FROM inbound_journal WHERE outcome <> ''
          ORDER BY id DESC LIMIT 1000) AS newest
    WHERE process_name = k.kind AND outcome LIKE 'failed: %%' AND received_at > now() - interval '1 day') AS f;

-- connection_types_in_use --
-- Connection types that some connection has.
SELECT DISTINCT connection_type FROM phone_configs WHERE status <> 'removed' ORDER BY connection_type;
