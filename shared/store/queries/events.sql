-- lock_event_positions --
-- How far sources of numbered events have been written; locked until the transaction ends, so that two readers of one
-- source write nothing twice.
INSERT INTO event_positions AS p (source, seq)
SELECT source, 0 FROM unnest(%(sources)s::text[]) AS s(source) ORDER BY source
-- An update that changes nothing: DO NOTHING would neither lock the row nor return it.
ON CONFLICT (source) DO UPDATE SET seq = p.seq
RETURNING source, seq;

-- move_event_positions --
-- Note how far sources of numbered events have been written now.
UPDATE event_positions p SET seq = g.seq, updated_at = now()
FROM unnest(%(sources)s::text[], %(seqs)s::bigint[]) AS g(source, seq) WHERE p.source = g.source;

-- event_horizon --
-- The oldest transaction that still runs, and the next one. What transactions below the first wrote is final, and seen
-- by every later statement.
SELECT pg_snapshot_xmin(s)::text::bigint AS oldest, pg_snapshot_xmax(s)::text::bigint AS next
FROM pg_current_snapshot() AS s;

-- read_events --
-- Events after a position, in the order of their transactions, of transactions below `before`.
SELECT id, xid, written_at, at, type, company_id, kind, connection_id, message_id, slot, incarnation, state, attempt,
       code, detail, data
FROM events
-- the first condition is what the BRIN index serves
WHERE xid >= %(xid)s AND xid < %(before)s AND (xid, id) > (%(xid)s, %(id)s)
  AND (%(company_id)s::text IS NULL OR company_id = %(company_id)s)
  AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]))
ORDER BY xid, id LIMIT %(most)s;
