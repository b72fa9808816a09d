-- deleted_targets --
-- Messages in both directions that are deleted, and that the given edits and deletions name.
SELECT t.id
FROM inbound_messages c JOIN inbound_messages t
    ON t.connection_id = c.connection_id AND t.provider_id = c.content ->> 'target' AND t.state = 'deleted'
WHERE c.id = ANY(%(ids)s::bigint[]) AND c.type IN ('edit', 'revoke')
UNION
SELECT m.id
FROM inbound_messages c JOIN messages m
    ON m.connection_id = c.connection_id AND m.provider_id = c.content ->> 'target' AND m.provider_id <> ''
   AND m.state = 'deleted'
WHERE c.id = ANY(%(ids)s::bigint[]) AND c.type IN ('edit', 'revoke');

-- erase_deleted --
-- Remove the content of those of the given messages that are deleted for everyone, and the words of their edits; let
-- them be removed from raw events too.
WITH gone AS (
    SELECT id, company_id, connection_id, provider_id, chat_id, '' AS sender, true AS from_me,
           NULL::bigint AS journal_id, content -> 'deleted_at' AS deleted_at
    FROM messages
    WHERE id = ANY(%(ids)s::bigint[]) AND state = 'deleted'
      -- Cancelled before it left: no customer has seen it, and a late proof may show that an earlier attempt did leave.
      AND error_code <> 'cancelled'
    UNION ALL
    SELECT id, company_id, connection_id, provider_id, chat_id, sender, from_me, journal_id, content -> 'deleted_at'
    FROM inbound_messages WHERE id = ANY(%(ids)s::bigint[]) AND state = 'deleted'
), edits AS (
    SELECT e.id, e.connection_id, e.provider_id, e.journal_id, gone.deleted_at
    FROM gone JOIN inbound_messages e
        ON e.connection_id = gone.connection_id AND e.type = 'edit'
       AND e.content ->> 'target' IN (gone.provider_id, regexp_replace(gone.provider_id, '#[0-9]{1,3}$', ''))
    -- a stranger's edit of it has the stranger's own words
    WHERE is_by_author(gone.company_id, gone.chat_id, gone.sender, gone.from_me, e.chat_id, e.sender, e.from_me)
), edits_sent AS (
    -- those that have not left may still need their words
    SELECT e.id, e.connection_id, e.provider_id, gone.deleted_at
    FROM gone JOIN messages e
        ON e.connection_id = gone.connection_id AND e.type = 'edit' AND e.content ->> 'target' = gone.provider_id
    WHERE gone.provider_id <> '' AND e.state IN ('sent', 'delivered', 'read')
), sent AS (
    UPDATE messages m SET content = erased_content(m.content || jsonb_build_object('deleted_at', one.deleted_at))
    FROM (SELECT id, deleted_at FROM gone UNION SELECT id, deleted_at FROM edits_sent) AS one
    WHERE m.id = one.id AND NOT m.content ? 'erased'
), received AS (
    UPDATE inbound_messages i
    SET content = erased_content(i.content || jsonb_build_object('deleted_at', one.deleted_at)), context = '{}'
    FROM (SELECT id, deleted_at FROM gone UNION SELECT id, deleted_at FROM edits) AS one
    WHERE i.id = one.id AND NOT i.content ? 'erased'
), files AS (
    -- with it goes the name that the sender gave the file
    UPDATE inbound_media f SET source = '{}' FROM gone WHERE f.message_id = gone.id AND f.source <> '{}'
), noted AS (
    INSERT INTO journal_copies (connection_id, provider_id, journal_id, is_due)
    SELECT connection_id, provider_id, journal_id, true FROM gone WHERE journal_id IS NOT NULL
    UNION
    SELECT connection_id, provider_id, journal_id, true FROM edits WHERE journal_id IS NOT NULL
    ON CONFLICT DO NOTHING
)
UPDATE journal_copies c SET is_due = true
FROM (SELECT connection_id, provider_id FROM gone UNION SELECT connection_id, provider_id FROM edits
      UNION SELECT connection_id, provider_id FROM edits_sent) AS one
WHERE c.connection_id = one.connection_id AND c.provider_id = one.provider_id AND NOT c.is_due;

-- note_copies --
-- Note raw events in which messages came that are kept already; from those of deleted ones they are removed.
WITH given AS (
    SELECT * FROM unnest(%(connection_ids)s::bigint[], %(provider_ids)s::text[], %(journal_ids)s::bigint[])
        AS g(connection_id, provider_id, journal_id)
), received AS (
    -- Locked: a deletion that is under way is waited for, and one that comes later finds the copy.
    SELECT i.connection_id, i.provider_id, i.journal_id, i.content ? 'erased' AS is_erased FROM inbound_messages i
    WHERE i.id = ANY(ARRAY(SELECT t.id FROM inbound_messages t JOIN given g USING (connection_id, provider_id)))
    ORDER BY i.id FOR SHARE
), sent AS (
    SELECT m.connection_id, m.provider_id, m.content ? 'erased' AS is_erased FROM messages m
    WHERE m.id = ANY(ARRAY(SELECT t.id FROM messages t JOIN given g USING (connection_id, provider_id)
                           WHERE t.provider_id <> ''))
    ORDER BY m.id FOR SHARE
)
INSERT INTO journal_copies AS c (connection_id, provider_id, journal_id, is_due)
SELECT DISTINCT g.connection_id, g.provider_id, g.journal_id,
       coalesce((SELECT bool_or(is_erased) FROM received r
                 WHERE r.connection_id = g.connection_id AND r.provider_id = g.provider_id), false)
       OR coalesce((SELECT bool_or(is_erased) FROM sent s
                    WHERE s.connection_id = g.connection_id AND s.provider_id = g.provider_id), false)
FROM given g
-- its own row is known by the message itself: a replay
WHERE NOT EXISTS (SELECT FROM received r WHERE r.connection_id = g.connection_id AND r.provider_id = g.provider_id
                                           AND r.journal_id = g.journal_id AND NOT r.is_erased)
ON CONFLICT (connection_id, provider_id, journal_id) DO UPDATE SET is_due = true WHERE excluded.is_due AND NOT c.is_due;

-- due_copies --
-- Raw events from which messages have to be removed, with their bodies, locked; those that are being processed are left
-- for the next look.
SELECT c.connection_id, c.provider_id, c.journal_id, coalesce(e.content ->> 'target', '') AS target, j.body
FROM journal_copies c
JOIN inbound_journal j ON j.id = c.journal_id
LEFT JOIN inbound_messages e
    ON e.connection_id = c.connection_id AND e.provider_id = c.provider_id AND e.type = 'edit'
WHERE c.is_due ORDER BY c.journal_id LIMIT %(most)s FOR UPDATE OF j, c SKIP LOCKED;

-- replace_bodies --
-- Give raw events other bodies.
UPDATE inbound_journal j SET body = g.body
FROM unnest(%(ids)s::bigint[], %(bodies)s::bytea[]) AS g(id, body) WHERE j.id = g.id;

-- forget_copies --
-- Forget copies that hold their messages no more.
DELETE FROM journal_copies c
USING unnest(%(connection_ids)s::bigint[], %(provider_ids)s::text[], %(journal_ids)s::bigint[])
    AS g(connection_id, provider_id, journal_id)
WHERE c.connection_id = g.connection_id AND c.provider_id = g.provider_id AND c.journal_id = g.journal_id;

-- prune_copies --
-- Forget copies whose raw events retention has deleted.
DELETE FROM journal_copies c WHERE NOT EXISTS (SELECT FROM inbound_journal j WHERE j.id = c.journal_id);

-- park_changes --
-- Let the given edits and deletions be looked at again, unless they have found their message: its id at the provider
-- may not be stored yet, its webhook may be processed elsewhere just now, or an alias of its chat may be learned later.
UPDATE inbound_messages c
SET look_again_at = CASE
        WHEN EXISTS (SELECT FROM inbound_messages t
                     WHERE t.connection_id = c.connection_id AND t.provider_id = c.content ->> 'target'
                       AND is_by_author(t.company_id, t.chat_id, t.sender, t.from_me, c.chat_id, c.sender, c.from_me))
          OR c.from_me AND EXISTS (
                 SELECT FROM messages m
                 WHERE m.connection_id = c.connection_id AND m.provider_id = c.content ->> 'target'
                   AND m.provider_id <> '' AND m.state IN ('sent', 'delivered', 'read', 'deleted')
                   AND is_one_chat(m.company_id, m.chat_id, c.chat_id))
          -- seven days, as long as providers repeat a webhook
          OR now() > c.created_at + interval '7 days' THEN NULL
        -- by its age, so that what never finds anything costs some thirty looks in all
        ELSE now() + greatest(interval '2 seconds', (now() - c.created_at) / 2) END
WHERE c.id = ANY(%(ids)s::bigint[]) AND c.type IN ('edit', 'revoke');

-- parked_changes --
-- Edits and deletions that are to be looked at again now.
SELECT id FROM inbound_messages WHERE look_again_at <= now() ORDER BY look_again_at LIMIT %(most)s;

-- take_parked_changes --
-- Those of the given edits and deletions that are still to be looked at again now, locked.
SELECT id, type, from_me FROM inbound_messages
WHERE id = ANY(%(ids)s::bigint[]) AND look_again_at <= now() ORDER BY id FOR UPDATE SKIP LOCKED;

-- unpark_change --
-- Look at an edit or a deletion no more.
UPDATE inbound_messages SET look_again_at = NULL WHERE id = %(id)s;
