-- rules_of_companies --
-- What companies are set to, by which their conversations are kept.
SELECT id, settings FROM companies WHERE id = ANY(%(ids)s::text[]) AND keeps_conversations(settings);

-- begin_conversations --
-- Find the conversations of chats in which customers wrote, by any id of the person, and begin those that are missing;
-- all of them locked. A chat without a row in the answer lost its conversation to a merge in this instant.
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(position int, company_id text, connection_id bigint, chat_id text, state text, reason text, at timestamptz)
), known AS MATERIALIZED (
    -- OFFSET 0: a look by the whole key for each of them
    SELECT given.position, given.at, c.id FROM given
    CROSS JOIN LATERAL (SELECT id FROM conversations
                        WHERE connection_id = given.connection_id
                          AND chat_id = ANY(chat_aliases(given.company_id, given.chat_id)) OFFSET 0) AS c
), locked AS MATERIALIZED (
    -- in the order of ids, as every statement that locks several
    SELECT id FROM conversations WHERE id = ANY(ARRAY(SELECT id FROM known)) ORDER BY id FOR NO KEY UPDATE
), touched AS (
    UPDATE conversations c SET last_inbound_at = greatest(c.last_inbound_at, last.at)
    FROM (SELECT known.id, max(known.at) AS at FROM known JOIN locked USING (id) GROUP BY known.id) AS last
    WHERE c.id = last.id
    RETURNING c.id, c.company_id, c.connection_id, c.chat_id, c.state
), begun AS (
    INSERT INTO conversations (company_id, connection_id, chat_id, state, reason, last_inbound_at)
    SELECT company_id, connection_id, chat_id, state, reason, at FROM given
    -- without a state it is not begun: nothing was written that may be answered
    WHERE state IS NOT NULL AND NOT EXISTS (SELECT FROM known WHERE known.position = given.position)
      AND EXISTS (SELECT FROM phone_configs p WHERE p.company_id = given.company_id AND p.id = given.connection_id)
    -- in one order everywhere: two processes that begin the same two do not wait for each other
    ORDER BY connection_id, chat_id
    ON CONFLICT (connection_id, chat_id) DO UPDATE
    SET last_inbound_at = greatest(conversations.last_inbound_at, excluded.last_inbound_at)
    RETURNING id, connection_id, chat_id, state, xmax = 0 AS is_new
)
SELECT known.position, touched.id, touched.chat_id, touched.state, false AS is_new
FROM touched JOIN known ON known.id = touched.id
UNION ALL
SELECT given.position, begun.id, begun.chat_id, begun.state, begun.is_new
FROM begun JOIN given USING (connection_id, chat_id)
ORDER BY 1, 2;

-- move_conversations --
-- Move conversations to other states, each only from one of those that it may leave; the others are left alone.
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(id bigint, before jsonb, state text, reason text, assignee text, version bigint)
), locked AS MATERIALIZED (
    SELECT id FROM conversations WHERE id = ANY(ARRAY(SELECT id FROM given)) ORDER BY id FOR NO KEY UPDATE
)
UPDATE conversations c
SET state = given.state, reason = given.reason,
    -- only a human is named
    assignee = CASE WHEN given.state = 'human' THEN coalesce(given.assignee, c.assignee)
                    WHEN given.state = 'closed' THEN c.assignee END,
    human_until = CASE WHEN given.state = 'human'
                       THEN now() + setting_minutes(owner.settings, 'humanTimeoutMinutes', %(human_minutes)s) END
FROM given JOIN locked USING (id), companies owner
WHERE c.id = given.id AND owner.id = c.company_id AND given.before ? c.state
  AND (given.version IS NULL OR c.version = given.version)
RETURNING c.id, c.state, c.reason, c.version;

-- take_over_conversations --
-- A human wrote in chats: their conversations are the human's from now on. Returns those that were not before.
WITH given AS (
    -- `at`: when it was written, by the provider's clock; null: now, by a client. A chat twice: the last time counts.
    SELECT company_id, connection_id, chat_id, (array_agg(reason ORDER BY at DESC NULLS FIRST))[1] AS reason,
           CASE WHEN bool_or(at IS NULL) THEN NULL ELSE max(at) END AS at
    FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(company_id text, connection_id bigint, chat_id text, reason text, at timestamptz)
    GROUP BY company_id, connection_id, chat_id
), known AS MATERIALIZED (
    SELECT c.id, given.reason, given.at FROM given
    CROSS JOIN LATERAL (SELECT id FROM conversations
                        WHERE connection_id = given.connection_id
                          AND chat_id = ANY(chat_aliases(given.company_id, given.chat_id)) OFFSET 0) AS c
), locked AS MATERIALIZED (
    SELECT id, state FROM conversations WHERE id = ANY(ARRAY(SELECT id FROM known)) ORDER BY id FOR NO KEY UPDATE
), replies AS (
    SELECT DISTINCT ON (locked.id) locked.id, locked.state AS before, known.reason, known.at
    FROM locked JOIN known USING (id) ORDER BY locked.id, known.at DESC NULLS FIRST
), taken AS (
    UPDATE conversations c
    SET state = 'human', reason = CASE WHEN c.state = 'human' THEN c.reason ELSE replies.reason END,
        human_until = CASE WHEN minutes.timeout IS NOT NULL
                           THEN greatest(c.human_until, coalesce(replies.at, now()) + minutes.timeout) END
    FROM replies, companies owner, LATERAL (
        SELECT setting_minutes(owner.settings, 'humanTimeoutMinutes', %(human_minutes)s) AS timeout) AS minutes
    WHERE c.id = replies.id AND owner.id = c.company_id AND (c.state = ANY(%(before)s) OR c.state = 'human')
      -- What was written before the conversation came to its state is no reply to it, and what was written so long ago
      -- that the time has passed is none any more: webhooks come late, and phones report history. Whole seconds are
      -- what providers' clocks have.
      AND (replies.at IS NULL OR replies.at >= date_trunc('second', c.state_at) OR c.state = 'human')
      AND (replies.at IS NULL OR minutes.timeout IS NULL OR replies.at + minutes.timeout > now())
    RETURNING c.id, replies.before
), begun AS (
    -- A human began to write by hand: what the customer answers is for the human too. A client's message alone begins
    -- none: it may be one of a thousand notifications.
    INSERT INTO conversations (company_id, connection_id, chat_id, state, reason, human_until)
    SELECT given.company_id, given.connection_id, given.chat_id, 'human', given.reason, given.at + minutes.timeout
    FROM given JOIN companies owner ON owner.id = given.company_id, LATERAL (
        SELECT setting_minutes(owner.settings, 'humanTimeoutMinutes', %(human_minutes)s) AS timeout) AS minutes
    WHERE given.at + coalesce(minutes.timeout, '1 day') > now()
      AND NOT EXISTS (SELECT FROM conversations c
                      WHERE c.connection_id = given.connection_id
                        AND c.chat_id = ANY(chat_aliases(given.company_id, given.chat_id)))
    ORDER BY given.connection_id, given.chat_id
    ON CONFLICT (connection_id, chat_id) DO NOTHING
    RETURNING id
)
SELECT id FROM taken WHERE before <> 'human' UNION ALL SELECT id FROM begun;

-- undecided_echoes --
-- Of lines that were written by hand or are echoes, those that may be echoes of a message of ours: one of the chat is
-- being sent, or was, and its id at the provider is not known.
SELECT r.id
FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS r(id bigint, company_id text, connection_id bigint, chat_id text, body text)
WHERE EXISTS (
    SELECT FROM messages m
    WHERE m.connection_id = r.connection_id AND m.chat_id = ANY(chat_aliases(r.company_id, r.chat_id))
      -- for the index of open messages
      AND m.state IN ('queued', 'sending', 'in_doubt')
      AND (m.state = 'sending' OR m.state = 'queued' AND m.attempt > 0
           -- it may stay so for long, and other words are not it
           OR m.state = 'in_doubt' AND coalesce(squeezed(m.content ->> 'body') = squeezed(r.body), true))
      AND m.provider_id = '' OFFSET 0);

-- note_undecided_echoes --
-- Keep the last line of each conversation whose author is not known yet.
UPDATE conversations c SET echo_id = last.id
FROM (
    SELECT found.id AS conversation_id, max(r.id) AS id
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(id bigint, company_id text, connection_id bigint, chat_id text)
    CROSS JOIN LATERAL (SELECT id FROM conversations
                        WHERE connection_id = r.connection_id
                          AND chat_id = ANY(chat_aliases(r.company_id, r.chat_id)) OFFSET 0) AS found
    GROUP BY found.id
) AS last
WHERE c.id = last.conversation_id;

-- decide_echoes --
-- Lines whose author was not known: forget those that are ours or gone, and return those that a human wrote. What is
-- being sent in the chat, or may have been, is waited for.
WITH undecided AS (
    SELECT c.id, c.echo_id FROM conversations c WHERE c.echo_id IS NOT NULL
    ORDER BY c.id LIMIT %(most)s FOR NO KEY UPDATE SKIP LOCKED
), looked AS (
    SELECT u.id, u.echo_id, i.company_id, i.connection_id, i.chat_id, i.at,
           i.id IS NULL OR EXISTS (SELECT FROM messages m
                                   WHERE m.provider_id = i.provider_id AND m.provider_id <> ''
                                     AND m.connection_id = i.connection_id OFFSET 0) AS is_ours,
           EXISTS (SELECT FROM messages m
                   WHERE m.connection_id = i.connection_id AND m.chat_id = ANY(chat_aliases(i.company_id, i.chat_id))
                     -- for the index of open messages
                     AND m.state IN ('queued', 'sending', 'in_doubt')
                     AND (m.state = 'sending' OR m.state = 'queued' AND m.attempt > 0
                          OR m.state = 'in_doubt'
                             AND coalesce(squeezed(m.content ->> 'body') = squeezed(i.content ->> 'body'), true))
                     AND m.provider_id = '' OFFSET 0) AS is_open
    FROM undecided u LEFT JOIN inbound_messages i ON i.id = u.echo_id
), decided AS (
    UPDATE conversations c SET echo_id = NULL FROM looked
    WHERE c.id = looked.id AND c.echo_id = looked.echo_id AND (looked.is_ours OR NOT looked.is_open)
    RETURNING looked.company_id, looked.connection_id, looked.chat_id, looked.at, looked.is_ours
)
SELECT company_id, connection_id, chat_id, at FROM decided WHERE NOT is_ours;

-- join_turns --
-- Let the assistant answer what customers wrote: it joins the conversation's open turn, or opens one.
INSERT INTO turns (company_id, conversation_id, first_inbound_id, last_inbound_id, due_at)
SELECT company_id, conversation_id, min(first_id), max(last_id), now() + make_interval(secs => max(delay_s))
FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS r(company_id text, conversation_id bigint, first_id bigint, last_id bigint, delay_s double precision)
GROUP BY company_id, conversation_id ORDER BY conversation_id
ON CONFLICT (conversation_id) WHERE state = 'open' DO UPDATE
SET first_inbound_id = least(turns.first_inbound_id, excluded.first_inbound_id),
    last_inbound_id = greatest(turns.last_inbound_id, excluded.last_inbound_id),
    -- later while the customer goes on writing, but not for ever
    due_at = greatest(turns.due_at, least(excluded.due_at, turns.opened_at + (excluded.due_at - now()) * %(longest)s))
RETURNING id;

-- lock_conversation --
-- A conversation, locked, and how many its person has with the connection.
SELECT c.id, c.company_id, c.connection_id, c.chat_id, c.state, c.version,
       (SELECT count(*) FROM conversations o
        WHERE o.connection_id = c.connection_id AND o.chat_id = ANY(chat_aliases(c.company_id, c.chat_id))) AS beside
FROM conversations c
WHERE c.id = coalesce((SELECT id FROM conversations WHERE id = %(id)s),
                      -- its turn was read before it was merged into another one
                      (SELECT id FROM conversations WHERE former_ids <> '{}' AND former_ids @> ARRAY[%(id)s::bigint]))
FOR NO KEY UPDATE OF c;

-- fold_conversations --
-- Make one conversation of those of a person with one connection.
SELECT fold_conversations(%(connection_id)s, chat_aliases(%(company_id)s, %(chat_id)s), %(precedence)s) AS id;

-- fold_conversations_of_person --
-- The same with each connection of the company.
SELECT fold_conversations(found.connection_id, found.aliases, %(precedence)s) AS id
FROM (
    SELECT p.id AS connection_id, whole.aliases
    FROM phone_configs p, (SELECT array_agg(alias) AS aliases FROM contact_aliases
                           WHERE company_id = %(company_id)s AND person_id = %(person_id)s) AS whole
    WHERE p.company_id = %(company_id)s
      AND (SELECT count(*) FROM conversations c WHERE c.connection_id = p.id AND c.chat_id = ANY(whole.aliases)) > 1
    ORDER BY p.id OFFSET 0
) AS found;

-- overdue_conversations --
-- Conversations of which a timeout may have passed, or in which no one can answer any more, with what decides it.
SELECT c.id, c.company_id, c.state, c.state_at AS since, c.last_inbound_at, c.human_until, c.version,
       p.status = 'removed' AS is_removed, owner.settings, now() AS now
FROM (
    (SELECT id FROM conversations WHERE state = 'human' AND human_until <= now() ORDER BY human_until LIMIT %(most)s)
    UNION ALL
    (SELECT w.id FROM conversations w JOIN companies o ON o.id = w.company_id
     WHERE w.state = 'waiting'
       AND w.state_at <= now() - setting_minutes(o.settings, 'waitingTimeoutMinutes', %(waiting_minutes)s)
     ORDER BY w.state_at LIMIT %(most)s)
    UNION ALL
    (SELECT found.id FROM companies o
     CROSS JOIN LATERAL (
         SELECT b.id FROM conversations b
         WHERE b.company_id = o.id AND b.state = 'bot'
           AND b.last_inbound_at <= now() - setting_minutes(o.settings, 'conversationTimeoutMinutes', %(idle_minutes)s)
           AND b.state_at <= now() - setting_minutes(o.settings, 'conversationTimeoutMinutes', %(idle_minutes)s)
         ORDER BY b.last_inbound_at LIMIT %(most)s) AS found
     WHERE EXISTS (SELECT FROM conversations any_of_it WHERE any_of_it.company_id = o.id) LIMIT %(most)s)
    UNION
    (SELECT gone.id FROM phone_configs r
     CROSS JOIN LATERAL (SELECT id FROM conversations
                         WHERE connection_id = r.id AND state <> 'closed' LIMIT %(most)s) AS gone
     WHERE r.status = 'removed' LIMIT %(most)s)
    UNION
    (SELECT off.id FROM companies o
     CROSS JOIN LATERAL (SELECT id FROM conversations
                         WHERE company_id = o.id AND state <> 'closed' LIMIT %(most)s) AS off
     WHERE NOT keeps_conversations(o.settings) LIMIT %(most)s)
) AS due
JOIN conversations c ON c.id = due.id JOIN companies owner ON owner.id = c.company_id
JOIN phone_configs p ON p.id = c.connection_id;

-- conversations_page --
-- Conversations of a company: those that changed their state last come first, or last (`oldest_first`).
SELECT found.*, extract(epoch FROM now() - found.state_at)::double precision AS state_s
FROM (
    -- two, of which one finds nothing: each is read in the order of an index
    (SELECT c.* FROM conversations c
    WHERE c.company_id = %(company_id)s AND (%(state)s::text IS NULL OR c.state = %(state)s)
      AND (%(assignee)s::text IS NULL OR c.assignee = %(assignee)s)
      AND (%(connection_id)s::bigint IS NULL OR c.connection_id = %(connection_id)s)
      AND (%(chat_ids)s::text[] IS NULL OR c.chat_id = ANY(%(chat_ids)s::text[]))
      AND %(oldest_first)s AND (c.state_at, c.id) > (%(place_at)s, %(place_id)s)
     ORDER BY c.state_at, c.id LIMIT %(most)s)
    UNION ALL
    (SELECT c.* FROM conversations c
    WHERE c.company_id = %(company_id)s AND (%(state)s::text IS NULL OR c.state = %(state)s)
      AND (%(assignee)s::text IS NULL OR c.assignee = %(assignee)s)
      AND (%(connection_id)s::bigint IS NULL OR c.connection_id = %(connection_id)s)
      AND (%(chat_ids)s::text[] IS NULL OR c.chat_id = ANY(%(chat_ids)s::text[]))
       AND NOT %(oldest_first)s AND (c.state_at, c.id) < (%(place_at)s, %(place_id)s)
     ORDER BY c.state_at DESC, c.id DESC LIMIT %(most)s)
) AS found;

-- conversation_by_id --
-- One conversation of a company, by its id or that of one that was merged into it.
SELECT c.*, extract(epoch FROM now() - c.state_at)::double precision AS state_s
FROM conversations c
WHERE c.company_id = %(company_id)s
  AND c.id = coalesce((SELECT id FROM conversations WHERE company_id = %(company_id)s AND id = %(id)s),
                      (SELECT id FROM conversations
                       WHERE company_id = %(company_id)s AND former_ids <> '{}'
                         AND former_ids @> ARRAY[%(id)s::bigint] LIMIT 1));

-- aliases_of_chats --
-- Every id of the persons of some chats.
SELECT chat AS chat_id, chat_aliases(%(company_id)s, chat) AS chat_ids FROM unnest(%(chat_ids)s::text[]) AS chat;

-- last_chat_of_conversation --
-- The id under which a person wrote last to a connection.
SELECT i.chat_id FROM inbound_messages i
WHERE i.company_id = %(company_id)s AND i.chat_id = ANY(%(chat_ids)s::text[]) AND i.connection_id = %(connection_id)s
  AND NOT i.from_me
ORDER BY i.at DESC, i.id DESC LIMIT 1;

-- prune_conversations --
-- Delete conversations that were closed long ago: the next message begins a new one.
DELETE FROM conversations
WHERE id IN (SELECT id FROM conversations
             WHERE state = 'closed' AND state_at < now() - make_interval(secs => %(age_s)s)
             ORDER BY state_at LIMIT %(most)s FOR UPDATE SKIP LOCKED)
RETURNING id;
