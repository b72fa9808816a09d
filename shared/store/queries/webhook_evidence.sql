-- note_webhook_evidence --
-- Keep when events about connections happened and came, the newest of each second. Ordered, so that two instances never
-- wait for each other's rows.
INSERT INTO webhook_evidence (connection_id, second, received_at, happened_at)
SELECT g.connection_id, date_trunc('second', g.received_at), max(g.received_at), max(g.happened_at)
FROM unnest(%(connection_ids)s::bigint[], %(received_at)s::timestamptz[], %(happened_at)s::timestamptz[])
    AS g(connection_id, received_at, happened_at)
JOIN phone_configs c ON c.id = g.connection_id
GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT (connection_id, second) DO UPDATE
SET received_at = greatest(webhook_evidence.received_at, excluded.received_at),
    happened_at = greatest(webhook_evidence.happened_at, excluded.happened_at);

-- prune_webhook_evidence --
-- Delete what is older than an hour: a doubt that is older sees what came since.
DELETE FROM webhook_evidence e USING (
    -- A thousand at a time: a short transaction, repeated by the caller's interval.
    SELECT connection_id, second FROM webhook_evidence
    WHERE second < now() - interval '1 hour'
    LIMIT 1000 FOR UPDATE SKIP LOCKED
) AS old
WHERE e.connection_id = old.connection_id AND e.second = old.second;

-- webhook_evidence_since --
-- When the first event came about a connection that happened at an instant or later, or NULL; only those that came so
-- long ago. `is_read`: whether every raw event of the kind that came before it has been processed.
WITH first AS (
    -- Both times count. An event that happened before the claim proves nothing about the time after it, and one that
    -- was received before an outage ended does not show that webhooks arrive again.
    SELECT min(received_at) AS received_at FROM webhook_evidence
    WHERE connection_id = %(connection_id)s AND happened_at >= %(happened_since)s AND received_at > %(received_since)s
      AND received_at <= now() - make_interval(secs => %(ago_s)s)
)
SELECT first.received_at,
       NOT EXISTS (SELECT FROM inbound_journal j
                   WHERE j.process_name = %(kind)s AND j.processed_at IS NULL
                     AND j.received_at <= first.received_at) AS is_read
FROM first;

-- share_webhook_outages --
-- Write outages of this host for the others; given as seconds before now.
INSERT INTO webhook_outages (host, process_name, began_at, ended_at, is_death)
SELECT %(host)s, %(kind)s, now() - make_interval(secs => g.began), now() - make_interval(secs => g.ended), g.is_death
FROM unnest(%(began)s::double precision[], %(ended)s::double precision[], %(deaths)s::boolean[])
    AS g(began, ended, is_death);

-- webhook_outages_elsewhere --
-- Outages of other hosts that ended lately, and when each living process of theirs last said that it lives.
SELECT true AS is_outage, extract(epoch FROM now() - began_at)::double precision AS began_ago_s,
       extract(epoch FROM now() - ended_at)::double precision AS ended_ago_s, is_death
FROM webhook_outages
WHERE process_name = %(kind)s AND host <> %(host)s AND ended_at > now() - make_interval(secs => %(since_s)s)
UNION ALL
SELECT false, 0.0, greatest(0.0, extract(epoch FROM now() - last_heartbeat)::double precision), false
FROM process_heartbeats
-- A fenced life receives nothing any more: its death is among the outages.
WHERE process_name = %(kind)s AND host <> %(host)s AND NOT fenced AND state <> 'stopped';

-- prune_webhook_outages --
-- Delete outages that are older than any doubt that is not held.
DELETE FROM webhook_outages WHERE ended_at < now() - interval '1 day';
