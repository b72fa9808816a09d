-- journal_events --
-- Keep raw events before anything is done with them.
INSERT INTO inbound_journal (process_name, source, connection_id, body)
SELECT %(kind)s, source, connection_id, body
FROM unnest(%(sources)s::text[], %(connection_ids)s::bigint[], %(bodies)s::bytea[]) AS g(source, connection_id, body)
RETURNING id;

-- commit_unforced --
-- Let this transaction's commit not wait for the disk. Only for what can be derived again from rows that are on disk.
-- A commit waits for fsync otherwise, which is most of its time. LOCAL: the pool's next transaction waits again.
SET LOCAL synchronous_commit = off;

-- take_journal --
-- Lock a batch of raw events that are not processed yet, oldest first.
SELECT id, source, connection_id, body, received_at, attempts FROM inbound_journal
WHERE process_name = %(kind)s AND processed_at IS NULL
-- SKIP LOCKED: another instance processes the rows that it holds, and this one takes the next. The locks last until the
-- commit, so that a process that dies gives its rows back without any reclaim.
ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED;

-- finish_journal --
-- Mark raw events as processed, with how it went.
UPDATE inbound_journal SET processed_at = now(), attempts = attempts + 1, outcome = g.outcome
FROM unnest(%(ids)s::bigint[], %(outcomes)s::text[]) AS g(id, outcome)
WHERE inbound_journal.id = g.id;

-- insert_inbound --
-- Keep normalised messages; one that is there already is left alone, unless it could not be read then and can be now.
-- An echo of a message that we sent is no message.
WITH kept AS (
    INSERT INTO inbound_messages (company_id, connection_id, journal_id, provider_id, chat_id, sender, sender_name,
                                  sender_username, from_me,
                                  may_trigger, type, content,
                                  context, at, world)
    SELECT c.company_id, r.connection_id, r.journal_id, r.provider_id, r.chat_id, r.sender, r.sender_name,
           r.sender_username, r.from_me,
           r.may_trigger, r.type, r.content,
           r.context, r.at, c.world
    FROM jsonb_to_recordset(%(rows)s::jsonb)
         AS r(connection_id bigint, journal_id bigint, provider_id text, chat_id text, sender text, sender_name text,
              sender_username text, from_me boolean, may_trigger boolean,
              type text, content jsonb, context jsonb, at timestamptz)
    JOIN phone_configs c ON c.id = r.connection_id
    -- The provider reports what we send like what was written on the phone. Our own send is known by its id there: if
    -- that is not stored yet, the echo is kept as a message until then (withdraw_echoes).
    WHERE NOT (r.from_me AND EXISTS (SELECT FROM messages m
                                     WHERE m.provider_id = r.provider_id AND m.provider_id <> ''
                                       AND m.connection_id = r.connection_id))
    ON CONFLICT (connection_id, provider_id) DO UPDATE
    SET type = excluded.type, content = excluded.content, context = excluded.context,
        sender_name = excluded.sender_name, sender_username = excluded.sender_username,
        journal_id = excluded.journal_id
    -- A repeated webhook must not undo an edit or a revoke that was applied since. `unknown`: its type could not be
    -- read when it came.
    WHERE inbound_messages.type = 'unknown' AND excluded.type <> 'unknown'
      -- what is deleted does not get its content back
      AND inbound_messages.state <> 'deleted'
    RETURNING id, company_id, connection_id, provider_id, from_me, type, at
), noted AS (
    -- What was written on the company's own phone has a type of its own: a client that answers what was received must
    -- not answer that. An edit or a revoke is an event of the message that it changes.
    INSERT INTO events_messages (at, subject, type, company_id, kind, connection_id, message_id)
    SELECT kept.at, 'message', CASE WHEN kept.from_me THEN 'message.echoed' ELSE 'message.received' END,
           kept.company_id, c.process_name, kept.connection_id, kept.id
    FROM kept JOIN phone_configs c ON c.id = kept.connection_id
    WHERE kept.type NOT IN ('edit', 'revoke') ORDER BY kept.at, kept.id
)
SELECT id, connection_id, provider_id,
       -- null: it keeps no conversations, and nothing more is done
       (SELECT o.id FROM companies o WHERE o.id = kept.company_id AND keeps_conversations(o.settings)) AS conversing
FROM kept;

-- import_inbound --
-- Keep messages of a server that was used before, without events: the stream has no days of years ago, and
-- subscribers get only what happens here. One that is there already is left alone.
INSERT INTO inbound_messages (company_id, connection_id, provider_id, chat_id, sender, sender_name, from_me,
                              may_trigger, type, content, context, at, world)
SELECT c.company_id, r.connection_id, r.provider_id, r.chat_id, r.sender, r.sender_name, r.from_me, false,
       r.type, r.content, '{}', r.at, c.world
FROM jsonb_to_recordset(%(rows)s::jsonb)
     AS r(connection_id bigint, provider_id text, chat_id text, sender text, sender_name text, from_me boolean,
          type text, content jsonb, at timestamptz)
JOIN phone_configs c ON c.id = r.connection_id
WHERE NOT EXISTS (SELECT FROM messages m WHERE m.provider_id = r.provider_id AND m.connection_id = r.connection_id)
ON CONFLICT (connection_id, provider_id) DO NOTHING
RETURNING id;

-- withdraw_echoes --
-- Remove lines that were kept as written by hand and are messages of ours, whose id at the provider was not stored yet
-- when the echo came. `ids`: messages of either direction that have changed since the last time.
WITH twice AS MATERIALIZED (
    -- In both directions, since either may be the later one. OFFSET 0: a look by the whole key for each row.
    SELECT echo.id, m.content ? 'erased' AS is_erased
    FROM messages m
    CROSS JOIN LATERAL (SELECT id, type FROM inbound_messages
                        WHERE connection_id = m.connection_id AND provider_id = m.provider_id AND from_me
                        OFFSET 0) AS echo
    WHERE m.id = ANY(%(ids)s::bigint[]) AND m.provider_id <> '' AND (echo.type = 'reaction') = (m.type = 'reaction')
      -- an edit has the id of what it edits, which may have been written by hand
      AND m.type NOT IN ('edit', 'delete', 'read', 'typing') AND echo.type NOT IN ('edit', 'revoke')
    UNION
    SELECT echo.id, m.is_erased
    FROM inbound_messages echo
    CROSS JOIN LATERAL (SELECT type, content ? 'erased' AS is_erased FROM messages
                        WHERE provider_id = echo.provider_id AND provider_id <> ''
                          AND connection_id = echo.connection_id
                        OFFSET 0) AS m
    WHERE echo.id = ANY(%(ids)s::bigint[]) AND echo.from_me AND (echo.type = 'reaction') = (m.type = 'reaction')
      AND m.type NOT IN ('edit', 'delete', 'read', 'typing') AND echo.type NOT IN ('edit', 'revoke')
), locked AS MATERIALIZED (
    SELECT id FROM inbound_messages WHERE id = ANY(ARRAY(SELECT id FROM twice)) ORDER BY id FOR UPDATE
), gone AS (
    DELETE FROM inbound_messages i USING locked JOIN twice USING (id) WHERE i.id = locked.id
    RETURNING i.id, i.connection_id, i.provider_id, i.journal_id, twice.is_erased
), released AS (
    -- The file that it came with; what our own message refers to is not one that was received.
    UPDATE media_files f SET released_at = now()
    FROM inbound_media came
    WHERE came.message_id = ANY(ARRAY(SELECT id FROM gone)) AND f.company_id = came.company_id
      AND f.sha256 = came.sha256 AND f.is_received
), copied AS (
    -- The raw event holds our message too: when it is deleted for everyone, its content goes from there.
    INSERT INTO journal_copies (connection_id, provider_id, journal_id, is_due)
    SELECT connection_id, provider_id, journal_id, is_erased FROM gone WHERE journal_id IS NOT NULL
    ON CONFLICT (connection_id, provider_id, journal_id) DO NOTHING
), again AS (
    -- Edits and deletions by hand that took hold on the line are those of our message.
    UPDATE inbound_messages c SET look_again_at = now()
    WHERE c.id = ANY(ARRAY(SELECT change.id FROM gone
                           CROSS JOIN LATERAL (SELECT id FROM inbound_messages
                                               WHERE connection_id = gone.connection_id
                                                 AND content ->> 'target' = gone.provider_id
                                                 AND type IN ('edit', 'revoke') AND from_me OFFSET 0) AS change))
), uncounted AS (
    DELETE FROM message_index x WHERE x.message_id = ANY(ARRAY(SELECT id FROM gone))
    RETURNING x.company_id, x.day, x.phone_index, x.connection_type, x.direction, x.type, x.outcome
), counted AS (
    INSERT INTO message_rollups (company_id, day, phone_index, connection_type, direction, type, outcome, messages)
    SELECT company_id, day, phone_index, connection_type, direction, type, outcome, -count(*) FROM uncounted
    GROUP BY company_id, day, phone_index, connection_type, direction, type, outcome
    ORDER BY company_id, day, phone_index, connection_type, direction, type, outcome
    ON CONFLICT (company_id, day, phone_index, connection_type, direction, type, outcome)
    DO UPDATE SET messages = message_rollups.messages + excluded.messages
)
SELECT id FROM gone;

-- apply_inbound_changes --
-- Let edits and revokes take hold on what they are about: those among the given rows, and those that came before the
-- given rows did. One counts only for a message of its own author in its own chat. Returns the messages that changed.
WITH fresh AS (
    -- The messages of this batch, edits and revokes among them.
    SELECT id, connection_id, provider_id, type, content ->> 'target' AS target FROM inbound_messages
    WHERE id = ANY(%(ids)s::bigint[])
), concerned AS (
    -- What may change now. Both directions, since webhooks come in any order: the target of a new edit, and a new
    -- message whose edit came before it.
    SELECT t.id FROM fresh
    JOIN inbound_messages t ON t.connection_id = fresh.connection_id AND t.provider_id = fresh.target
    WHERE fresh.type IN ('edit', 'revoke')
    UNION
    -- a message with several files is one line for each, named `<its id>#2` and so on: revoking it revokes all of them
    SELECT t.id FROM fresh CROSS JOIN generate_series(2, %(most_parts)s) AS number
    JOIN inbound_messages t ON t.connection_id = fresh.connection_id AND t.provider_id = fresh.target || '#' || number
    WHERE fresh.type = 'revoke'
    UNION
    SELECT id FROM fresh WHERE type NOT IN ('edit', 'revoke')
), locked AS (
    -- Locked before the edits are read, in the order of ids: two processes with an edit each of one message would
    -- otherwise both read the state before the other's, and the older edit could win.
    SELECT t.id, t.company_id, t.connection_id, t.provider_id, t.chat_id, t.sender, t.from_me, t.content
    FROM inbound_messages t
    WHERE t.id = ANY(ARRAY(SELECT id FROM concerned)) ORDER BY t.id FOR UPDATE
), changes AS (
    -- Every edit and revoke that names one of them, or the message of which it is a part (`#2`). Ids are no secret: who
    -- knows one must not change what another person wrote, or what stands in another chat.
    SELECT locked.id AS message_id, c.id, c.type, c.content, c.at,
           c.content ->> 'target' = locked.provider_id AS is_whole
    FROM locked JOIN inbound_messages c ON c.connection_id = locked.connection_id AND c.type IN ('edit', 'revoke')
     AND c.content ->> 'target' IN (locked.provider_id, regexp_replace(locked.provider_id, '#[0-9]{1,3}$', ''))
    WHERE is_by_author(locked.company_id, locked.chat_id, locked.sender, locked.from_me,
                       c.chat_id, c.sender, c.from_me)
), newest AS (
    -- Of all edits of a message only the newest by the provider's time, so that their order of arrival does not matter.
    SELECT DISTINCT ON (message_id) message_id AS id, at,
           CASE WHEN content ? 'body' THEN jsonb_build_object('body', content -> 'body')
                -- an edit changes words: the file stays the one that was there
                ELSE coalesce(content -> 'content', '{}') - 'media' END AS words
    FROM changes WHERE type = 'edit' AND is_whole ORDER BY message_id, at DESC, changes.id DESC
), revoked AS (
    -- A revoke wins over every edit, whenever it came.
    SELECT message_id AS id, min(at) AS at FROM changes WHERE type = 'revoke' GROUP BY message_id
), outcome AS (
    -- Made of what was stored; made again, it is the same.
    SELECT locked.id, revoked.id IS NOT NULL AS is_revoked,
           locked.content
            || CASE WHEN newest.words IS NULL THEN '{}'
                    -- a caption is what a file's words are called
                    WHEN locked.content ? 'media' AND newest.words ? 'body'
                    THEN jsonb_build_object('caption', newest.words -> 'body') ELSE newest.words END
            || CASE WHEN newest.at IS NULL THEN '{}' ELSE jsonb_build_object('edited_at', newest.at) END
            || CASE WHEN revoked.at IS NULL THEN '{}' ELSE jsonb_build_object('deleted_at', revoked.at) END AS content
    FROM locked LEFT JOIN newest USING (id) LEFT JOIN revoked USING (id)
    WHERE newest.id IS NOT NULL OR revoked.id IS NOT NULL
), changed AS (
    UPDATE inbound_messages m
    SET content = outcome.content, state = CASE WHEN outcome.is_revoked THEN 'deleted' ELSE m.state END
    FROM outcome
    WHERE m.id = outcome.id AND m.type NOT IN ('edit', 'revoke')
      -- what is deleted stays as it is: an edit that comes later is no second deletion
      AND m.state <> 'deleted'
      -- an edit that is looked at again is no second edit
      AND (outcome.is_revoked OR m.content <> outcome.content)
    RETURNING m.id, m.company_id, m.connection_id, m.state
), noted AS (
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id)
    SELECT 'message', CASE WHEN changed.state = 'deleted' THEN 'message.deleted' ELSE 'message.edited' END,
           changed.company_id, c.process_name, changed.connection_id, changed.id
    FROM changed JOIN phone_configs c ON c.id = changed.connection_id ORDER BY changed.id
)
SELECT id FROM changed;

-- revoke_sent --
-- Messages of ours that were deleted by hand, on the phone or in the business's app, in the chat that was named there.
WITH given AS (
    SELECT i.connection_id, i.content ->> 'target' AS provider_id, i.chat_id, i.at
    FROM inbound_messages i WHERE i.id = ANY(%(ids)s::bigint[]) AND i.type = 'revoke' AND i.from_me
), found AS (
    -- The state is compared again by the UPDATE itself: this look read the row as it was before its lock was there.
    SELECT t.id, g.at FROM messages t
    JOIN given g ON g.connection_id = t.connection_id AND t.provider_id = g.provider_id
        AND t.provider_id <> '' AND is_one_chat(t.company_id, t.chat_id, g.chat_id)
    WHERE t.state = ANY(%(before)s) ORDER BY t.id FOR UPDATE OF t
), moved AS (
    UPDATE messages m
    SET state = 'deleted', content = m.content || jsonb_build_object('deleted_at', found.at), updated_at = now()
    FROM found WHERE m.id = found.id AND m.state = ANY(%(before)s)
    RETURNING m.id, m.company_id, m.process_name, m.connection_id, m.attempt
)
INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt, code)
SELECT 'message', 'message.deleted', company_id, process_name, connection_id, id, 'deleted', attempt, 'revoked_by_hand'
FROM moved;

-- change_phones --
-- People who are named by a user id have another number from now on.
UPDATE contacts c SET phone = g.phone, former_ids = ARRAY(SELECT DISTINCT unnest(c.former_ids || g.former))
FROM unnest(%(connection_ids)s::bigint[], %(former)s::text[], %(phones)s::text[]) AS g(connection_id, former, phone)
-- Not those that are named by the number itself: `move_contacts` renames them.
WHERE c.connection_id = g.connection_id AND c.phone = g.former AND c.user_id <> g.former;

-- move_contacts --
-- Rename people. Where the new name is known already, both rows are merged.
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(connection_id bigint, former text, user_id text, phone text,
                                                           by_phone boolean, at timestamptz)
), former AS MATERIALIZED (
    -- Looks by a whole key, one for each of both ways: with OR, all contacts of the connection could be read.
    SELECT g.*, who.user_id AS former_id
    FROM given g CROSS JOIN LATERAL (
        SELECT user_id FROM contacts WHERE connection_id = g.connection_id AND user_id = g.former
        UNION
        SELECT user_id FROM contacts WHERE g.by_phone AND connection_id = g.connection_id AND phone = g.former
    ) AS who
), renamed AS (
    -- Deleted and inserted again, not updated: the new name may be another row's key, and ON CONFLICT merges both.
    DELETE FROM contacts c USING former g
    WHERE c.connection_id = g.connection_id AND c.user_id = g.former_id AND c.user_id <> g.user_id
    RETURNING g.connection_id, g.user_id AS new_id, g.former, coalesce(g.phone, c.phone) AS new_phone, c.user_id,
        c.name, c.username, c.former_ids,
              c.wants_marketing, c.marketing_at, c.first_seen_at, greatest(c.last_seen_at, g.at) AS last_seen_at
)
INSERT INTO contacts (connection_id, user_id, phone, name, username, former_ids, wants_marketing, marketing_at,
                      first_seen_at, last_seen_at)
-- Several rows may get one new name, and ON CONFLICT accepts a key once in a statement: the one seen last is kept.
SELECT DISTINCT ON (connection_id, new_id) connection_id, new_id, new_phone, name, username,
       ARRAY(SELECT DISTINCT unnest(former_ids || user_id || former)), wants_marketing, marketing_at, first_seen_at,
       last_seen_at
FROM renamed ORDER BY connection_id, new_id, last_seen_at DESC
ON CONFLICT (connection_id, user_id) DO UPDATE
SET phone = coalesce(excluded.phone, contacts.phone),
    name = CASE WHEN contacts.name = '' THEN excluded.name ELSE contacts.name END,
    former_ids = ARRAY(SELECT DISTINCT unnest(contacts.former_ids || excluded.former_ids)),
    wants_marketing = coalesce(contacts.wants_marketing, excluded.wants_marketing),
    marketing_at = coalesce(contacts.marketing_at, excluded.marketing_at),
    first_seen_at = least(contacts.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(contacts.last_seen_at, excluded.last_seen_at);

-- release_phones --
-- A number belongs to one person at a time: its former owner has no known number.
UPDATE contacts c SET phone = NULL
FROM unnest(%(connection_ids)s::bigint[], %(user_ids)s::text[], %(phones)s::text[]) AS g(connection_id, user_id, phone)
WHERE c.connection_id = g.connection_id AND c.phone = g.phone AND c.user_id <> g.user_id;

-- see_contacts --
-- Record people; an absent name leaves the known one. A person named only by a number is the owner of that number.
INSERT INTO contacts (connection_id, user_id, phone, name, username, first_seen_at, last_seen_at)
SELECT g.connection_id, g.who, max(g.phone),
       coalesce((array_agg(g.name ORDER BY g.at DESC) FILTER (WHERE g.name <> ''))[1], ''),
       coalesce((array_agg(g.username ORDER BY g.at DESC) FILTER (WHERE g.username <> ''))[1], ''), min(g.at), max(g.at)
FROM (
    SELECT r.connection_id, r.phone, r.name, r.username, r.at, coalesce(known.user_id, r.user_id) AS who
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(connection_id bigint, user_id text, phone text, name text,
                                                  username text, at timestamptz)
    JOIN phone_configs p ON p.id = r.connection_id
    LEFT JOIN LATERAL (
        -- A sender that is named by a number alone (`user_id` is the number) may be known by a user id with that
        -- number: the row with a real user id comes first.
        SELECT user_id FROM contacts c
        WHERE r.user_id = r.phone AND c.connection_id = r.connection_id AND c.phone = r.phone
        ORDER BY c.user_id <> r.user_id DESC, c.last_seen_at DESC LIMIT 1
    ) AS known ON true
) AS g
GROUP BY g.connection_id, g.who ORDER BY g.connection_id, g.who
ON CONFLICT (connection_id, user_id) DO UPDATE
-- a webhook that comes late does not bring a former number back
SET phone = CASE WHEN excluded.last_seen_at >= contacts.last_seen_at THEN coalesce(excluded.phone, contacts.phone)
                 ELSE coalesce(contacts.phone, excluded.phone) END,
    name = CASE WHEN excluded.name <> '' THEN excluded.name ELSE contacts.name END,
    username = CASE WHEN excluded.username <> '' THEN excluded.username ELSE contacts.username END,
    first_seen_at = least(contacts.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(contacts.last_seen_at, excluded.last_seen_at);

-- note_marketing --
-- Whether people want marketing messages; the newest choice counts.
INSERT INTO contacts (connection_id, user_id, phone, wants_marketing, marketing_at, first_seen_at, last_seen_at)
SELECT DISTINCT ON (g.connection_id, coalesce(known.user_id, g.user_id)) g.connection_id,
       coalesce(known.user_id, g.user_id), g.phone, g.accepts, g.at, g.at, g.at
FROM jsonb_to_recordset(%(rows)s::jsonb) AS g(connection_id bigint, user_id text, phone text, accepts boolean,
                                              at timestamptz)
LEFT JOIN LATERAL (
    SELECT user_id FROM contacts c WHERE c.connection_id = g.connection_id AND c.phone = g.phone
    ORDER BY c.last_seen_at DESC LIMIT 1
) AS known ON true
JOIN phone_configs p ON p.id = g.connection_id
ORDER BY g.connection_id, coalesce(known.user_id, g.user_id), g.at DESC
ON CONFLICT (connection_id, user_id) DO UPDATE
SET wants_marketing = excluded.wants_marketing, marketing_at = excluded.marketing_at
-- Webhooks are repeated for days: an older choice does not undo a newer one.
WHERE contacts.marketing_at IS NULL OR contacts.marketing_at <= excluded.marketing_at;

-- phones_of --
-- The numbers of people who are named by a user id.
SELECT c.connection_id, c.user_id, c.phone
FROM contacts c
JOIN unnest(%(connection_ids)s::bigint[], %(user_ids)s::text[]) AS g(connection_id, user_id)
    USING (connection_id, user_id)
WHERE c.phone IS NOT NULL;

-- contact_by_id --
-- One person, by user id, number, or a former one of either.
SELECT connection_id, user_id, phone, name, username, former_ids, wants_marketing, marketing_at, first_seen_at,
       last_seen_at
FROM contacts
WHERE connection_id = %(connection_id)s AND (user_id = %(who)s OR phone = %(who)s OR %(who)s = ANY(former_ids))
-- The name of now before a former one: numbers are given to other people.
ORDER BY user_id = %(who)s DESC, phone = %(who)s DESC NULLS LAST LIMIT 1;

-- sent_up_to --
-- Messages of ours in a chat that had left by an instant and may still move to a state.
SELECT m.connection_id, m.provider_id
FROM messages m
WHERE m.connection_id = %(connection_id)s AND m.state = ANY(%(before)s)
  AND m.chat_id = ANY(chat_aliases((SELECT company_id FROM phone_configs WHERE id = %(connection_id)s), %(chat_id)s))
  AND m.provider_id <> ''
  -- A watermark is in the provider's time. The claim is before the send; `sent_at` is when its outcome was written
  -- here, which may be later than the watermark that covers the message.
  AND m.sent_at IS NOT NULL AND coalesce(m.claimed_at, m.sent_at) <= %(at)s
ORDER BY m.id;

-- add_account_events --
-- Write events about accounts, which are applied in the same transaction; one whose name came before is left alone.
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(account_id text, kind text, value jsonb, at timestamptz,
                                                           name text, journal_id bigint)
), new AS (
    -- in one order everywhere, so that two processes never wait for each other's names
    INSERT INTO event_names (name) SELECT name FROM given ORDER BY name
    ON CONFLICT (name) DO NOTHING
    RETURNING name
), noted AS (
    -- Only those whose name was inserted just now. Two events of one name in a batch count once, the earlier one.
    INSERT INTO events (at, subject, type, kind, data)
    SELECT at, 'account', 'account.' || kind, %(kind)s,
           jsonb_build_object('accountId', account_id, 'name', name, 'journalId', journal_id, 'value', value)
    FROM (SELECT DISTINCT ON (name) given.* FROM given JOIN new USING (name) ORDER BY name, at) AS first ORDER BY at
)
SELECT name FROM new;

-- add_inbound_media --
-- Let the files of kept messages be fetched; those that are known already are left alone.
INSERT INTO inbound_media (message_id, company_id, connection_id, process_name, world, source, state, reason)
SELECT i.id, i.company_id, i.connection_id, c.process_name, c.world,
       CASE WHEN i.state = 'deleted' THEN '{}' ELSE r.source END,
       -- its revoke came first: see drop_files_of_deleted
       CASE WHEN i.state = 'deleted' THEN 'refused' ELSE 'pending' END,
       CASE WHEN i.state = 'deleted' THEN 'message_deleted' ELSE '' END
FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(message_id bigint, source jsonb)
JOIN inbound_messages i ON i.id = r.message_id JOIN phone_configs c ON c.id = i.connection_id
ON CONFLICT (message_id) DO NOTHING;

-- take_inbound_media --
-- Make one incarnation the fetcher of files that are due; they are not due again before the lease ends.
WITH due AS (
    -- SKIP LOCKED: two processes that look at once take different files. `not_before` is both the wait and the lease.
    SELECT message_id FROM inbound_media
    WHERE process_name = %(kind)s AND state = 'pending' AND not_before <= now()
      -- a browser session's files are fetched by its page
      AND NOT EXISTS (SELECT FROM inbound_messages i JOIN phone_configs c ON c.id = i.connection_id
                      WHERE i.id = message_id AND c.session_host <> split_part(%(incarnation)s, '@', 2))
    ORDER BY not_before LIMIT %(most)s FOR UPDATE SKIP LOCKED
)
UPDATE inbound_media m
SET attempts = m.attempts + 1, incarnation = %(incarnation)s, not_before = now() + make_interval(secs => %(lease_s)s),
    updated_at = now()
FROM due, inbound_messages i
WHERE m.message_id = due.message_id AND i.id = m.message_id
RETURNING m.message_id, m.company_id, m.connection_id, m.world, i.type, m.source, m.attempts;

-- finish_inbound_media --
-- Write the outcome of fetching one file; only by the incarnation that took it last.
UPDATE inbound_media
SET state = %(state)s, sha256 = %(sha256)s, mimetype = %(mimetype)s, size = %(size)s, reason = %(reason)s,
    not_before = CASE WHEN %(state)s = 'pending' THEN now() + make_interval(secs => %(after_s)s) ELSE not_before END,
    updated_at = now()
-- The fence is the incarnation and the attempt: after its lease ended, a slow fetcher must not overwrite the outcome of
-- the next one, which may be a later attempt of its own process.
WHERE message_id = %(message_id)s AND incarnation = %(incarnation)s AND attempts = %(attempts)s AND state = 'pending'
RETURNING message_id;

-- release_inbound_media --
-- Give back what earlier lives of this slot were fetching.
UPDATE inbound_media SET not_before = now(), updated_at = now()
-- `reason = ''` marks a lease, in contrast to a wait for a retry: a fetch that failed has noted why, and its wait
-- stays.
WHERE process_name = %(kind)s AND state = 'pending' AND not_before > now() AND attempts > 0 AND reason = ''
  -- The dot ends the slot's name. A slot of another host has the same one; without a host it is of the version before.
  AND starts_with(incarnation, %(slot)s || '.') AND incarnation <> %(living)s
  AND split_part(incarnation, '@', 2) IN (split_part(%(living)s, '@', 2), '')
RETURNING message_id;

-- inbound_media_of --
-- What is known about the files of messages.
SELECT message_id, state, sha256, mimetype, size, reason, attempts FROM inbound_media
WHERE message_id = ANY(%(ids)s::bigint[]);

-- inbound_media_backlog --
-- How many files wait to be fetched.
SELECT count(*) AS files FROM inbound_media WHERE process_name = %(kind)s AND state = 'pending';

-- journal_backlog --
-- How many raw events of a kind wait to be processed, and since when the oldest does.
SELECT count(*) AS events, coalesce(extract(epoch FROM now() - min(received_at)), 0)::double precision AS oldest_s
FROM inbound_journal WHERE process_name = %(kind)s AND processed_at IS NULL;

-- journal_rows --
-- Raw events, newest first, without their bodies: all, or those that were named, failed, or came within a time.
SELECT id, process_name, source, connection_id, received_at, processed_at, attempts, outcome, length(body) AS size
FROM inbound_journal
WHERE process_name = %(kind)s AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s::bigint[]))
  AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR received_at < %(until)s)
  AND (NOT %(named)s OR outcome <> '') AND (NOT %(failed)s OR outcome LIKE 'failed: %%')
  AND (NOT %(waiting)s OR processed_at IS NULL)
  AND (%(words)s = '' OR strpos(outcome, %(words)s) > 0)
  AND (%(below)s::bigint IS NULL OR id < %(below)s)
ORDER BY id DESC LIMIT %(most)s;

-- journal_row --
-- One raw event with its body.
SELECT id, process_name, source, connection_id, received_at, processed_at, attempts, outcome, body FROM inbound_journal
WHERE id = %(id)s;

-- journal_row_of_message --
-- The raw event that a received message came with.
SELECT j.id, j.process_name, j.source, j.connection_id, j.received_at, j.processed_at, j.attempts, j.outcome, j.body
FROM inbound_messages i JOIN inbound_journal j ON j.id = i.journal_id
WHERE i.company_id = %(company_id)s AND i.id = %(message_id)s;

-- replay_journal --
-- Let raw events be processed again; those that wait are left alone.
UPDATE inbound_journal SET processed_at = NULL
WHERE id = ANY(%(ids)s::bigint[]) AND processed_at IS NOT NULL
RETURNING id;

-- replay_unowned --
-- Let raw events be processed again that named an account of a connection which was not proved to have it then.
UPDATE inbound_journal j SET processed_at = NULL
FROM phone_configs c
WHERE c.id = %(connection_id)s AND j.process_name = c.process_name AND j.processed_at IS NOT NULL AND j.outcome <> ''
  -- Seven days: as long as Meta repeats a webhook; what is older is history for the customer. Never before the
  -- connection was made: those events may be another owner's.
  AND strpos(j.outcome, %(problem)s) > 0 AND j.received_at >= greatest(c.created_at, now() - interval '7 days')
  -- The raw body has the id in quotes, whatever its shape; a false hit is only processed again, which changes nothing.
  AND EXISTS (SELECT FROM unnest(c.proved_ids) AS id WHERE position(convert_to('"' || id || '"', 'UTF8') IN j.body) > 0)
RETURNING j.id;

-- journal_outcomes --
-- How raw events went, as far as they have been processed.
SELECT id, processed_at IS NOT NULL AS is_processed, outcome FROM inbound_journal WHERE id = ANY(%(ids)s::bigint[]);

-- replay_inbound_media --
-- Let files that could not be fetched be fetched again.
UPDATE inbound_media SET state = 'pending', attempts = 0, not_before = now(), reason = '', updated_at = now()
-- In an array and with a limit: an operator may name no ids, and then each call moves a part in a short transaction.
WHERE message_id = ANY(ARRAY(SELECT message_id FROM inbound_media
                             WHERE process_name = %(kind)s AND state IN ('failed', 'refused')
                               -- what was taken back is not fetched again
                               AND reason <> 'message_deleted'
                               AND (%(ids)s::bigint[] IS NULL OR message_id = ANY(%(ids)s::bigint[]))
                             ORDER BY message_id LIMIT %(most)s FOR UPDATE SKIP LOCKED))
RETURNING message_id;

-- inbound_media_rows --
-- Files that could not be fetched, newest first.
SELECT message_id, company_id, connection_id, state, attempts, reason, updated_at FROM inbound_media
WHERE process_name = %(kind)s AND state IN ('failed', 'refused') AND reason <> 'message_deleted'
  AND (%(below)s::bigint IS NULL OR message_id < %(below)s)
ORDER BY message_id DESC LIMIT %(most)s;
