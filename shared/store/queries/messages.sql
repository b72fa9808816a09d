-- accept_messages --
-- Write new rows in one statement; a row whose idempotency key exists already is left out of the answer.
WITH given AS (
    -- Ids are drawn here, in the order of `position`, and not by a default of the column: the order of ids is the order
    -- in which a chat's messages are sent, and INSERT … SELECT does not promise to evaluate defaults in the order of
    -- rows.
    SELECT nextval('message_ids') AS id, r.*
    FROM (SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
          AS r(position int, company_id text, connection_id bigint, process_name text, chat_id text, type text,
               content jsonb,
               idempotency_key text, fingerprint text, scheduled_for timestamptz, in_doubt_policy text,
               request_id text, traceparent text, key_id bigint, author text)
          ORDER BY position) AS r
), written AS (
    -- The partial unique index decides between two requests with one idempotency key, also when both commit at once:
    -- the later one inserts nothing and reads the earlier row by `messages_by_idempotency_key`.
    INSERT INTO messages (id, company_id, connection_id, process_name, chat_id, type, content, idempotency_key,
                          fingerprint,
                          scheduled_for, not_before, in_doubt_policy, request_id, traceparent, key_id, author, world,
                          account)
    SELECT given.id, given.company_id, given.connection_id, given.process_name, given.chat_id, given.type,
           given.content, given.idempotency_key,
           given.fingerprint, given.scheduled_for, given.scheduled_for, given.in_doubt_policy,
           given.request_id, given.traceparent, given.key_id, given.author,
           -- null for a type whose world is not given: then nothing is compared
           (%(worlds)s::text[])[array_position(%(world_types)s::text[], c.connection_type::text)],
           -- the provider's account, or the number that a browser session is linked as; null before it is linked
           coalesce(nullif(c.account_id, ''), nullif(linked.account, ''))
    FROM given
    LEFT JOIN phone_configs c ON c.id = given.connection_id
    LEFT JOIN phone_status linked ON linked.connection_id = given.connection_id
    ON CONFLICT (company_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id, created_at, company_id, process_name, connection_id
), noted AS (
    -- In the same statement as the row: a message without its first event cannot exist, and the event costs no round
    -- trip.
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state)
    SELECT 'message', 'message.queued', company_id, process_name, connection_id, id, 'queued' FROM written
)
-- Answered by position: the caller has no other key that is unique in a batch.
SELECT given.position, id, written.created_at,
       -- whether its company keeps conversations: only then it matters whose reply it is
       (SELECT keeps_conversations(o.settings) FROM companies o WHERE o.id = given.company_id) AS conversing
FROM given JOIN written USING (id);

-- messages_by_idempotency_key --
-- Find the rows that took these keys before.
SELECT m.company_id, m.idempotency_key, m.id, m.fingerprint, m.state, m.created_at, m.scheduled_for
FROM messages m
JOIN unnest(%(company_ids)s::text[], %(keys)s::text[]) AS k(company_id, idempotency_key)
    USING (company_id, idempotency_key);

-- claim_messages --
-- Make one incarnation the sender of rows that are due and first in their chat, as many as their connections' limits
-- let through. Each row of the answer has a claimed row (null: none was claimed) and the waits of all connections that
-- have more due rows: the seconds until the next token, or null where as many are in flight as may be (`capacity`, or
-- `capacities` for the connections in `limited`); and the `polled` connections that have more queued rows.
WITH candidates AS (
    -- rows that were offered, and whatever now heads the given chats
    SELECT unnest(%(ids)s::bigint[]) AS id
    UNION
    SELECT head.id
    FROM unnest(%(chat_connections)s::bigint[], %(chat_ids)s::text[]) AS c(connection_id, chat_id)
    CROSS JOIN LATERAL (
        SELECT id FROM messages m
        WHERE m.connection_id = c.connection_id AND m.chat_id = c.chat_id
          AND m.state IN ('queued', 'sending', 'in_doubt')
          AND (m.scheduled_for IS NULL OR m.scheduled_for <= now())
        ORDER BY id LIMIT 1
    ) AS head
), heads AS MATERIALIZED (
    -- those of them that are due and first in their chat; nothing is locked yet
    SELECT q.id, q.connection_id, p.every_s > 0 OR p.day_every_s > 0 AS is_limited,
           coalesce((%(capacities)s::int[])[array_position(%(limited)s::bigint[], q.connection_id)],
                    %(capacity)s::int) AS capacity,
           -- the end of the pair's wait, null when it need not wait
           CASE WHEN tokens_left(pair.spent_until, p.pair_every_s, p.pair_burst) < 1
                THEN pair.spent_until - make_interval(secs => p.pair_every_s * (p.pair_burst - 1)) END AS pair_free_at,
           -- why it may not leave from here: it was accepted for a stand-in and this is the real provider (or the
           -- reverse), or for another account
           CASE WHEN q.world <> (%(worlds)s::text[])[array_position(%(world_types)s::text[], c.connection_type::text)]
                THEN 'other_world'
                WHEN q.account <> coalesce(nullif(c.account_id, ''), nullif(linked.account, ''))
                THEN 'other_account' END AS stranger
    FROM messages q
    JOIN phone_configs c ON c.id = q.connection_id AND c.status = 'active'
        -- a browser session's messages leave from its host
        AND (c.session_host IS NULL OR c.session_host = split_part(%(incarnation)s, '@', 2))
    JOIN companies owner ON owner.id = c.company_id AND owner.state = 'active'
    LEFT JOIN phone_status linked ON linked.connection_id = q.connection_id
    LEFT JOIN pacing p ON p.connection_id = q.connection_id
    LEFT JOIN pair_pacing pair ON p.pair_every_s > 0 AND pair.connection_id = q.connection_id
        AND pair.chat_id = q.chat_id
    -- An array of ids, a state that no partial index answers to, and OFFSET 0 below: for each row a look into one
    -- index. Joins and partial indexes would be weighed by how many rows were open when statistics were last taken, and
    -- for a queue that says nothing: at worst each claim would read the whole backlog.
    WHERE q.id = ANY(ARRAY(SELECT id FROM candidates))
      AND q.process_name = %(kind)s AND coalesce(q.state, '') = 'queued'
      AND (q.not_before IS NULL OR q.not_before <= now())
      AND NOT EXISTS (
          SELECT FROM messages earlier
          WHERE earlier.connection_id = q.connection_id AND earlier.chat_id = q.chat_id AND earlier.id < q.id
            AND earlier.state IN ('queued', 'sending', 'in_doubt')
            AND (earlier.scheduled_for IS NULL OR earlier.scheduled_for <= now())
          OFFSET 0)
      -- what overtook a row while it slept until its time, or lay as a dead letter until it was redriven, is finished
      -- first
      AND (q.scheduled_for IS NULL AND q.attempt = 0 OR NOT EXISTS (
          SELECT FROM messages later
          WHERE later.connection_id = q.connection_id AND later.chat_id = q.chat_id AND later.id > q.id
            AND later.state IN ('sending', 'in_doubt') OFFSET 0))
), due AS (
    -- Heads that may leave by this way. Rows of the other world or another account are parked below, in `refused`.
    SELECT * FROM heads WHERE stranger IS NULL
), taken AS MATERIALIZED (
    -- Locked, so that no two processes take the same tokens. SKIP LOCKED: a process that holds the row is taking the
    -- tokens right now, and to wait for it would make each claim as slow as the slowest connection in it. NO KEY is the
    -- lock that the UPDATE in `spent` takes anyway.
    SELECT p.connection_id, least(tokens_left(p.spent_until, p.every_s, p.burst),
                                  tokens_left(p.day_spent_until, p.day_every_s, p.day_burst)) AS tokens
    FROM pacing p
    WHERE p.connection_id = ANY(ARRAY(SELECT DISTINCT connection_id FROM due WHERE is_limited AND pair_free_at IS NULL))
      AND tokens_left(p.spent_until, p.every_s, p.burst) >= 1
      AND tokens_left(p.day_spent_until, p.day_every_s, p.day_burst) >= 1
    FOR NO KEY UPDATE OF p SKIP LOCKED
), allowed AS (
    -- Of each connection as many rows as it has tokens, and as may be in flight. A connection whose pacing row was
    -- skipped has null tokens, and so none of its limited rows pass.
    SELECT id
    FROM (SELECT id, connection_id, is_limited, capacity,
                 row_number() OVER (PARTITION BY connection_id ORDER BY id) AS place
          FROM due WHERE pair_free_at IS NULL) AS d
    LEFT JOIN taken USING (connection_id)
    WHERE (d.is_limited IS NOT TRUE OR d.place <= taken.tokens) AND (d.capacity IS NULL OR d.place <= d.capacity)
), ready AS (
    -- Locked, and their state read again: under READ COMMITTED the lock returns the newest version of a row, which
    -- another process may have claimed since this statement's snapshot. In the order of ids, as every statement that
    -- locks messages: two of them cannot wait for each other in a circle.
    SELECT q.id
    FROM messages q
    WHERE q.id = ANY(ARRAY(SELECT id FROM allowed)) AND coalesce(q.state, '') = 'queued'
      AND (q.not_before IS NULL OR q.not_before <= now())
    ORDER BY q.id LIMIT %(most)s
    FOR UPDATE OF q SKIP LOCKED
), claimed AS (
    -- The claim itself. `incarnation` and `attempt` are the fence: each later write about this attempt must match them.
    UPDATE messages m
    SET state = 'sending', incarnation = %(incarnation)s, attempt = m.attempt + 1, claimed_at = now(),
        updated_at = now(),
        -- The installation and the instant of acceptance make it ours alone: another installation, or a restored
        -- backup, counts the same rows.
        token = CASE WHEN %(token_at_claim)s
                     THEN 'bulkhead:' || (SELECT id FROM installation) || ':' || m.id || ':' || (m.attempt + 1) || ':'
                          || to_hex((extract(epoch FROM m.created_at) * 1000000)::bigint)
                     ELSE m.token END
    WHERE m.id = ANY(ARRAY(SELECT id FROM ready))
    RETURNING m.id, m.company_id, m.connection_id, m.chat_id, m.type, m.content, m.attempt,
        m.forgiven AS attempts_before_redrive, m.token,
              m.incarnation, coalesce(m.account, '') AS account, m.created_at,
              coalesce(m.request_id, '') AS request_id, coalesce(m.traceparent, '') AS traceparent
), noted AS (
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt,
                                 incarnation)
    SELECT 'message', 'message.sending', company_id, %(kind)s, connection_id, id, 'sending', attempt, incarnation
    FROM claimed
), sends AS (
    -- tokens that were taken: only now is it known how many rows were still there
    SELECT connection_id, count(*) AS number FROM claimed JOIN taken USING (connection_id) GROUP BY connection_id
), spent AS (
    -- What is spent never lies in the past (`greatest`): an idle time saves up no more than the burst. The jitter
    -- varies the distance between sends of a browser session, which would look automatic if it were constant.
    UPDATE pacing p
    SET spent_until = greatest(p.spent_until, now())
            + make_interval(secs => sends.number * p.every_s * (1 + p.jitter * (2 * random() - 1))),
        day_spent_until = greatest(p.day_spent_until, now()) + make_interval(secs => sends.number * p.day_every_s)
    FROM sends WHERE p.connection_id = sends.connection_id
), spent_pairs AS (
    -- A pair of number and chat sends one row at most in a claim, so that one token is taken. No lock was needed
    -- before: only the head of a chat is claimed, and `ready` has locked that row.
    INSERT INTO pair_pacing AS pair (connection_id, chat_id, spent_until)
    SELECT claimed.connection_id, claimed.chat_id, now() + make_interval(secs => p.pair_every_s)
    FROM claimed JOIN pacing p USING (connection_id) WHERE p.pair_every_s > 0
    ON CONFLICT (connection_id, chat_id) DO UPDATE
    SET spent_until = greatest(pair.spent_until, now()) + (excluded.spent_until - now())
), postponed AS (
    -- A head whose pair has to wait gets the end of that wait as its own `not_before`. Until then no look at due rows
    -- finds it, and a chat at its limit costs nothing.
    UPDATE messages m SET not_before = waiting.pair_free_at, updated_at = now()
    FROM (SELECT q.id, due.pair_free_at FROM messages q JOIN due USING (id)
          WHERE q.id = ANY(ARRAY(SELECT id FROM due WHERE pair_free_at IS NOT NULL)) AND due.pair_free_at IS NOT NULL
            AND coalesce(q.state, '') = 'queued'
          FOR UPDATE OF q SKIP LOCKED) AS waiting
    WHERE m.id = waiting.id
), refused AS (
    -- Rows of the other world or another account become dead letters, so that they block nothing and an operator
    -- decides. A redriven row of `other_account` leaves from the account that is there now.
    UPDATE messages m SET state = 'failed', not_before = NULL, error_code = strange.stranger, error_detail = '',
        updated_at = now()
    FROM (SELECT q.id, heads.stranger FROM messages q JOIN heads USING (id)
          WHERE q.id = ANY(ARRAY(SELECT id FROM heads WHERE stranger IS NOT NULL)) AND heads.stranger IS NOT NULL
            AND coalesce(q.state, '') = 'queued'
          FOR UPDATE OF q SKIP LOCKED) AS strange
    WHERE m.id = strange.id
    RETURNING m.id, m.company_id, m.connection_id, m.attempt, m.error_code
), noted_refusals AS (
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt,
                                 incarnation, code)
    SELECT 'message', 'message.failed', company_id, %(kind)s, connection_id, id, 'failed', attempt, %(incarnation)s,
           error_code FROM refused
), waits AS (
    -- How long each connection that has more due rows has to wait: until the next token of both limits, counted with
    -- what this claim has just spent. `pacing` is read as it was before the statement, so `sends` is added by hand.
    SELECT held.connection_id,
           greatest(0, extract(epoch FROM p.spent_until - now())::double precision
                        + (coalesce(sends.number, 0) + 1 - p.burst) * p.every_s,
                    extract(epoch FROM p.day_spent_until - now())::double precision
                        + (coalesce(sends.number, 0) + 1 - p.day_burst) * p.day_every_s)
               AS wait_s
    FROM (SELECT connection_id, count(*) AS number FROM due WHERE is_limited AND pair_free_at IS NULL
          GROUP BY connection_id) AS held
    LEFT JOIN sends USING (connection_id) JOIN pacing p USING (connection_id)
    WHERE held.number > coalesce(sends.number, 0)
    UNION ALL
    -- until one of its own sends ends
    SELECT connection_id, NULL FROM due WHERE pair_free_at IS NULL
    GROUP BY connection_id HAVING count(*) > min(capacity)
), unseen AS (
    -- Polled connections with queued rows beside those that are claimed here. The look at due rows reads a part of a
    -- backlog, and another process may have claimed what it found: that nothing waits for a token does not mean that
    -- nothing is left.
    SELECT polled.id
    FROM unnest(%(polled)s::bigint[]) AS polled(id)
    WHERE EXISTS (SELECT FROM messages m
                  WHERE m.connection_id = polled.id AND m.state = 'queued' AND m.scheduled_for IS NULL
                    AND m.id <> ALL(ARRAY(SELECT id FROM claimed)))
       OR EXISTS (SELECT FROM messages m
                  WHERE m.connection_id = polled.id AND m.state = 'queued' AND m.scheduled_for <= now()
                    AND m.id <> ALL(ARRAY(SELECT id FROM claimed)))
)
-- LEFT JOIN: a claim that took nothing still answers with one row, since the waits are what the caller needs then. A
-- null among a connection's waits (as many in flight as may be) wins: no instant is known for it.
SELECT w.waits, w.unseen, claimed.*, c.connection_type
FROM (
    SELECT jsonb_object_agg(connection_id, wait_s) AS waits, (SELECT array_agg(id) FROM unseen) AS unseen
    FROM (SELECT connection_id, CASE WHEN count(wait_s) = count(*) THEN max(wait_s) END AS wait_s FROM waits
          GROUP BY connection_id) AS longest
) AS w
LEFT JOIN (claimed JOIN phone_configs c ON c.id = claimed.connection_id) ON true
ORDER BY claimed.id;

-- chat_heads --
-- The first open row of each chat, of those that are queued: what a claim of these chats would take.
SELECT head.id
FROM unnest(%(chat_connections)s::bigint[], %(chat_ids)s::text[]) AS c(connection_id, chat_id)
CROSS JOIN LATERAL (
    -- The head in any open state, and only then whether it is queued: with the state inside, a queued row behind one
    -- that is being sent would count as the head.
    SELECT id, state FROM messages m
    WHERE m.connection_id = c.connection_id AND m.chat_id = c.chat_id AND m.state IN ('queued', 'sending', 'in_doubt')
      AND (m.scheduled_for IS NULL OR m.scheduled_for <= now())
    ORDER BY id LIMIT 1
) AS head
WHERE head.state = 'queued';

-- park_message --
-- Make a dead letter of a queued row that the database refuses to claim.
WITH parked AS (
    -- Only from `queued`: another process may have been able to claim the row since the refusal.
    UPDATE messages SET state = 'failed', not_before = NULL, error_code = %(code)s, error_detail = %(detail)s,
        updated_at = now()
    WHERE id = %(id)s AND state = 'queued'
    RETURNING id, company_id, process_name, connection_id, attempt
), noted AS (
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt,
                                 incarnation, code, detail)
    SELECT 'message', 'message.failed', company_id, process_name, connection_id, id, 'failed', attempt, %(incarnation)s,
           %(code)s, %(detail)s FROM parked
)
SELECT id FROM parked;

-- due_messages --
-- Rows that should have been claimed by now: their hint was lost, their wait is over, or their number had no tokens; by
-- number (all, or those given, but not those that are left out), and of each one more than its limits let through now,
-- so that the claim returns when to poll again. However many rows wait in however few chats, each connection costs a
-- bounded number of index entries: what one look leaves out, a later one finds.
WITH polled AS MATERIALIZED (
    -- The connections to look at, and how many rows of each are worth finding: one more than its tokens, so that the
    -- claim notices that rows are left and returns the wait. MATERIALIZED, so that tokens are computed once and not for
    -- each branch of the union below.
    SELECT c.id, least(%(most)s::bigint,
                       1 + greatest(0, least(tokens_left(p.spent_until, p.every_s, p.burst),
                                             tokens_left(p.day_spent_until, p.day_every_s, p.day_burst)))) AS most_rows
    FROM phone_configs c
    JOIN companies owner ON owner.id = c.company_id AND owner.state = 'active'
    LEFT JOIN pacing p ON p.connection_id = c.id
    WHERE c.process_name = %(kind)s AND c.status = 'active'
      AND (c.session_host IS NULL OR %(host)s::text IS NULL OR c.session_host = %(host)s)
      AND (%(connection_ids)s::bigint[] IS NULL OR c.id = ANY(%(connection_ids)s::bigint[]))
      AND c.id <> ALL(%(but_not)s::bigint[])
), found AS (
    -- Candidates from five narrow looks, each of which stops after a number of index entries. No single index order
    -- finds the heads of chats in a backlog of any shape; together they miss none for long.
    SELECT polled.id AS connection_id, polled.most_rows, q.id
    FROM polled
    CROSS JOIN LATERAL (
        -- Rows whose wait is over, by the time at which it ended.
        (SELECT id FROM messages
         WHERE connection_id = polled.id AND state = 'queued' AND scheduled_for IS NULL AND not_before <= now()
         ORDER BY not_before LIMIT polled.most_rows)
        UNION
        -- the oldest ones: nearly all of them are heads as long as chats are many and their rows few
        (SELECT id FROM messages WHERE connection_id = polled.id AND state = 'queued' AND scheduled_for IS NULL
         ORDER BY id LIMIT 2 * polled.most_rows)
        UNION
        -- the newest ones: those whose hint was lost just now, behind a backlog that waits
        (SELECT id FROM messages WHERE connection_id = polled.id AND state = 'queued' AND scheduled_for IS NULL
         ORDER BY id DESC LIMIT polled.most_rows)
        UNION
        -- Of scheduled rows the first of each chat among those that are due. 5,000 bounds the look: very many messages
        -- may be scheduled for one instant, and later looks find the rest.
        (SELECT min(id) FROM (SELECT id, chat_id FROM messages
                              WHERE connection_id = polled.id AND state = 'queued' AND scheduled_for <= now()
                              ORDER BY scheduled_for LIMIT 5000) AS due
         GROUP BY chat_id)
        UNION
        -- Heads of chats by a skip scan, for when a few chats hold most of the rows: from one chat to the next by the
        -- index, at most 100 on either side of a chat that is drawn at random, so that none is left out for ever.
        (WITH RECURSIVE drawn AS (
             -- By a random id between the first and the last and not by OFFSET, which would read all rows before it. A
             -- chat with many rows is drawn more often, and its neighbours with it; over the looks every chat has its
             -- turn.
             SELECT coalesce(
                 (SELECT m.chat_id
                  FROM (SELECT min(id) AS low, max(id) AS high FROM messages
                        WHERE connection_id = polled.id AND state = 'queued' AND scheduled_for IS NULL) AS ids
                  CROSS JOIN LATERAL (SELECT chat_id FROM messages
                                      WHERE connection_id = polled.id AND state = 'queued' AND scheduled_for IS NULL
                                        AND id >= ids.low + floor(random() * (ids.high - ids.low + 1))::bigint
                                      ORDER BY id LIMIT 1) AS m),
                 -- with nothing but scheduled rows from the first chat on
                 '') AS chat_id
         ), after AS (
             -- Upwards from the drawn chat. PostgreSQL has no skip scan for DISTINCT, hence the recursion: each step is
             -- one descent of the index to the next chat.
             SELECT chat_id, 1 AS step FROM drawn
             UNION ALL
             SELECT (SELECT chat_id FROM messages
                     WHERE connection_id = polled.id AND chat_id > after.chat_id
                       AND state IN ('queued', 'sending', 'in_doubt') ORDER BY chat_id LIMIT 1),
                    step + 1
             FROM after WHERE after.chat_id IS NOT NULL AND step < least(100, polled.most_rows)
         ), before AS (
             -- Downwards, so that a draw near the end still sees a full number of chats.
             SELECT chat_id, 1 AS step FROM drawn
             UNION ALL
             SELECT (SELECT chat_id FROM messages
                     WHERE connection_id = polled.id AND chat_id < before.chat_id
                       AND state IN ('queued', 'sending', 'in_doubt') ORDER BY chat_id DESC LIMIT 1),
                    step + 1
             FROM before WHERE before.chat_id IS NOT NULL AND step < least(100, polled.most_rows)
         )
         -- The head of each of these chats, as the claim would see it.
         SELECT head.id
         FROM (SELECT chat_id FROM after UNION SELECT chat_id FROM before) AS chat
         CROSS JOIN LATERAL (SELECT id FROM messages
                             WHERE connection_id = polled.id AND chat_id = chat.chat_id
                               AND state IN ('queued', 'sending', 'in_doubt')
                               AND (scheduled_for IS NULL OR scheduled_for <= now())
                             ORDER BY id LIMIT 1) AS head)
    ) AS q
), due AS (
    -- The candidates that a claim would take, numbered within their connection. OFFSET 0 keeps the planner from turning
    -- the look by id into a join over the whole table; see `claim_messages`.
    SELECT f.id, row_number() OVER (PARTITION BY f.connection_id ORDER BY f.id) AS place, f.most_rows
    FROM found f
    CROSS JOIN LATERAL (SELECT * FROM messages m WHERE m.id = f.id OFFSET 0) AS q
    WHERE q.process_name = %(kind)s AND q.state = 'queued' AND (q.scheduled_for IS NULL OR q.scheduled_for <= now())
      -- a hint is on its way for what was accepted just now; of scheduled ones there is none
      AND coalesce(q.not_before, q.scheduled_for, q.created_at + make_interval(secs => %(grace_s)s)) <= now()
      -- only the first open row of a chat
      AND NOT EXISTS (
          SELECT FROM messages earlier
          WHERE earlier.connection_id = q.connection_id AND earlier.chat_id = q.chat_id AND earlier.id < q.id
            AND earlier.state IN ('queued', 'sending', 'in_doubt')
            AND (earlier.scheduled_for IS NULL OR earlier.scheduled_for <= now())
          OFFSET 0)
      -- what overtook a scheduled row while it slept is finished first
      AND (q.scheduled_for IS NULL OR NOT EXISTS (
          SELECT FROM messages later
          WHERE later.connection_id = q.connection_id AND later.chat_id = q.chat_id AND later.id > q.id
            AND later.state IN ('sending', 'in_doubt') OFFSET 0))
)
-- a share for each connection: the backlog of one hides no row of another
SELECT id FROM (SELECT id FROM due WHERE place <= most_rows ORDER BY place, id LIMIT %(most)s::bigint) AS shared
ORDER BY id;

-- follow_connections --
-- Take over what waits at connections whose type was changed: it was accepted for another kind.
UPDATE messages m SET process_name = c.process_name, updated_at = now()
FROM phone_configs c
WHERE c.process_name = %(kind)s AND m.connection_id = c.id AND m.state = 'queued' AND m.process_name <> c.process_name
RETURNING m.id;

-- record_token --
-- Store the id that the message will have at the provider, and the link through which it is sent, before it is; fenced.
-- The fence: a process that was taken for dead, and is not, must not name the id of a message that another sends.
UPDATE messages SET token = %(token)s, witness = %(link)s, updated_at = now()
WHERE id = %(id)s AND incarnation = %(incarnation)s AND state = 'sending'
RETURNING id;

-- settle_messages --
-- Write the outcome of claimed rows; a row that another incarnation owns by now, or that a webhook moved on, is left
-- alone.
WITH given AS (
    -- Outcomes as they came, in any order.
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS r(id bigint, state text, provider_id text, after_s double precision, code text, detail text, counts boolean)
), owned AS (
    -- The fence, and the locks in the order of ids. `coalesce` hides the state from the partial indexes, as in the
    -- claim.
    SELECT m.id FROM messages m
    WHERE m.id = ANY(ARRAY(SELECT id FROM given)) AND coalesce(m.state, '') = 'sending'
      AND m.incarnation = %(incarnation)s
    ORDER BY m.id FOR UPDATE OF m
), moved AS (
    UPDATE messages m
    SET state = given.state,
        provider_id = CASE WHEN given.provider_id <> '' THEN given.provider_id ELSE m.provider_id END,
        -- A wait that the provider asked for does not spend an attempt; nor does a send that never left.
        attempt = m.attempt - CASE WHEN given.counts THEN 0 ELSE 1 END,
        not_before = CASE WHEN given.state = 'queued' THEN now() + make_interval(secs => given.after_s) END,
        in_doubt_at = CASE WHEN given.state = 'in_doubt' THEN now() END,
        sent_at = CASE WHEN given.state = 'sent' THEN now() END,
        error_code = given.code, error_detail = given.detail, updated_at = now()
    FROM given
    WHERE m.id = ANY(ARRAY(SELECT id FROM owned)) AND m.id = given.id
    -- The event names the attempt that was made, also when it is not charged: RETURNING sees the reduced number.
    RETURNING m.id, m.company_id, m.process_name, m.connection_id, m.state,
        m.attempt + CASE WHEN given.counts THEN 0 ELSE 1 END AS attempt,
              m.incarnation, given.code, given.detail
), noted AS (
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt,
                                 incarnation, code, detail)
    SELECT 'message', 'message.' || state, company_id, process_name, connection_id, id, state, attempt, incarnation,
           nullif(code, ''), nullif(detail, '')
    FROM moved
)
SELECT id FROM moved;

-- messages_held --
-- Rows that an incarnation has in hand.
SELECT id FROM messages WHERE state = 'sending' AND incarnation = %(incarnation)s;

-- reclaim_messages --
-- Give back what a dead incarnation had in hand. Its in-flight journal has the outcome of each row; without a record,
-- rows without a token were surely not sent and the others are in doubt. The row that it was working on when it died is
-- parked the second time.
WITH flights AS (
    -- The dead process's in-flight journal, by row.
    SELECT * FROM jsonb_to_recordset(%(flights)s::jsonb) AS r(id bigint, stage text, text text)
), held AS (
    -- What the incarnation had claimed, locked, and the state that each row goes to. SENT wins over poison: an answered
    -- request is a fact, whatever the process died of. WRITING without an answer may have been carried out: in doubt.
    SELECT m.id, m.state AS old_state,
           CASE WHEN m.id = %(active_row)s AND m.deaths >= 1 AND coalesce(f.stage, '') <> 'SENT' THEN 'failed'
                WHEN f.stage = 'SENT' THEN 'sent'
                WHEN f.stage = 'DEAD' THEN 'failed'
                WHEN f.stage = 'WRITING' THEN 'in_doubt'
                WHEN %(recorded)s OR m.token = '' THEN 'queued'
                ELSE 'in_doubt' END AS new_state,
           CASE WHEN m.id = %(active_row)s AND m.deaths >= 1 AND coalesce(f.stage, '') <> 'SENT' THEN 'poison'
                WHEN f.stage IN ('DEAD', 'UNSENT') THEN f.text
                WHEN f.stage = 'SENT' THEN ''
                ELSE 'process_died' END AS code,
           CASE WHEN f.stage = 'SENT' THEN f.text ELSE '' END AS provider_id,
           -- an attempt that never left the process is not charged; a parked row keeps it, as the mark of one that
           -- others may have overtaken
           CASE WHEN %(recorded)s AND coalesce(f.stage, 'CLAIMED') = 'CLAIMED'
               AND NOT (m.id = %(active_row)s AND m.deaths >= 1)
                THEN 1 ELSE 0 END AS refunded
    FROM messages m LEFT JOIN flights f USING (id)
    WHERE m.state = 'sending' AND m.incarnation = %(incarnation)s
    ORDER BY m.id FOR UPDATE OF m
), moved AS (
    UPDATE messages m
    SET state = held.new_state,
        in_doubt_at = CASE WHEN held.new_state = 'in_doubt' THEN now() END,
        sent_at = CASE WHEN held.new_state = 'sent' THEN now() ELSE m.sent_at END,
        provider_id = CASE WHEN held.provider_id <> '' THEN held.provider_id ELSE m.provider_id END,
        attempt = m.attempt - held.refunded,
        -- No hint comes for it: due now, so that the relay does not wait for one first.
        not_before = CASE WHEN held.new_state = 'queued' THEN now() END,
        -- Only the row that the process's code was working on is counted: the others were merely in the same process.
        deaths = m.deaths + CASE WHEN m.id = %(active_row)s THEN 1 ELSE 0 END,
        error_code = held.code, error_detail = '', updated_at = now()
    FROM held WHERE m.id = held.id
    RETURNING m.id, m.company_id, m.connection_id, m.type, m.state, m.attempt + held.refunded AS attempt, m.incarnation,
        m.process_name, held.code
), noted AS (
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt,
                                 incarnation, code)
    SELECT 'message', 'message.' || state, company_id, process_name, connection_id, id, state, attempt, incarnation,
           nullif(code, '') FROM moved
)
SELECT id, state, process_name, code, type FROM moved ORDER BY id;

-- in_doubt_messages --
-- Rows in doubt that no human has been asked about yet, or those left to one because nothing was known, with what
-- reconciliation needs to find out; a page of them, by id: rows that stay for days must not hide the others.
SELECT m.id, m.company_id, m.connection_id, c.connection_type, m.chat_id, m.type, m.content, m.attempt,
       m.forgiven AS attempts_before_redrive,
       m.token, m.incarnation, coalesce(m.account, '') AS account, m.created_at, m.claimed_at,
       m.witness, coalesce(m.request_id, '') AS request_id, coalesce(m.traceparent, '') AS traceparent,
       extract(epoch FROM now() - m.claimed_at)::double precision AS age_s,
       extract(epoch FROM now() - m.in_doubt_at)::double precision AS doubt_s,
       coalesce(m.in_doubt_policy, company.in_doubt_policy) AS policy
FROM messages m
JOIN phone_configs c ON c.id = m.connection_id
JOIN companies company ON company.id = m.company_id
WHERE m.process_name = %(kind)s AND m.state = 'in_doubt'
  -- in the other world nothing can be found out about it
  AND (m.world IS NULL
       OR coalesce(m.world = (%(worlds)s::text[])[array_position(%(world_types)s::text[], c.connection_type::text)],
                   true))
  -- Of held rows only those without evidence: what a policy or the last attempt left to a human stays with the human.
  AND CASE WHEN %(held)s THEN m.held_at IS NOT NULL AND m.error_code = 'no_evidence' ELSE m.held_at IS NULL END
  AND m.id > %(after)s
ORDER BY m.id LIMIT %(most)s;

-- resolve_in_doubt --
-- Move a row out of doubt about one attempt, unless something else did so first.
WITH moved AS (
    UPDATE messages m
    SET state = %(state)s, provider_id = CASE WHEN %(provider_id)s <> '' THEN %(provider_id)s ELSE m.provider_id END,
        sent_at = CASE WHEN %(state)s = 'sent' THEN now() ELSE m.sent_at END, in_doubt_at = NULL, held_at = NULL,
        not_before = NULL,
        error_code = %(code)s, error_detail = '', updated_at = now()
    -- By attempt: reconciliation decided about the one that it read, and by now the row may be in doubt about the next.
    WHERE m.id = %(id)s AND m.state = 'in_doubt' AND m.attempt = %(attempt)s
    RETURNING m.id, m.company_id, m.process_name, m.connection_id, m.type, m.state, m.attempt
), noted AS (
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt,
                                 incarnation, code)
    SELECT 'message', 'message.' || state, company_id, process_name, connection_id, id, state, attempt, %(incarnation)s,
           %(code)s FROM moved
)
SELECT id, type FROM moved;

-- hold_in_doubt --
-- Leave an in-doubt row to a human.
WITH held AS (
    UPDATE messages SET held_at = now(), error_code = %(code)s, updated_at = now()
    -- `held_at IS NULL`: the first instant counts, and the event is written once.
    WHERE id = %(id)s AND state = 'in_doubt' AND attempt = %(attempt)s AND held_at IS NULL
    RETURNING id, company_id, process_name, connection_id, attempt
), noted AS (
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt,
                                 incarnation, code)
    SELECT 'message', 'message.held', company_id, process_name, connection_id, id, 'in_doubt', attempt,
           %(incarnation)s, %(code)s FROM held
)
SELECT id FROM held;

-- traces_of_messages --
-- The traces that some messages are part of.
SELECT id, traceparent FROM messages WHERE id = ANY(%(ids)s::bigint[]) AND traceparent <> '';

-- match_receipts --
-- Find and lock the messages that receipts are about, by token or by the provider's id, within the connection they came
-- through, and the attempt.
WITH given AS (
    -- Parts of tokens in the form `bulkhead:<installation>:<message>:<attempt>:<instant>`. Digits are counted, so that
    -- no foreign token can overflow a cast and fail the whole batch; counted apart, since {1,18} takes four times as
    -- long.
    SELECT r.*, CASE WHEN is_ours THEN split_part(token, ':', 3)::bigint END AS named_id,
           CASE WHEN is_ours THEN split_part(token, ':', 4)::integer END AS named_attempt
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(position int, connection_id bigint, provider_id text, token text)
    CROSS JOIN LATERAL (
        SELECT token ~ '^bulkhead:[0-9a-f]+:[0-9]+:[1-9][0-9]*:[0-9a-f]+$' AND length(split_part(token, ':', 3)) <= 18
               AND length(split_part(token, ':', 4)) <= 9 AS is_ours OFFSET 0
    ) AS form
), found AS (
    -- Candidates by each way in which a receipt can name a message. A UNION of index look-ups, since an OR over them
    -- would scan the table.
    SELECT given.position, given.connection_id, given.named_attempt, hit.id
    FROM given CROSS JOIN LATERAL (
        -- The row's own token, in whatever form: an id that a browser session chose, or one from before tokens named
        -- the installation. A row without an attempt has no token of ours.
        SELECT id FROM messages
        WHERE given.token <> '' AND token = given.token AND token <> ''
          AND (attempt > 0 OR NOT starts_with(token, 'bulkhead:'))
        UNION
        SELECT id FROM messages WHERE given.provider_id <> '' AND provider_id = given.provider_id AND provider_id <> ''
        UNION
        -- the token of an earlier attempt of this very row
        SELECT id FROM messages
        WHERE id = given.named_id AND split_part(given.token, ':', 2) = (SELECT i.id FROM installation i)
          AND split_part(given.token, ':', 5) = to_hex((extract(epoch FROM created_at) * 1000000)::bigint)
    ) AS hit
), locked AS (
    -- Locked in the order of ids, so that processes with the same receipts do not deadlock; the connection is compared
    -- first, so that a receipt cannot hold up another connection's row.
    SELECT m.id, m.connection_id, m.chat_id, m.attempt, m.closed_attempt,
           m.type IN ('edit', 'delete') AND m.state NOT IN ('sent', 'delivered', 'read') AS acts
    FROM messages m
    WHERE m.id = ANY(ARRAY(SELECT id FROM found))
      AND EXISTS (SELECT FROM found WHERE found.id = m.id AND found.connection_id = m.connection_id)
    ORDER BY m.id FOR UPDATE
)
-- The owner is compared for each position: a batch holds receipts of several companies, and one may name another's
-- message.
SELECT found.position, locked.id, locked.chat_id, locked.acts, coalesce(found.named_attempt, locked.attempt) AS attempt,
       coalesce(found.named_attempt <= locked.closed_attempt, false) AS is_closed
FROM found JOIN locked USING (id, connection_id)
-- a token that names an attempt which was not made (yet) proves nothing: it is a forgery, or older than a restored
-- backup
WHERE coalesce(found.named_attempt, 0) <= locked.attempt;

-- apply_receipts --
-- Move locked messages on by what the provider reports about attempts that are not closed; never backwards; every step
-- of every attempt is kept once.
WITH given AS (
    -- With the row as `match_receipts` has locked it in this transaction.
    SELECT r.*, m.attempt AS current_attempt, m.company_id, m.process_name, m.connection_id, m.created_at
    FROM jsonb_to_recordset(%(rows)s::jsonb)
         AS r(position int, id bigint, at timestamptz, provider_id text, attempt integer, code text, detail text,
              extra jsonb)
    CROSS JOIN LATERAL (SELECT attempt, company_id, process_name, connection_id, created_at FROM messages
                        WHERE id = r.id OFFSET 0) AS m
), first AS (
    -- One step for each message moves its row; the others of the batch are only written to the history.
    SELECT DISTINCT ON (id) * FROM given
    -- that an earlier attempt failed says nothing about the one that is under way; that it was sent makes a later one
    -- needless
    WHERE %(state)s <> 'failed' OR attempt = current_attempt
    ORDER BY id, at, position
), moved AS (
    -- `before` holds the states from which this one may be entered (`shared/states.py`): a late `delivered` after
    -- `read` changes nothing.
    UPDATE messages m
    SET state = %(state)s, provider_id = CASE WHEN m.provider_id = '' THEN first.provider_id ELSE m.provider_id END,
        sent_at = CASE WHEN %(state)s = 'failed' THEN m.sent_at ELSE coalesce(m.sent_at, now()) END, in_doubt_at = NULL,
        held_at = NULL, not_before = NULL,
        error_code = first.code, error_detail = first.detail, updated_at = now()
    FROM first
    WHERE m.id = ANY(ARRAY(SELECT id FROM first)) AND m.id = first.id AND m.state = ANY(%(before)s)
      -- of what was taken back only a row that never counted as sent can turn out to have left
      AND (m.state <> 'deleted' OR m.sent_at IS NULL)
      -- A `sent` that arrives after the provider's own `failed` of the same attempt is older than it: the row stays
      -- failed.
      AND NOT (%(state)s = 'sent' AND m.state = 'failed' AND EXISTS (
          SELECT FROM events_messages e
          WHERE e.message_id = m.id AND e.written_at >= first.created_at AND e.written_at < now() + interval '1 day'
            AND e.state = 'failed' AND e.attempt = first.attempt AND e.data IS NOT NULL OFFSET 0))
)
-- Every step goes to the history, also one that moves no row. DISTINCT ON drops repetitions within the batch, NOT
-- EXISTS those that are written already.
INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, at, attempt, code,
                             detail, data)
SELECT DISTINCT ON (id, attempt, extra ->> 'status') 'message', 'message.' || %(state)s::text, company_id, process_name,
       connection_id, id, %(state)s, at,
       attempt, nullif(code, ''), nullif(detail, ''), extra
FROM given
WHERE NOT EXISTS (
    -- The provider's own status is part of the step: a voice note is read, and then played. Nothing about a message is
    -- written before it is made, or tomorrow: that leaves out the other days' partitions, while the statement runs,
    -- since OFFSET 0 keeps it from becoming a join.
    SELECT FROM events_messages e
    WHERE e.message_id = given.id AND e.written_at >= given.created_at AND e.written_at < now() + interval '1 day'
      AND e.state = %(state)s AND e.attempt = given.attempt AND e.data IS NOT NULL
      AND e.data ->> 'status' IS NOT DISTINCT FROM given.extra ->> 'status' OFFSET 0)
ORDER BY id, attempt, extra ->> 'status', at, position;

-- apply_to_target --
-- Let an edit or a deletion that has gone out take hold on the message that it names: ours if it has left, or one that
-- came in.
WITH acting AS (
    -- The edit or deletion, if it has gone out. Its content comes from a client, so the target's id is checked before
    -- the cast.
    SELECT a.id, a.type, a.connection_id, a.content -> 'body' AS body,
           CASE WHEN a.content ->> 'target_id' ~ '^[0-9]{1,18}$' THEN (a.content ->> 'target_id')::bigint END AS target,
           a.type = 'delete' AND coalesce((a.content -> 'everyone')::text, 'true') = 'true' AS gone
    FROM messages a
    WHERE a.id = %(id)s AND a.type IN ('edit', 'delete') AND a.state IN ('sent', 'delivered', 'read')
), change AS (
    -- The marks that both kinds of target get, built once.
    SELECT acting.*,
           CASE WHEN type = 'delete'
                THEN jsonb_build_object('deleted_at', now(),
                                        'deleted_for', CASE WHEN gone THEN 'everyone' ELSE 'me' END)
                ELSE jsonb_build_object('edited_at', now()) END AS marks
    FROM acting
), changed AS (
    -- A message of ours. Its id and an inbound message's id come from one sequence, so that at most one of the two
    -- updates finds a row.
    UPDATE messages m
    SET content = m.content || change.marks
                  || CASE WHEN change.type = 'edit'
                          THEN jsonb_build_object(CASE WHEN m.type = 'text' THEN 'body' ELSE 'caption' END, change.body)
                          ELSE '{}' END,
        state = CASE WHEN change.gone THEN 'deleted' ELSE m.state END, updated_at = now()
    FROM change WHERE m.id = change.target AND m.connection_id = change.connection_id
        AND m.state IN ('sent', 'delivered', 'read')
    RETURNING m.id, m.company_id, m.process_name, m.connection_id, m.state, m.attempt,
              CASE WHEN change.type = 'edit' THEN 'edited'
                   WHEN change.gone THEN 'deleted' ELSE 'deleted_for_me' END AS code
), noted AS (
    -- without `data`, which marks what the provider said
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt, code,
                                 detail)
    SELECT 'message', 'message.' || code, company_id, process_name, connection_id, id, state, attempt, code,
           'by message ' || %(id)s::bigint FROM changed
), changed_received AS (
    UPDATE inbound_messages i
    SET content = i.content || change.marks
                  || CASE WHEN change.type = 'edit'
                          THEN jsonb_build_object(CASE WHEN i.type = 'text' THEN 'body' ELSE 'caption' END, change.body)
                          ELSE '{}' END,
        state = CASE WHEN change.gone THEN 'deleted' ELSE i.state END
    -- what is deleted does not get words back
    FROM change WHERE i.id = change.target AND i.connection_id = change.connection_id AND i.state <> 'deleted'
    RETURNING i.id
)
-- also when it was deleted before: an edit that goes out now has words of it
SELECT target AS id FROM change
WHERE gone OR EXISTS (SELECT FROM messages m WHERE m.id = change.target AND m.state = 'deleted');

-- message_by_id --
-- One outbound message of a company.
SELECT m.id, m.company_id, m.connection_id, c.phone_index, c.connection_type, m.chat_id,
       chat_aliases(m.company_id, m.chat_id) AS chat_ids, m.type, m.content, m.state, m.attempt, m.not_before,
       m.scheduled_for, m.in_doubt_policy, m.provider_id, m.held_at, m.error_code, m.error_detail, m.created_at,
       m.sent_at, m.updated_at, m.request_id, m.traceparent,
       m.state = 'queued' AND (c.status = 'paused' OR owner.state = 'suspended') AS held
FROM messages m JOIN phone_configs c ON c.id = m.connection_id JOIN companies owner ON owner.id = m.company_id
WHERE m.company_id = %(company_id)s AND m.id = %(id)s;

-- message_states --
-- The states of many messages.
SELECT id, state FROM messages WHERE id = ANY(%(ids)s::bigint[]);

-- message_history --
-- Every step of one message, oldest first.
SELECT e.state, e.at, e.written_at, coalesce(e.attempt, 0) AS attempt, coalesce(e.incarnation, '') AS incarnation,
       coalesce(e.code, '') AS code,
       coalesce(e.detail, '') AS detail, e.data AS extra
FROM messages m
CROSS JOIN LATERAL (
    -- The times leave out the partitions of other days. `written_at` is the start of a transaction: one that began
    -- before the message was accepted may have claimed it. No transaction lasts so long.
    SELECT * FROM events_messages
    WHERE message_id = m.id AND written_at >= m.created_at - interval '10 minutes'
      AND written_at < now() + interval '1 day' OFFSET 0
) AS e
WHERE m.id = %(id)s ORDER BY e.id;

-- chat_page --
-- Both directions of a chat under all names of its person, by the time at which each message was written, newest first,
-- before a cursor.
SELECT page.*, %(chat_id)s AS chat_id
FROM (
    SELECT found.*
    -- one look for each name, each in the order of an index: together they would have to be sorted whole
    FROM unnest(chat_aliases(%(company_id)s, %(chat_id)s)) AS names(alias)
    CROSS JOIN LATERAL (
        (SELECT m.id, 'out' AS direction, m.connection_id, m.type, m.content, m.state, m.provider_id, '' AS sender,
                '' AS sender_name, '' AS sender_username, m.error_code,
                '{}'::jsonb AS context, false AS came_in, m.created_at AS at, m.created_at
         FROM messages m
         WHERE m.company_id = %(company_id)s AND m.chat_id = names.alias
           AND (m.created_at, m.id) < (%(before_at)s, %(before_id)s) AND m.type <> ALL(%(marks)s::text[])
         ORDER BY m.created_at DESC, m.id DESC LIMIT %(most)s)
        UNION ALL
        (SELECT i.id, CASE WHEN i.from_me THEN 'out' ELSE 'in' END, i.connection_id, i.type, i.content, i.state,
                i.provider_id, i.sender, i.sender_name, i.sender_username, '', i.context, true, i.at, i.created_at
         FROM inbound_messages i
         WHERE i.company_id = %(company_id)s AND i.chat_id = names.alias
           AND (i.at, i.id) < (%(before_at)s, %(before_id)s)
         ORDER BY i.at DESC, i.id DESC LIMIT %(most)s)
    ) AS found
    ORDER BY at DESC, id DESC LIMIT %(most)s
) AS found
JOIN LATERAL (SELECT found.*, c.phone_index, c.connection_type FROM phone_configs c
              WHERE c.id = found.connection_id) AS page ON true
ORDER BY page.at DESC, page.id DESC;

-- queue_depth --
-- How much is open, by kind and state.
SELECT process_name, state, messages, extract(epoch FROM now() - oldest_at)::double precision AS oldest_s
FROM queue_depth;
