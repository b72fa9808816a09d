-- write_heartbeat --
-- Proof of progress of one slot, and its lease; the error count is the process's own and is added up over its lives.
-- One row for each slot of a host, overwritten: a table of every heartbeat would grow by thousands of rows a day.
WITH before AS (
    -- what a process of the version before wrote of this slot
    DELETE FROM ONLY process_health WHERE process_name = %(kind)s AND instance = %(instance)s
)
INSERT INTO process_heartbeats AS h (process_name, instance, status, state, last_heartbeat, error_count, last_error,
                                     uptime_seconds, memory_usage_mb,
                                     active_connections, pid, host, incarnation, detail, leased_until, home_id,
                                     shared_facts)
VALUES (%(kind)s, %(instance)s, CASE WHEN %(status)s = 'ready' THEN 'healthy' ELSE 'degraded' END, %(status)s,
        now(), %(new_errors)s, %(last_error)s, %(uptime_s)s, %(memory_mb)s, %(connections)s, %(pid)s,
        %(host)s, %(incarnation)s, %(detail)s, now() + make_interval(secs => %(lease_s)s), %(home_id)s,
        %(shared_facts)s)
ON CONFLICT (host, process_name, instance) DO UPDATE
SET status = excluded.status, state = excluded.state, last_heartbeat = excluded.last_heartbeat,
    error_count = h.error_count + excluded.error_count,
    last_error = CASE WHEN excluded.last_error <> '' THEN excluded.last_error ELSE h.last_error END,
    uptime_seconds = excluded.uptime_seconds,
    memory_usage_mb = excluded.memory_usage_mb, active_connections = excluded.active_connections, pid = excluded.pid,
    incarnation = excluded.incarnation, detail = excluded.detail, leased_until = excluded.leased_until, fenced = false,
    home_id = excluded.home_id, shared_facts = excluded.shared_facts
-- The fence: what another host has reclaimed must not come back to life.
WHERE (NOT h.fenced OR h.incarnation <> excluded.incarnation)
  -- Two homes with one name: the place is the first one's until its lease has run out.
  AND (h.home_id = excluded.home_id OR h.leased_until < now());

-- other_homes --
-- Processes of other homes whose lease lasts.
SELECT host, process_name || '-' || instance AS slot, last_heartbeat::text AS beat, shared_facts,
       extract(epoch FROM leased_until - now())::double precision AS lease_left_s,
       (coalesce(uptime_seconds, 0) + extract(epoch FROM now() - last_heartbeat))::double precision AS uptime_s
FROM process_heartbeats WHERE home_id NOT IN (%(home_id)s, '') AND leased_until >= now() AND NOT fenced
ORDER BY host, process_name, instance;

-- write_metrics --
-- Metrics of one slot at this instant.
INSERT INTO process_metrics (host, process_name, instance, metrics)
VALUES (%(host)s, %(kind)s, %(instance)s, %(metrics)s);

-- silent_lives --
-- Incarnations without a sign of life within the limit, and whether their lease has run out.
SELECT h.incarnation, h.host, h.process_name || '-' || h.instance AS slot, h.last_heartbeat::text AS beat,
       h.leased_until < now() AS expired,
       extract(epoch FROM now() - h.last_heartbeat)::double precision AS silent_s
FROM process_heartbeats h
WHERE h.last_heartbeat < now() - make_interval(secs => %(silent_s)s)
  -- a claim that was under way when its life was fenced may have been committed since
  AND (NOT h.fenced OR EXISTS (SELECT FROM messages m WHERE m.state = 'sending' AND m.incarnation = h.incarnation)
       OR h.incarnation = ANY(%(holders)s::text[]))
UNION ALL
-- Holders of rows without a heartbeat of their own: stock RQ workers, earlier lives of slots that have a new one, and
-- processes of the version before.
SELECT m.incarnation, '', '', max(m.claimed_at)::text, true,
       extract(epoch FROM now() - max(m.claimed_at))::double precision
FROM (SELECT incarnation, claimed_at FROM messages WHERE state = 'sending'
      UNION ALL SELECT * FROM unnest(%(holders)s::text[], %(since)s::timestamptz[])) AS m (incarnation, claimed_at)
WHERE NOT EXISTS (SELECT FROM process_heartbeats h WHERE h.incarnation = m.incarnation)
  AND NOT EXISTS (SELECT FROM ONLY process_health h
                  WHERE h.incarnation = m.incarnation
                    AND h.last_heartbeat > now() - make_interval(secs => %(silent_s)s))
GROUP BY m.incarnation
-- A row that was claimed just now proves life as well as a heartbeat, and its process may not have written one yet.
HAVING max(m.claimed_at) < now() - make_interval(secs => %(silent_s)s);

-- fence_incarnation --
-- Keep a life whose lease has run out from renewing it; no row when it has renewed it meanwhile.
UPDATE process_heartbeats SET fenced = true WHERE incarnation = %(incarnation)s AND leased_until < now()
RETURNING incarnation;

-- held_on_host --
-- How many messages the processes of a host have in hand.
SELECT count(*) AS messages FROM messages
WHERE state = 'sending' AND split_part(incarnation, '@', 2) = %(host)s;

-- prune_heartbeats --
-- Delete what slots wrote that have been silent for a day: hosts come and go.
DELETE FROM process_health WHERE last_heartbeat < now() - interval '1 day';

-- write_process_events --
-- Write what the orchestrator saw, in the order of its journal.
INSERT INTO events (at, subject, type, kind, slot, incarnation, data)
SELECT r.at, 'process', 'process.' || r.event, nullif(r.process_name, ''), r.process_name || '-' || r.instance,
       nullif(r.incarnation, ''),
       jsonb_build_object('boot', r.boot_id, 'seq', r.seq, 'detail', r.detail)
FROM jsonb_to_recordset(%(rows)s::jsonb)
     AS r(boot_id text, seq bigint, at timestamptz, event text, process_name text, instance int, incarnation text,
          detail jsonb)
ORDER BY r.seq;

-- proved_dead --
-- Incarnations that hold rows although their slot was free: their last claim was committed after they were reclaimed.
SELECT DISTINCT m.incarnation
FROM (SELECT incarnation, claimed_at FROM messages WHERE state = 'sending'
      UNION ALL SELECT * FROM unnest(%(holders)s::text[], %(since)s::timestamptz[])) AS m (incarnation, claimed_at)
  -- Another host has the in-flight journal of its own; a name without a host is of the version before.
WHERE split_part(m.incarnation, '@', 2) IN (%(host)s, '')
  -- a server that hung may run the claim long after its process died; the times leave out the partitions of other days
  AND EXISTS (SELECT FROM events e
              WHERE e.subject = 'process' AND e.type = 'process.slot_free' AND e.incarnation = m.incarnation
                AND e.written_at >= m.claimed_at - interval '2 days'
                AND e.written_at < now() + interval '1 day' OFFSET 0);

-- process_statuses --
-- Every slot with its computed status.
SELECT process_name, instance, status, reported, last_heartbeat, silent_s::double precision AS silent_s, error_count,
       last_error, uptime_seconds,
       memory_usage_mb, active_connections, pid, host, incarnation, detail
FROM process_status ORDER BY process_name, host, instance;

-- latest_metrics --
-- The latest metrics of each slot of a kind.
SELECT h.host, h.instance, last.at, last.metrics
FROM process_health h
-- one look into the newest partition for each, however much is kept
CROSS JOIN LATERAL (SELECT at, metrics FROM process_metrics m
                    WHERE m.process_name = %(kind)s AND m.instance = h.instance AND m.host IN (h.host, '')
                    ORDER BY at DESC LIMIT 1) AS last
WHERE h.process_name = %(kind)s ORDER BY h.host, h.instance;

-- latest_process_events --
-- What happened to a kind, newest first. Among the rows that were written last: journals of several hosts are written
-- in batches, not quite in order.
SELECT at, split_part(type, '.', 2) AS event, coalesce(kind, '') AS process_name,
       substring(slot FROM '-([0-9]+)$')::integer AS instance,
       coalesce(incarnation, '') AS incarnation, data -> 'detail' AS detail
-- Four times as many: enough for rows that were written somewhat out of the order of their times.
FROM (SELECT * FROM events WHERE subject = 'process' AND (%(kind)s = '' OR kind = %(kind)s)
      ORDER BY id DESC LIMIT 4 * %(most)s) AS last
ORDER BY at DESC, id DESC LIMIT %(most)s;

-- slot_events --
-- Events of a host's slots since an instant, oldest first; the newest of them where there are more than `most`.
SELECT at, slot, type, detail
FROM (SELECT at, id, slot, type, data -> 'detail' AS detail FROM events
      WHERE subject = 'process' AND type = ANY(%(types)s) AND slot IS NOT NULL AND kind IS NOT NULL
        AND written_at >= %(since)s
        -- another host has slots of the same names; a name without a host is of the version before
        AND split_part(coalesce(incarnation, ''), '@', 2) IN (%(host)s, '')
      ORDER BY written_at DESC, id DESC LIMIT %(most)s) AS newest
ORDER BY at, id;

-- metric_points --
-- Chosen figures of each slot at the end of each of many equal steps: one look for each, however much is kept.
SELECT h.process_name, h.instance, steps.step, point.figures
FROM process_health h
CROSS JOIN generate_series(0, %(steps)s - 1) AS steps(step)
CROSS JOIN LATERAL (
    SELECT (SELECT jsonb_object_agg(f.key, f.value) FROM jsonb_each(m.metrics) AS f
            WHERE f.key LIKE ANY(%(names)s)) AS figures
    FROM process_metrics m
    WHERE m.process_name = h.process_name AND m.instance = h.instance AND m.host IN (h.host, '')
      AND m.at > %(since)s::timestamptz + steps.step * make_interval(secs => %(step_s)s)
      AND m.at <= %(since)s::timestamptz + (steps.step + 1) * make_interval(secs => %(step_s)s)
    ORDER BY m.at DESC LIMIT 1) AS point
WHERE h.last_heartbeat > %(since)s AND h.host IN (%(host)s, '');

-- recent_changes --
-- What happened to processes, connections, sessions and alerts, and what keys changed, newest first. The subjects are
-- those of the partial index `events_changes`.
SELECT id, at, type, company_id, slot, connection_id, state, detail, data,
       (SELECT phone_index FROM phone_configs c WHERE c.id = connection_id) AS phone_index
FROM events
WHERE subject IN ('process', 'connection', 'session', 'alert', 'hook', 'audit')
  AND id < %(before)s AND (%(subjects)s::text[] IS NULL OR subject = ANY(%(subjects)s))
ORDER BY id DESC LIMIT %(most)s;

-- leave_role --
-- Have the rights of the user that signed in until the transaction ends: the role of the runtimes ends no connections.
SELECT set_config('role', 'none', true);

-- cut_connections --
-- End every other connection of one slot's processes, as a network does that breaks down.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
-- Not this one: it would end before it could answer.
WHERE application_name LIKE 'bulkhead/' || %(slot)s || '/%%' AND pid <> pg_backend_pid();
