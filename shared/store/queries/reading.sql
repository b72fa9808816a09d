-- reading_positions --
-- How far the copies are.
SELECT name, xid, read_at FROM reading_positions;

-- lock_reading_position --
-- As reading_positions, of one copy; locked, so that two recorders count nothing twice.
SELECT xid FROM reading_positions WHERE name = %(name)s FOR UPDATE;

-- move_reading_position --
-- Note how far a copy is now.
UPDATE reading_positions SET xid = %(xid)s, read_at = coalesce(%(read_at)s, read_at) WHERE name = %(name)s;

-- reading_position --
-- Up to which instant everything is in the copies.
SELECT read_at FROM reading_positions WHERE name = 'messages';

-- changed_messages --
-- Messages that the events of some transactions are about, and when their steps were written. `is_new`: one came in or
-- was accepted; `is_rewritten`: what it says may be another.
SELECT message_id, min(written_at) FILTER (WHERE state IN ('sent', 'delivered', 'read')) AS sent_at,
       min(written_at) FILTER (WHERE state IN ('delivered', 'read')) AS delivered_at,
       coalesce(max(step_number(state)), 0) AS furthest,
       bool_or(type IN ('message.queued', 'message.received', 'message.echoed')) AS is_new,
       bool_or(type IN ('message.edited', 'message.deleted')) AS is_rewritten
FROM events_messages
-- the first condition is what the BRIN index serves; the time leaves out the partitions of earlier days
WHERE xid >= %(xid)s AND xid < %(before)s AND written_at >= %(since)s AND message_id IS NOT NULL
  AND type IN ('message.queued', 'message.received', 'message.echoed', 'message.sent', 'message.delivered',
               'message.read', 'message.failed', 'message.edited', 'message.deleted')
GROUP BY message_id;

-- messages_to_backfill --
-- The newest messages below an id that are not indexed.
SELECT l.id FROM (
    (SELECT id FROM messages WHERE id < %(below)s ORDER BY id DESC LIMIT %(most)s)
    UNION ALL
    (SELECT id FROM inbound_messages WHERE id < %(below)s ORDER BY id DESC LIMIT %(most)s)
) AS l ORDER BY id DESC LIMIT %(most)s;

-- index_messages --
-- Bring the copies of some messages up to date: index, chats and figures. Done twice, it changes nothing: each row
-- holds how its message is counted.
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS r(message_id bigint, sent_at timestamptz, delivered_at timestamptz, furthest integer, is_rewritten boolean)
), owners AS MATERIALIZED (
    -- A company that is being deleted: its rows would fail the statement.
    SELECT id FROM companies
    WHERE id = ANY(ARRAY(SELECT l.company_id FROM message_lines l
                         WHERE l.id = ANY(ARRAY(SELECT message_id FROM given))))
    ORDER BY id FOR KEY SHARE
), current AS MATERIALIZED (
    -- The message as it is now, whatever the events say: the one that was read may be older. `old_…`: how it is counted
    -- so far; what was changed since (a connection's type) must not be subtracted from another row.
    SELECT l.id, l.company_id, l.connection_id, l.chat_id, l.direction, l.came_in, l.type, l.state, l.at,
           -- not of deleted ones; what an edit says is found in its message
           CASE WHEN l.state = 'deleted' OR l.content ?| ARRAY['deleted_at', 'erased'] OR l.type = 'edit' THEN NULL
                -- a status changes no word
                WHEN old.message_id IS NOT NULL AND NOT given.is_rewritten THEN old.words
                ELSE message_words(l.company_id, l.content) END AS words,
           (l.created_at AT TIME ZONE 'UTC')::date AS day, c.phone_index, c.connection_type,
           message_outcome(l.came_in, l.direction, l.state, l.sent_at,
                           greatest(given.furthest, step_number(old.outcome))) AS outcome,
           greatest(l.created_at, l.scheduled_for) AS due_at, given.sent_at, given.delivered_at,
           old.message_id IS NOT NULL AS is_old, old.day AS old_day, old.phone_index AS old_phone_index,
           old.connection_type AS old_connection_type, old.direction AS old_direction, old.type AS old_type,
           old.outcome AS old_outcome,
           coalesce(old.sent_timed, %(timed)s AND l.sent_at IS NOT NULL) AS sent_timed,
           coalesce(old.delivered_timed, %(timed)s AND l.sent_at IS NOT NULL) AS delivered_timed
    FROM given
    JOIN message_lines l ON l.id = given.message_id
    JOIN owners ON owners.id = l.company_id
    JOIN phone_configs c ON c.id = l.connection_id
    LEFT JOIN message_index old ON old.message_id = l.id
    WHERE l.id = ANY(ARRAY(SELECT message_id FROM given)) AND (NOT l.came_in OR l.type NOT IN ('edit', 'revoke'))
), indexed AS (
    INSERT INTO message_index (message_id, company_id, connection_id, chat_id, direction, type, state, at, words, day,
                               phone_index, connection_type, outcome, sent_timed, delivered_timed)
    SELECT id, company_id, connection_id, chat_id, direction, type, state, at, words, day, phone_index, connection_type,
           outcome, sent_timed OR sent_at IS NOT NULL, delivered_timed OR delivered_at IS NOT NULL
    FROM current ORDER BY id
    ON CONFLICT (message_id) DO UPDATE
    SET type = excluded.type, state = excluded.state, words = excluded.words, phone_index = excluded.phone_index,
        connection_type = excluded.connection_type, outcome = excluded.outcome, sent_timed = excluded.sent_timed,
        delivered_timed = excluded.delivered_timed
), touched AS (
    INSERT INTO chats (company_id, chat_id, connection_id, last_at)
    SELECT company_id, chat_id, connection_id, max(at) FROM current
    -- one that is indexed has been counted here
    WHERE NOT is_old AND type <> ALL(%(acting)s::text[])
    GROUP BY company_id, chat_id, connection_id ORDER BY company_id, chat_id, connection_id
    ON CONFLICT (company_id, chat_id, connection_id) DO UPDATE SET last_at = excluded.last_at
    WHERE chats.last_at < excluded.last_at
), counted AS (
    INSERT INTO message_rollups (company_id, day, phone_index, connection_type, direction, type, outcome, messages)
    SELECT company_id, day, phone_index, connection_type, direction, type, outcome, sum(change)
    FROM (
        SELECT company_id, day, phone_index, connection_type, direction, type, outcome, 1 AS change FROM current
        UNION ALL
        SELECT company_id, old_day, old_phone_index, old_connection_type, old_direction, old_type, old_outcome, -1
        FROM current WHERE is_old
    ) AS changes
    GROUP BY company_id, day, phone_index, connection_type, direction, type, outcome HAVING sum(change) <> 0
    ORDER BY company_id, day, phone_index, connection_type, direction, type, outcome
    ON CONFLICT (company_id, day, phone_index, connection_type, direction, type, outcome)
    DO UPDATE SET messages = message_rollups.messages + excluded.messages
), steps AS (
    -- Once for each step of a message, by the first time that it was reached.
    SELECT company_id, day, phone_index, connection_type, type, 'sent' AS step,
           latency_bucket(sent_at - due_at) AS bucket
    FROM current WHERE NOT came_in AND NOT sent_timed AND sent_at IS NOT NULL
    UNION ALL
    SELECT company_id, day, phone_index, connection_type, type, 'delivered',
           latency_bucket(delivered_at - due_at)
    FROM current WHERE NOT came_in AND NOT delivered_timed AND delivered_at IS NOT NULL
), timed AS (
    INSERT INTO latency_rollups (company_id, day, phone_index, connection_type, type, step, bucket, messages)
    SELECT company_id, day, phone_index, connection_type, type, step, bucket, count(*)
    FROM steps
    GROUP BY company_id, day, phone_index, connection_type, type, step, bucket
    ORDER BY company_id, day, phone_index, connection_type, type, step, bucket
    ON CONFLICT (company_id, day, phone_index, connection_type, type, step, bucket)
    DO UPDATE SET messages = latency_rollups.messages + excluded.messages
)
SELECT count(*) AS messages,
       -- for the metrics of the process that counts them
       (SELECT coalesce(jsonb_agg(jsonb_build_array(connection_type, step, bucket, messages)), '[]')
        FROM (SELECT connection_type, step, bucket, count(*) AS messages FROM steps
              GROUP BY connection_type, step, bucket) AS counted) AS timed
FROM current;

-- prune_message_index --
-- As prune_metrics, for the index of messages that are deleted. One whose message is there stays: a status that comes
-- late would count it a second time.
WITH looked AS MATERIALIZED (
         SELECT message_id AS id, day < (now() AT TIME ZONE 'UTC' - make_interval(secs => %(age_s)s))::date AS old
         FROM message_index WHERE message_id > %(after)s ORDER BY message_id LIMIT %(most)s),
     gone AS (DELETE FROM message_index USING looked
              WHERE message_index.message_id = looked.id AND looked.old
                AND NOT EXISTS (SELECT FROM messages m WHERE m.id = looked.id)
                AND NOT EXISTS (SELECT FROM inbound_messages i WHERE i.id = looked.id)
              RETURNING looked.id)
SELECT count(*) AS looked, max(id) AS last, coalesce(bool_and(old), true) AS all_old,
       (SELECT count(*) FROM gone) AS deleted FROM looked;

-- chats_page --
-- Chats of a company, the one that was written in last first; each person's once, by the id that was used last. With
-- what the copies lack so far.
WITH added AS MATERIALIZED (
    SELECT l.chat_id, l.connection_id, greatest(max(l.at), max(c.last_at)) AS last_at
    FROM message_lines l
    LEFT JOIN chats c ON c.company_id = l.company_id AND c.chat_id = l.chat_id AND c.connection_id = l.connection_id
    WHERE l.id = ANY(ARRAY(SELECT messages_not_indexed(%(company_id)s))) AND l.company_id = %(company_id)s
      AND l.type <> ALL(%(acting)s::text[])
      AND (%(connection_id)s::bigint IS NULL OR l.connection_id = %(connection_id)s)
    GROUP BY l.chat_id, l.connection_id
), known AS (
    SELECT c.chat_id, c.connection_id, c.last_at FROM chats c
    WHERE c.company_id = %(company_id)s
      AND (c.last_at, c.chat_id, c.connection_id) < (%(before_at)s, %(before_chat)s, %(before_connection)s)
      AND (%(connection_id)s::bigint IS NULL OR c.connection_id = %(connection_id)s)
      AND NOT EXISTS (SELECT FROM added a WHERE a.chat_id = c.chat_id AND a.connection_id = c.connection_id)
      AND is_newest_of_person(c.company_id, c.chat_id, c.connection_id, c.last_at, %(connection_id)s)
      AND NOT EXISTS (SELECT FROM added a WHERE a.chat_id = ANY(chat_aliases(c.company_id, c.chat_id))
                        AND (a.last_at, a.chat_id, a.connection_id) > (c.last_at, c.chat_id, c.connection_id))
    ORDER BY c.last_at DESC, c.chat_id DESC, c.connection_id DESC LIMIT %(most)s
), new AS (
    SELECT a.chat_id, a.connection_id, a.last_at FROM added a
    WHERE (a.last_at, a.chat_id, a.connection_id) < (%(before_at)s, %(before_chat)s, %(before_connection)s)
      AND is_newest_of_person(%(company_id)s, a.chat_id, a.connection_id, a.last_at, %(connection_id)s)
      AND NOT EXISTS (SELECT FROM added b WHERE b.chat_id = ANY(chat_aliases(%(company_id)s, a.chat_id))
                        AND (b.last_at, b.chat_id, b.connection_id) > (a.last_at, a.chat_id, a.connection_id))
)
SELECT chat_id, connection_id, last_at FROM (SELECT * FROM known UNION ALL SELECT * FROM new) AS merged
ORDER BY last_at DESC, chat_id DESC, connection_id DESC LIMIT %(most)s;

-- chats_found --
-- As chats_page, of the chats that a search finds.
SELECT chat_id, connection_id, last_at
FROM find_chats(%(words)s::text, %(number)s::text, %(before_at)s::timestamptz, %(before_chat)s::text,
                %(before_connection)s::bigint, %(connection_id)s::bigint, %(most)s::integer);

-- chat_facts --
-- Of some chats: every id, the newest message, and how many of the newest 100 that came in were not read. Read is what
-- came in before a client marked the chat, or before the company's own newest message there.
SELECT g.chat_id, g.connection_id, names.ids AS chat_ids, newest.id AS message_id, reads.read_at,
       (SELECT count(*) FROM (
            SELECT i.created_at, i.from_me, i.may_trigger, i.state, i.type
            FROM unnest(names.ids) AS alias
            CROSS JOIN LATERAL (
                SELECT created_at, from_me, may_trigger, state, type, at FROM inbound_messages
                WHERE company_id = %(company_id)s AND chat_id = alias
                ORDER BY at DESC, id DESC LIMIT 100) AS i
            ORDER BY i.at DESC LIMIT 100) AS latest
        WHERE NOT from_me AND may_trigger AND state = 'received' AND type <> ALL(%(acting)s::text[])
          AND (reads.read_at IS NULL OR created_at > reads.read_at)) AS unread
FROM unnest(%(chat_ids)s::text[], %(connection_ids)s::bigint[]) WITH ORDINALITY AS g(chat_id, connection_id, position)
CROSS JOIN LATERAL (SELECT chat_aliases(%(company_id)s, g.chat_id) AS ids) AS names
LEFT JOIN LATERAL (
    SELECT line.id FROM unnest(names.ids) AS alias
    CROSS JOIN LATERAL (
        (SELECT id, created_at AS at FROM messages
         WHERE company_id = %(company_id)s AND chat_id = alias AND type <> ALL(%(acting)s::text[])
         ORDER BY created_at DESC, id DESC LIMIT 1)
        UNION ALL
        (SELECT id, at FROM inbound_messages
         WHERE company_id = %(company_id)s AND chat_id = alias AND type <> ALL(%(acting)s::text[])
         ORDER BY at DESC, id DESC LIMIT 1)
    ) AS line
    ORDER BY line.at DESC, line.id DESC LIMIT 1
) AS newest ON true
LEFT JOIN LATERAL (
    SELECT max(at) AS read_at FROM (
        SELECT read_at AS at FROM chat_reads WHERE company_id = %(company_id)s AND chat_id = ANY(names.ids)
        UNION ALL
        -- A message of ours, or a read mark: who answers has read. Looked for among the newest lines only.
        SELECT own.created_at FROM unnest(names.ids) AS alias
        CROSS JOIN LATERAL (
            SELECT created_at, type, state FROM messages
            WHERE company_id = %(company_id)s AND chat_id = alias
            ORDER BY created_at DESC, id DESC LIMIT 100) AS own
        WHERE own.type NOT IN ('typing', 'reaction', 'edit', 'delete') AND own.state <> 'failed'
        UNION ALL
        SELECT own.created_at FROM unnest(names.ids) AS alias
        CROSS JOIN LATERAL (
            SELECT created_at, from_me FROM inbound_messages
            WHERE company_id = %(company_id)s AND chat_id = alias
            ORDER BY at DESC, id DESC LIMIT 100) AS own
        WHERE own.from_me
    ) AS instants
) AS reads ON true
ORDER BY g.position;

-- people_named --
-- People of a company by any of their ids.
SELECT a.alias, p.id, p.name, p.profile_name, p.username
FROM contact_aliases a JOIN people p ON p.company_id = a.company_id AND p.id = a.person_id
WHERE a.company_id = %(company_id)s AND a.alias = ANY(%(ids)s::text[]);

-- mark_chat_read --
-- Mark a chat as read up to a message, or up to now; never back. No row: the chat has no such message.
INSERT INTO chat_reads AS r (company_id, chat_id, read_at)
SELECT %(company_id)s, %(chat_id)s, coalesce(named.created_at, now())
FROM (SELECT) AS nothing
LEFT JOIN LATERAL (
    SELECT created_at FROM message_lines
    WHERE id = %(message_id)s AND company_id = %(company_id)s
      AND chat_id = ANY(chat_aliases(%(company_id)s, %(chat_id)s))) AS named ON true
WHERE %(message_id)s::bigint IS NULL OR named.created_at IS NOT NULL
ON CONFLICT (company_id, chat_id) DO UPDATE SET read_at = greatest(r.read_at, excluded.read_at)
RETURNING read_at;

-- has_chat --
-- Whether anything was written in a chat.
SELECT EXISTS (SELECT FROM unnest(chat_aliases(%(company_id)s, %(chat_id)s)) AS alias
               WHERE EXISTS (SELECT FROM messages WHERE company_id = %(company_id)s AND chat_id = alias)
                  OR EXISTS (SELECT FROM inbound_messages WHERE company_id = %(company_id)s AND chat_id = alias)
              ) AS found;

-- messages_listed --
-- Messages of all chats of a company, newest first, with what the index lacks so far. Of those before the cursor `walk`
-- rows are looked at; `last_at` and `last_id` name the last of them where there may be more.
WITH added AS MATERIALIZED (
    SELECT l.id AS message_id, l.at, l.chat_id, l.connection_id, l.direction, l.type, l.state
    FROM message_lines l
    WHERE l.id = ANY(ARRAY(SELECT messages_not_indexed(%(company_id)s))) AND l.company_id = %(company_id)s
), walked AS MATERIALIZED (
    SELECT x.message_id, x.at, x.chat_id, x.connection_id, x.direction, x.type, x.state FROM message_index x
    WHERE x.company_id = %(company_id)s AND (x.at, x.message_id) < (%(before_at)s, %(before_id)s)
      AND x.at >= %(since)s
    ORDER BY x.at DESC, x.message_id DESC LIMIT %(walk)s
), found AS (
    SELECT * FROM walked w WHERE NOT EXISTS (SELECT FROM added a WHERE a.message_id = w.message_id)
    UNION ALL
    SELECT * FROM added a WHERE (a.at, a.message_id) < (%(before_at)s, %(before_id)s) AND a.at >= %(since)s
), matching AS (
    SELECT message_id, at FROM found
    WHERE (%(connection_id)s::bigint IS NULL OR connection_id = %(connection_id)s)
      AND (%(direction)s::text IS NULL OR direction = %(direction)s)
      AND (%(type)s::text IS NULL AND type <> ALL(%(marks)s::text[]) OR type = %(type)s)
      AND (%(state)s::text IS NULL OR state = %(state)s)
      -- in a subquery: evaluated once, not for each row
      AND (%(chat_id)s::text IS NULL
           OR chat_id = ANY(ARRAY(SELECT unnest(chat_aliases(%(company_id)s, %(chat_id)s)))))
    ORDER BY at DESC, message_id DESC LIMIT %(most)s
), ends AS (
    SELECT count(*) AS looked, (array_agg(at ORDER BY at, message_id))[1] AS last_at,
           (array_agg(message_id ORDER BY at, message_id))[1] AS last_id FROM walked
)
SELECT m.message_id, m.at, ends.looked, ends.last_at, ends.last_id FROM ends LEFT JOIN matching m ON true
ORDER BY m.at DESC, m.message_id DESC;

-- messages_found --
-- Messages of the transaction's company with any of some words, newest first.
SELECT message_id, at
FROM find_messages(%(words)s::text, %(before_at)s::timestamptz, %(before_id)s::bigint, %(since)s::timestamptz,
                   %(connection_id)s::bigint, %(direction)s::text, %(type)s::text, %(state)s::text, %(chat_id)s::text,
                   %(most)s::integer);

-- figures --
-- How many messages there were, by what is asked for.
SELECT CASE WHEN %(by_day)s THEN day END AS day, CASE WHEN %(by_connection)s THEN phone_index END AS phone_index,
       CASE WHEN %(by_connection)s OR %(by_channel)s THEN connection_type END AS connection_type,
       CASE WHEN %(by_type)s THEN type END AS type, outcome, sum(messages)::bigint AS messages
FROM message_rollups
WHERE company_id = %(company_id)s AND day >= %(since)s AND day <= %(until)s
  AND (%(phone_index)s::integer IS NULL OR phone_index = %(phone_index)s)
  AND (%(channel)s::text IS NULL OR connection_type = %(channel)s)
  AND (%(type)s::text IS NULL AND type <> ALL(%(uncounted)s::text[]) OR type = %(type)s)
GROUP BY 1, 2, 3, 4, outcome HAVING sum(messages) <> 0;

-- latencies --
-- How long messages took, by what is asked for: how many in each bucket.
SELECT CASE WHEN %(by_day)s THEN day END AS day, CASE WHEN %(by_connection)s THEN phone_index END AS phone_index,
       CASE WHEN %(by_connection)s OR %(by_channel)s THEN connection_type END AS connection_type,
       CASE WHEN %(by_type)s THEN type END AS type, step, bucket, sum(messages)::bigint AS messages
FROM latency_rollups
WHERE company_id = %(company_id)s AND day >= %(since)s AND day <= %(until)s
  AND (%(phone_index)s::integer IS NULL OR phone_index = %(phone_index)s)
  AND (%(channel)s::text IS NULL OR connection_type = %(channel)s)
  AND (%(type)s::text IS NULL AND type <> ALL(%(uncounted)s::text[]) OR type = %(type)s)
GROUP BY 1, 2, 3, 4, step, bucket ORDER BY 1, 2, 3, 4, step, bucket;
