-- ai_needed --
-- A row while a company has an assistant, or something waits for one.
(SELECT 1 FROM companies WHERE state = 'active' AND settings @> '{"enableAssistant": true}' LIMIT 1)
UNION ALL
(SELECT 1 FROM turns WHERE state IN ('open', 'running') LIMIT 1)
UNION ALL
(SELECT 1 FROM tasks WHERE process_name = 'ai' AND state IN ('queued', 'running') LIMIT 1)
LIMIT 1;

-- claim_turns --
-- Make one incarnation the one that answers turns: what is due, and what a dead one had in hand. At most so many of one
-- company at once, so that its slow model does not hold up the others.
-- The companies with open turns are walked, and of each only what it may have is read, however much waits.
WITH busy AS MATERIALIZED (
    SELECT company_id, count(*) AS turns FROM turns WHERE state = 'running' AND incarnation_id IS NOT NULL
    GROUP BY company_id
), waiting AS MATERIALIZED (
    SELECT id, company_id, due_at FROM turns WHERE state = 'running' AND incarnation_id IS NULL AND due_at <= now()
    UNION ALL
    SELECT oldest.id, oldest.company_id, oldest.due_at FROM companies_with_turns() AS o (company_id)
    LEFT JOIN busy b USING (company_id)
    CROSS JOIN LATERAL (
        SELECT t.id, t.company_id, t.due_at FROM turns t
        WHERE t.state = 'open' AND t.company_id = o.company_id AND t.due_at <= now()
          -- one answer at a time in a conversation
          AND NOT EXISTS (SELECT FROM turns r WHERE r.conversation_id = t.conversation_id AND r.state = 'running')
        ORDER BY t.due_at, t.id LIMIT greatest(0, %(each)s - coalesce(b.turns, 0))
    ) AS oldest
), ranked AS (
    SELECT w.id, w.due_at, row_number() OVER (PARTITION BY w.company_id ORDER BY w.due_at, w.id)
                           + coalesce(busy.turns, 0) AS place
    FROM waiting w
    JOIN companies owner ON owner.id = w.company_id AND owner.state = 'active'
    LEFT JOIN busy ON busy.company_id = w.company_id
), chosen AS MATERIALIZED (
    SELECT t.id FROM turns t
    WHERE t.id = ANY(ARRAY(SELECT id FROM ranked WHERE place <= %(each)s ORDER BY due_at, id LIMIT %(most)s))
      -- looked at again once it is locked: another process may have claimed it since
      AND t.incarnation_id IS NULL AND t.state IN ('open', 'running')
    ORDER BY t.id FOR UPDATE SKIP LOCKED
)
UPDATE turns t SET state = 'running', incarnation_id = %(incarnation)s, claimed_at = now(), attempts = attempts + 1
FROM chosen WHERE t.id = chosen.id
RETURNING t.id, t.company_id, t.conversation_id, t.first_inbound_id, t.last_inbound_id, t.attempts, t.opened_at;

-- next_turn --
-- In how many seconds the next turn is due, 0 or less: one is; null: none waits. What a dead process had in hand waits
-- too.
SELECT extract(epoch FROM least(
    (SELECT min(first.due_at) FROM companies_with_turns() AS o (company_id) CROSS JOIN LATERAL (
         SELECT t.due_at FROM turns t WHERE t.state = 'open' AND t.company_id = o.company_id
         ORDER BY t.due_at, t.id LIMIT 1) AS first),
    (SELECT min(due_at) FROM turns WHERE state = 'running' AND incarnation_id IS NULL)
) - now())::float AS due_in_s;

-- reclaim_turns --
-- Give back what a dead incarnation was answering. They stay `running`, without an incarnation: the next one of the
-- conversation may be open already. Due since they were, so that they come before what came in since.
UPDATE turns SET incarnation_id = NULL WHERE state = 'running' AND incarnation_id = %(incarnation)s
RETURNING id;

-- turn_holders --
-- Who answers turns, and since when at the latest: a turn waits for its holder, however long that takes.
SELECT incarnation_id AS incarnation, max(claimed_at) AS since FROM turns
WHERE state = 'running' AND incarnation_id IS NOT NULL GROUP BY incarnation_id;

-- release_turns --
-- Give back what earlier lives of a slot were answering, or what this one had no time for, which is no failed attempt.
UPDATE turns SET incarnation_id = NULL,
    attempts = attempts - CASE WHEN incarnation_id = %(living)s THEN 1 ELSE 0 END
WHERE state = 'running'
  AND CASE WHEN %(slot)s = '' THEN incarnation_id = %(living)s
           -- the dot ends the slot's name: `ai-1.` is not the beginning of `ai-10.`
           ELSE starts_with(incarnation_id, %(slot)s || '.') AND incarnation_id <> %(living)s
                -- another host has slots of the same names
                AND split_part(incarnation_id, '@', 2) = split_part(%(living)s, '@', 2) END
RETURNING id;

-- hold_turn --
-- Lock a turn while something is written for it; no row: it is another incarnation's, or ended.
SELECT id, cost_micros, tokens_in, tokens_out FROM turns
WHERE id = %(turn_id)s AND state = 'running' AND incarnation_id = %(incarnation)s FOR UPDATE;

-- turn_ended --
-- How a turn ended, if it did.
SELECT state, message_id FROM turns WHERE id = %(turn_id)s AND company_id = %(company_id)s;

-- end_turn --
-- Write how a turn ended; no row: it is another incarnation's, or ended before.
UPDATE turns SET state = %(state)s, reason = %(reason)s, message_id = %(message_id)s, ended_at = now()
WHERE id = %(turn_id)s AND state = 'running' AND incarnation_id = %(incarnation)s
RETURNING id;

-- turn_chat --
-- What a conversation is about: its state, its connection, and the chat as the customer wrote last.
SELECT c.state, c.connection_id, p.phone_index, coalesce(i.chat_id, c.chat_id) AS chat_id, i.id AS inbound_id
FROM conversations c
JOIN phone_configs p ON p.id = c.connection_id
LEFT JOIN inbound_messages i ON i.id = %(last_inbound_id)s AND i.company_id = c.company_id
WHERE c.id = %(conversation_id)s AND c.company_id = %(company_id)s;

-- turn_lines --
-- The newest lines of a chat up to a message, oldest first: what both sides wrote, under any id of the person.
SELECT at, id, is_ours, type, content FROM (
    SELECT line.* FROM unnest(chat_aliases(%(company_id)s, %(chat_id)s)) AS alias
    CROSS JOIN LATERAL (
        (SELECT created_at AS at, id, from_me AS is_ours, type, content FROM inbound_messages
         WHERE company_id = %(company_id)s AND chat_id = alias AND connection_id = %(connection_id)s
           AND id <= %(last_inbound_id)s AND state <> 'deleted' AND type NOT IN ('edit', 'revoke', 'reaction')
         ORDER BY created_at DESC, id DESC LIMIT %(most)s)
        UNION ALL
        (SELECT created_at, id, true, type, content FROM messages
         WHERE company_id = %(company_id)s AND chat_id = alias AND connection_id = %(connection_id)s
           AND state NOT IN ('failed', 'deleted') AND type NOT IN ('edit', 'delete', 'reaction', 'read', 'typing')
         ORDER BY created_at DESC, id DESC LIMIT %(most)s)
    ) AS line
    ORDER BY at DESC, id DESC LIMIT %(most)s
) AS newest
ORDER BY at, id;

-- turn_figures --
-- Turns that wait and run, and for how long the oldest has been due.
SELECT count(*) FILTER (WHERE state = 'open') AS open, count(*) FILTER (WHERE state = 'running') AS running,
       coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE due_at <= now())), 0)::float AS oldest_s
FROM turns WHERE state IN ('open', 'running');

-- prune_turns --
-- Remove turns that ended long ago.
DELETE FROM turns WHERE id IN (SELECT id FROM turns WHERE ended_at < now() - make_interval(secs => %(age_s)s)
                               ORDER BY ended_at LIMIT %(most)s)
RETURNING id;
