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
-- The oldest transaction that still runs, the next one, and when this was asked. What transactions below the first
-- wrote is final, and seen by every later statement.
SELECT pg_snapshot_xmin(s)::text::bigint + event_xid_offset() AS oldest,
       pg_snapshot_xmax(s)::text::bigint + event_xid_offset() AS next, now() AS at
FROM pg_current_snapshot() AS s;

-- read_events --
-- Events after a position, in the order of their transactions, of transactions below `before`.
SELECT id, xid, written_at, at, type, company_id, kind, connection_id, message_id, slot, incarnation, state, attempt,
       code, detail, data
FROM events
-- the first condition is what the BRIN index serves
WHERE xid >= %(xid)s AND xid < %(before)s AND (xid, id) > (%(xid)s, %(id)s)
  -- leaves out the partitions of earlier days, where the caller knows a time
  AND (%(since)s::timestamptz IS NULL OR written_at >= %(since)s)
  AND (%(company_id)s::text IS NULL OR company_id = %(company_id)s)
  AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]) OR subject = ANY(%(subjects)s::text[]))
ORDER BY xid, id LIMIT %(most)s;

-- events_at --
-- The events at given positions; `message_ids`: of the messages that they are about, NULL where that is not known.
SELECT e.id, e.xid, e.written_at, e.at, e.type, e.company_id, e.kind, e.connection_id, e.message_id, e.slot,
       e.incarnation, e.state, e.attempt, e.code, e.detail, e.data
FROM unnest(%(xids)s::bigint[], %(ids)s::bigint[], %(message_ids)s::bigint[]) AS p(xid, id, message_id)
CROSS JOIN LATERAL (
    -- by the whole key of their one B-tree index: by its second column alone, all of it would be read for each event
    SELECT * FROM events m
    WHERE m.subject = 'message' AND m.message_id = p.message_id AND m.id = p.id AND m.xid = p.xid
    UNION ALL
    SELECT * FROM events o WHERE o.subject <> 'message' AND o.id = p.id AND o.xid = p.xid
    UNION ALL
    -- `+ 0` keeps the planner from that column: a few pages by the BRIN index
    SELECT * FROM events u
    WHERE p.message_id IS NULL AND u.subject = 'message' AND u.xid = p.xid AND u.id + 0 = p.id
) AS e
ORDER BY e.xid, e.id;

-- dropped_events --
-- The last event of each part that retention has dropped.
SELECT parent, xid, id FROM event_horizons;

-- messages_of_events --
-- Messages in both directions, as they are now.
SELECT m.id, m.company_id, m.connection_id, 'out' AS direction, false AS came_in, c.phone_index, c.connection_type,
       m.chat_id, chat_aliases(m.company_id, m.chat_id) AS chat_ids, m.type, m.content, '{}'::jsonb AS context,
       m.state, m.attempt, m.not_before, m.scheduled_for, m.in_doubt_policy, m.provider_id, '' AS sender,
       '' AS sender_name, '' AS sender_username,
       m.held_at, m.error_code, m.error_detail, m.created_at AS at, m.created_at, m.sent_at,
       m.updated_at
FROM messages m JOIN phone_configs c ON c.id = m.connection_id
WHERE m.id = ANY(%(ids)s::bigint[])
UNION ALL
SELECT i.id, i.company_id, i.connection_id, CASE WHEN i.from_me THEN 'out' ELSE 'in' END, true, c.phone_index,
       c.connection_type, i.chat_id, chat_aliases(i.company_id, i.chat_id), i.type, i.content, i.context, i.state, 0,
       NULL, NULL, NULL, i.provider_id, i.sender, i.sender_name,
       i.sender_username, NULL, '', '', i.at, i.created_at, NULL, i.created_at
FROM inbound_messages i JOIN phone_configs c ON c.id = i.connection_id
WHERE i.id = ANY(%(ids)s::bigint[]);

-- connections_of_events --
-- How clients name connections, also those that were removed.
SELECT id, phone_index, connection_type FROM phone_configs WHERE id = ANY(%(ids)s::bigint[]);
