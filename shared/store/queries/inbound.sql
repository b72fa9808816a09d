-- journal_events --
-- Keep raw events before anything is done with them.
INSERT INTO inbound_journal (process_name, source, connection_id, body)
SELECT %(kind)s, source, connection_id, body
FROM unnest(%(sources)s::text[], %(connection_ids)s::bigint[], %(bodies)s::bytea[]) AS g(source, connection_id, body)
RETURNING id;

-- commit_unforced --
-- Let this transaction's commit not wait for the disk. Only for what can be derived again from rows that are on disk.
SET LOCAL synchronous_commit = off;

-- take_journal --
-- Lock a batch of raw events that nobody has processed yet, oldest first.
SELECT id, source, connection_id, body, received_at, attempts FROM inbound_journal
WHERE process_name = %(kind)s AND processed_at IS NULL
ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED;

-- finish_journal --
-- Mark raw events as processed, with how it went.
UPDATE inbound_journal SET processed_at = now(), attempts = attempts + 1, outcome = g.outcome
FROM unnest(%(ids)s::bigint[], %(outcomes)s::text[]) AS g(id, outcome)
WHERE inbound_journal.id = g.id;

-- insert_inbound --
-- Keep normalised messages; one that is there already is left alone.
INSERT INTO inbound_messages (company_id, connection_id, journal_id, provider_id, chat_id, sender, sender_name, from_me, type, content, context, at)
SELECT c.company_id, r.connection_id, r.journal_id, r.provider_id, r.chat_id, r.sender, r.sender_name, r.from_me, r.type, r.content, r.context, r.at
FROM jsonb_to_recordset(%(rows)s::jsonb)
     AS r(connection_id bigint, journal_id bigint, provider_id text, chat_id text, sender text, sender_name text, from_me boolean, type text,
          content jsonb, context jsonb, at timestamptz)
JOIN phone_configs c ON c.id = r.connection_id
ON CONFLICT (connection_id, provider_id) DO NOTHING
RETURNING id, connection_id, provider_id;

-- last_event_at --
-- When a source was heard from last, after an instant and so long ago or longer.
SELECT max(received_at) AS at FROM inbound_journal
WHERE source = %(source)s AND received_at > %(since)s AND received_at <= now() - make_interval(secs => %(ago_s)s);

-- journal_backlog --
-- How many raw events of a kind wait to be processed, and since when the oldest does.
SELECT count(*) AS events, coalesce(extract(epoch FROM now() - min(received_at)), 0)::double precision AS oldest_s
FROM inbound_journal WHERE process_name = %(kind)s AND processed_at IS NULL;
