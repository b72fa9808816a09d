-- Pages of what an archive of a company holds: lines in the order of a key, those after `after`, without any secret.
-- The order is that of an index: a page reads no more than it holds.

-- export_company --
-- The company itself.
SELECT id AS key, jsonb_build_object('companyId', id, 'name', name, 'inDoubtPolicy', in_doubt_policy, 'state', state,
                                     'settings', settings, 'createdAt', created_at) AS line
FROM companies WHERE id = %(company_id)s AND id > %(after)s LIMIT %(most)s;

-- export_connections --
-- Connections, removed ones too, without credentials.
SELECT lpad(id::text, 19, '0') AS key,
       jsonb_build_object('id', id::text, 'phoneIndex', phone_index, 'connectionType', connection_type,
                          'status', status, 'accountId', account_id, 'wabaId', waba_id, 'options', options,
                          'createdAt', created_at) AS line
FROM phone_configs WHERE company_id = %(company_id)s AND id > coalesce(nullif(%(after)s, ''), '0')::bigint
ORDER BY id LIMIT %(most)s;

-- export_messages --
-- Messages of ours. No index has those of a company by id: at most `walk` of all companies' are looked at, and a row
-- without a line says how far.
WITH looked AS MATERIALIZED (
    SELECT id, company_id FROM messages WHERE id > coalesce(nullif(%(after)s, ''), '0')::bigint
    ORDER BY id LIMIT %(walk)s
), found AS MATERIALIZED (
    SELECT id FROM looked WHERE company_id = %(company_id)s LIMIT %(most)s
)
SELECT lpad(id::text, 19, '0') AS key,
       jsonb_build_object('id', id::text, 'connectionId', connection_id::text, 'chatId', chat_id, 'type', type,
                          'content', content, 'status', state, 'providerMessageId', provider_id,
                          'errorCode', error_code, 'createdAt', created_at, 'sentAt', sent_at) AS line
FROM messages WHERE id = ANY(ARRAY(SELECT id FROM found))
UNION ALL
SELECT lpad(max(id)::text, 19, '0'), NULL FROM looked
WHERE (SELECT count(*) FROM found) < %(most)s HAVING max(id) IS NOT NULL
ORDER BY key, line NULLS LAST;

-- export_received --
-- Messages that came in.
SELECT lpad(id::text, 19, '0') AS key,
       jsonb_build_object('id', id::text, 'connectionId', connection_id::text, 'chatId', chat_id, 'sender', sender,
                          'senderName', sender_name, 'fromMe', from_me, 'type', type, 'content', content,
                          'context', context, 'status', state, 'providerMessageId', provider_id, 'at', at,
                          'createdAt', created_at) AS line
FROM inbound_messages WHERE company_id = %(company_id)s AND id > coalesce(nullif(%(after)s, ''), '0')::bigint
ORDER BY id LIMIT %(most)s;

-- export_conversations --
-- Conversations, each with how many times the assistant was asked.
SELECT lpad(c.id::text, 19, '0') AS key,
       jsonb_build_object('id', c.id::text, 'connectionId', c.connection_id::text, 'chatId', c.chat_id,
                          'state', c.state, 'stateAt', c.state_at, 'reason', c.reason, 'assignee', c.assignee,
                          'lastInboundAt', c.last_inbound_at, 'formerIds', c.former_ids, 'createdAt', c.created_at,
                          'turns', (SELECT count(*) FROM turns t WHERE t.conversation_id = c.id)) AS line
FROM conversations c WHERE c.company_id = %(company_id)s AND c.id > coalesce(nullif(%(after)s, ''), '0')::bigint
ORDER BY c.id LIMIT %(most)s;

-- export_contacts --
-- People as each connection sees them, one connection after the other.
SELECT lpad(c.id::text, 19, '0') || ' ' || p.user_id AS key,
       jsonb_build_object('connectionId', p.connection_id::text, 'userId', p.user_id, 'phone', p.phone,
                          'name', p.name, 'username', p.username, 'formerIds', p.former_ids,
                          'wantsMarketing', p.wants_marketing, 'firstSeenAt', p.first_seen_at,
                          'lastSeenAt', p.last_seen_at) AS line
FROM (SELECT id, CASE WHEN id = left(nullif(%(after)s, ''), 19)::bigint THEN substr(%(after)s, 21) ELSE '' END AS after
      FROM phone_configs
      WHERE company_id = %(company_id)s AND id >= coalesce(left(nullif(%(after)s, ''), 19), '0')::bigint) AS c
CROSS JOIN LATERAL (SELECT * FROM contacts WHERE connection_id = c.id AND user_id > c.after
                    ORDER BY user_id LIMIT %(most)s) AS p
ORDER BY c.id, p.user_id LIMIT %(most)s;

-- export_people --
-- People over all connections: what the company noted about them, and how they call themselves. Their ids are in
-- `contact-aliases`, by `personId`.
SELECT lpad(id::text, 19, '0') AS key,
       jsonb_build_object('personId', id::text, 'name', name, 'profileName', profile_name, 'username', username,
                          'tags', tags, 'customFields', fields, 'firstSeenAt', first_seen_at,
                          'lastSeenAt', last_seen_at, 'createdAt', created_at) AS line
FROM people WHERE company_id = %(company_id)s AND id > coalesce(nullif(%(after)s, ''), '0')::bigint
ORDER BY id LIMIT %(most)s;

-- export_aliases --
-- Which ids are one person.
SELECT alias AS key, jsonb_build_object('alias', alias, 'personId', person_id::text, 'learnedAt', learned_at) AS line
FROM contact_aliases WHERE company_id = %(company_id)s AND alias > %(after)s ORDER BY alias LIMIT %(most)s;

-- export_files --
-- Files; the archive holds their bytes too.
SELECT sha256 AS key, jsonb_build_object('sha256', sha256, 'size', size, 'mimetype', mimetype, 'filename', filename,
                                         'createdAt', created_at) AS line
FROM media_files WHERE company_id = %(company_id)s AND sha256 > %(after)s ORDER BY sha256 LIMIT %(most)s;

-- export_documents --
-- Documents; the archive holds their originals too.
SELECT sha256 AS key,
       jsonb_build_object('id', id::text, 'title', title, 'sha256', sha256, 'size', size, 'mimetype', mimetype,
                          'status', state, 'createdAt', created_at) AS line
FROM documents WHERE company_id = %(company_id)s AND state <> 'deleting' AND sha256 > %(after)s
ORDER BY sha256 LIMIT %(most)s;

-- note_export --
-- Note how far an export is. No row: it was ended, with its company or by its time.
UPDATE tasks SET progress = %(progress)s
WHERE id = %(task_id)s AND incarnation = %(incarnation)s AND state = 'running' RETURNING id;

-- add_export --
-- Keep an archive that is in storage; one of an earlier life of the task is returned in its place. No row: the task was
-- ended.
WITH open AS (
    -- Locked: a deletion of the company, which ends its tasks, comes before or after.
    SELECT id FROM tasks WHERE id = %(task_id)s AND incarnation = %(incarnation)s AND state = 'running' FOR SHARE
)
INSERT INTO company_exports AS e (company_id, task_id, sha256, size, expires_at)
SELECT %(company_id)s, open.id, %(sha256)s, %(size)s, now() + make_interval(secs => %(kept_s)s) FROM open
ON CONFLICT (task_id) DO UPDATE SET sha256 = excluded.sha256, size = excluded.size, expires_at = excluded.expires_at
RETURNING id, expires_at;

-- expired_exports --
-- Archives whose time is over; `is_shared`: another one has the same bytes, since nothing had changed between them.
SELECT e.id, e.company_id, e.sha256,
       EXISTS (SELECT FROM company_exports o
               WHERE o.company_id = e.company_id AND o.sha256 = e.sha256 AND o.id <> e.id) AS is_shared
FROM company_exports e WHERE e.expires_at < now() ORDER BY e.id LIMIT %(most)s;

-- archives_with --
-- Archives of a company with the same bytes.
SELECT id FROM company_exports WHERE company_id = %(company_id)s AND sha256 = %(sha256)s;

-- remove_export --
-- Forget an archive whose bytes are gone.
DELETE FROM company_exports WHERE id = %(id)s;
