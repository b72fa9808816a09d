-- cancel_message --
-- Take a message back that no process has claimed; a claim that is under way is waited for, and then wins.
WITH cancelled AS (
    -- `state = 'queued'` is checked again after the wait for a lock: of a cancellation and a claim exactly one
    -- succeeds.
    UPDATE messages SET state = 'deleted', error_code = 'cancelled', error_detail = '', not_before = NULL,
        updated_at = now()
    WHERE company_id = %(company_id)s AND chat_id = ANY(chat_aliases(%(company_id)s, %(chat_id)s)) AND id = %(id)s
      AND state = 'queued'
    RETURNING id, process_name, connection_id, attempt
), noted AS (
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt, code)
    SELECT 'message', 'message.deleted', %(company_id)s, process_name, connection_id, id, 'deleted', attempt,
           'cancelled' FROM cancelled
)
SELECT id FROM cancelled;

-- letters_for_humans --
-- What is not tried again without a human: dead letters, and messages in doubt that were left to one; newest first.
SELECT m.id, m.company_id, c.phone_index, c.connection_type, m.chat_id, m.type, m.state, m.attempt, m.error_code,
       m.error_detail, m.held_at, m.created_at, m.updated_at,
       m.world, c.status = 'removed' AS removed
FROM messages m JOIN phone_configs c ON c.id = m.connection_id
WHERE (m.state = 'failed' OR m.held_at IS NOT NULL)
  AND (%(company_id)s::text IS NULL OR m.company_id = %(company_id)s)
  AND (%(code)s::text IS NULL OR m.error_code = %(code)s)
  AND (%(phone_index)s::int IS NULL OR c.phone_index = %(phone_index)s)
  AND (%(held)s::bool IS NULL OR (m.held_at IS NOT NULL) = %(held)s)
  AND m.id < %(before)s
ORDER BY m.id DESC LIMIT %(most)s;

-- letters_by_reason --
-- How many of a company's letters there are, by reason and connection; among the newest ones where there are many.
SELECT found.held, found.error_code, c.phone_index, count(*) AS letters, min(found.updated_at) AS first_at,
       max(found.updated_at) AS last_at
FROM (SELECT m.connection_id, m.held_at IS NOT NULL AS held, m.error_code, m.updated_at FROM messages m
      WHERE m.company_id = %(company_id)s AND (m.state = 'failed' OR m.held_at IS NOT NULL)
      ORDER BY m.id DESC LIMIT %(most)s) AS found
JOIN phone_configs c ON c.id = found.connection_id
GROUP BY found.held, found.error_code, c.phone_index ORDER BY count(*) DESC, found.error_code, c.phone_index;

-- redrive_messages --
-- Give dead letters another full set of attempts, the oldest first; the history stays, and attempts go on counting
-- where they were.
WITH chosen AS (
    -- Locked in the order of ids, so that two redrives of overlapping choices do not deadlock.
    SELECT m.id, coalesce(nullif(c.account_id, ''), nullif(linked.account, '')) AS account
    FROM messages m
    JOIN phone_configs c ON c.id = m.connection_id
    LEFT JOIN phone_status linked ON linked.connection_id = m.connection_id
    -- A removed connection sends nothing more, and what was accepted for the other world never leaves through this one.
    WHERE m.state = 'failed' AND m.company_id = %(company_id)s AND c.status <> 'removed'
      AND (m.world IS NULL
           OR coalesce(m.world = coalesce((%(worlds)s::text[])[array_position(%(world_types)s::text[],
                                                                              c.connection_type::text)],
                                          -- an operator's command has no settings of the kind: what it sends to now
                                          c.world),
                       true))
      AND (%(id)s::bigint IS NULL OR m.id = %(id)s)
      -- in a subquery: evaluated once, not for each row
      AND (%(chat_id)s::text IS NULL
           OR m.chat_id = ANY(ARRAY(SELECT unnest(chat_aliases(%(company_id)s, %(chat_id)s)))))
      AND (%(code)s::text IS NULL OR m.error_code = %(code)s)
      AND (%(phone_index)s::int IS NULL OR c.phone_index = %(phone_index)s)
      AND (%(failed_after)s::timestamptz IS NULL OR m.updated_at >= %(failed_after)s)
      AND (%(failed_before)s::timestamptz IS NULL OR m.updated_at < %(failed_before)s)
    ORDER BY m.id LIMIT %(most)s
    FOR UPDATE OF m
), redriven AS (
    UPDATE messages m
    SET state = 'queued', forgiven = m.attempt, deaths = 0, not_before = NULL,
        -- The failed attempts are closed: no reply quotes their id at the provider, and no status of theirs moves the
        -- row. Not so for poison, or what a human gave up in doubt: they may have been sent, and proof may still come.
        closed_attempt = CASE WHEN m.error_code IN ('poison', 'resolved_as_failed') THEN m.closed_attempt
                              ELSE m.attempt END,
        -- A token in another form is the id that a browser session chose for the message: the page may still show it,
        -- and it is needed to find that out.
        provider_id = '', token = CASE WHEN starts_with(m.token, 'bulkhead:') THEN '' ELSE m.token END,
        -- that the account is another one is what the operator has just decided about
        account = CASE WHEN m.error_code = 'other_account' THEN chosen.account ELSE m.account END,
        error_code = '', error_detail = '', updated_at = now()
    FROM chosen WHERE m.id = chosen.id AND m.state = 'failed'
    RETURNING m.id, m.process_name, m.connection_id, m.attempt
), noted AS (
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt, code)
    SELECT 'message', 'message.queued', %(company_id)s, process_name, connection_id, id, 'queued', attempt, 'redriven'
    FROM redriven
)
SELECT id FROM redriven ORDER BY id;

-- way_of_message --
-- By which connection a message leaves: whether that was removed, and for which world the message was accepted.
SELECT c.connection_type, m.world, c.status = 'removed' AS removed
FROM messages m JOIN phone_configs c ON c.id = m.connection_id
WHERE m.company_id = %(company_id)s AND m.id = %(id)s;

-- resolve_held --
-- Do what a human says about a message in doubt that was left to one; sent again it has another full set of attempts.
WITH moved AS (
    -- Only while it is held: between the list that the human saw and this statement, proof may have moved it.
    UPDATE messages m
    SET state = %(state)s, sent_at = CASE WHEN %(state)s = 'sent' THEN now() ELSE m.sent_at END, in_doubt_at = NULL,
        held_at = NULL, not_before = NULL,
        forgiven = CASE WHEN %(state)s = 'queued' THEN m.attempt ELSE m.forgiven END,
        error_code = CASE WHEN %(state)s = 'failed' THEN %(code)s ELSE '' END, error_detail = '', updated_at = now()
    WHERE m.company_id = %(company_id)s AND m.chat_id = ANY(chat_aliases(%(company_id)s, %(chat_id)s)) AND m.id = %(id)s
      AND m.state = 'in_doubt' AND m.held_at IS NOT NULL
    RETURNING m.id, m.process_name, m.connection_id, m.type, m.state, m.attempt
), noted AS (
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt, code)
    SELECT 'message', 'message.' || state, %(company_id)s, process_name, connection_id, id, state, attempt, %(code)s
    FROM moved
)
SELECT id, type FROM moved;

-- last_intervention --
-- What a human did about a message last.
SELECT e.code
FROM messages m
CROSS JOIN LATERAL (
    -- the times leave out the partitions of other days
    SELECT id, code FROM events_messages
    WHERE message_id = m.id AND written_at >= m.created_at AND written_at < now() + interval '1 day' OFFSET 0
) AS e
WHERE m.id = %(id)s AND e.code = ANY(%(codes)s) ORDER BY e.id DESC LIMIT 1;
