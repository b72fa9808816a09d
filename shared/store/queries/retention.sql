-- prune_metrics --
-- Look at the next rows in the order in which they were written, and delete those that are older than so many seconds.
WITH looked AS MATERIALIZED (SELECT id, at < now() - make_interval(secs => %(age_s)s) AS old FROM process_metrics WHERE id > %(after)s ORDER BY id LIMIT %(most)s),
     gone AS (DELETE FROM process_metrics USING looked WHERE process_metrics.id = looked.id AND looked.old RETURNING looked.id)
SELECT count(*) AS looked, max(id) AS last, coalesce(bool_and(old), true) AS all_old, (SELECT count(*) FROM gone) AS deleted FROM looked;

-- prune_process_events --
-- As prune_metrics, for what the orchestrator saw.
WITH looked AS MATERIALIZED (SELECT id, at < now() - make_interval(secs => %(age_s)s) AS old FROM process_events WHERE id > %(after)s ORDER BY id LIMIT %(most)s),
     gone AS (DELETE FROM process_events USING looked WHERE process_events.id = looked.id AND looked.old RETURNING looked.id)
SELECT count(*) AS looked, max(id) AS last, coalesce(bool_and(old), true) AS all_old, (SELECT count(*) FROM gone) AS deleted FROM looked;

-- prune_journal --
-- As prune_metrics, for raw events that were processed and understood; what waits, or could not be read, stays.
WITH looked AS MATERIALIZED (
         SELECT id, received_at < now() - make_interval(secs => %(age_s)s) AS old, processed_at IS NOT NULL AND outcome = '' AS is_done
         FROM inbound_journal WHERE id > %(after)s ORDER BY id LIMIT %(most)s),
     gone AS (DELETE FROM inbound_journal USING looked WHERE inbound_journal.id = looked.id AND looked.old AND looked.is_done RETURNING looked.id)
SELECT count(*) AS looked, max(id) AS last, coalesce(bool_and(old), true) AS all_old, (SELECT count(*) FROM gone) AS deleted FROM looked;

-- prune_session_events --
-- As prune_metrics, for what happened to browser sessions.
WITH looked AS MATERIALIZED (SELECT id, at < now() - make_interval(secs => %(age_s)s) AS old FROM session_events WHERE id > %(after)s ORDER BY id LIMIT %(most)s),
     gone AS (DELETE FROM session_events USING looked WHERE session_events.id = looked.id AND looked.old RETURNING looked.id)
SELECT count(*) AS looked, max(id) AS last, coalesce(bool_and(old), true) AS all_old, (SELECT count(*) FROM gone) AS deleted FROM looked;
