-- Pages of what an archive of a company holds: lines in the order of a key, those after `after`, without any secret.

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
-- Messages of ours.
SELECT lpad(id::text, 19, '0') AS key,
       jsonb_build_object('id', id::text, 'connectionId', connection_id::text, 'chatId', chat_id, 'type', type,
                          'content', content, 'status', state, 'providerMessageId', provider_id,
                          'errorCode', error_code, 'createdAt', created_at, 'sentAt', sent_at) AS line
FROM messages WHERE company_id = %(company_id)s AND id > coalesce(nullif(%(after)s, ''), '0')::bigint
ORDER BY id LIMIT %(most)s;

-- export_received --
-- Messages that came in.
SELECT lpad(id::text, 19, '0') AS key,
       jsonb_build_object('id', id::text, 'connectionId', connection_id::text, 'chatId', chat_id, 'sender', sender,
                          'senderName', sender_name, 'fromMe', from_me, 'type', type, 'content', content,
                          'context', context, 'status', state, 'providerMessageId', provider_id, 'at', at,
                          'createdAt', created_at) AS line
FROM inbound_messages WHERE company_id = %(company_id)s AND id > coalesce(nullif(%(after)s, ''), '0')::bigint
ORDER BY id LIMIT %(most)s;

-- export_contacts --
-- People as each connection sees them.
SELECT key, line FROM (
    SELECT lpad(p.connection_id::text, 19, '0') || ' ' || p.user_id AS key,
           jsonb_build_object('connectionId', p.connection_id::text, 'userId', p.user_id, 'phone', p.phone,
                              'name', p.name, 'username', p.username, 'formerIds', p.former_ids,
                              'wantsMarketing', p.wants_marketing, 'firstSeenAt', p.first_seen_at,
                              'lastSeenAt', p.last_seen_at) AS line
    FROM contacts p JOIN phone_configs c ON c.id = p.connection_id WHERE c.company_id = %(company_id)s
) AS found
WHERE key COLLATE "C" > %(after)s ORDER BY key COLLATE "C" LIMIT %(most)s;

-- export_aliases --
-- Which ids are one person.
SELECT alias AS key, jsonb_build_object('alias', alias, 'personId', person_id::text, 'learnedAt', learned_at) AS line
FROM contact_aliases WHERE company_id = %(company_id)s AND alias COLLATE "C" > %(after)s
ORDER BY alias COLLATE "C" LIMIT %(most)s;

-- export_files --
-- Files; the archive holds their bytes too.
SELECT sha256 AS key, jsonb_build_object('sha256', sha256, 'size', size, 'mimetype', mimetype, 'filename', filename,
                                         'createdAt', created_at) AS line
FROM media_files WHERE company_id = %(company_id)s AND sha256 > %(after)s ORDER BY sha256 LIMIT %(most)s;

-- note_export --
-- Note how far an export is.
UPDATE tasks SET progress = %(progress)s
WHERE id = %(task_id)s AND incarnation = %(incarnation)s AND state = 'running';

-- add_export --
-- Keep an archive that is in storage; one of an earlier life of the task is returned in its place.
INSERT INTO company_exports AS e (company_id, task_id, sha256, size, expires_at)
VALUES (%(company_id)s, %(task_id)s, %(sha256)s, %(size)s, now() + make_interval(secs => %(kept_s)s))
ON CONFLICT (task_id) DO UPDATE SET sha256 = excluded.sha256, size = excluded.size, expires_at = excluded.expires_at
RETURNING id, expires_at;

-- expired_exports --
-- Archives whose time is over.
SELECT id, company_id, sha256 FROM company_exports WHERE expires_at < now() ORDER BY id LIMIT %(most)s;

-- remove_export --
-- Forget an archive whose bytes are gone.
DELETE FROM company_exports WHERE id = %(id)s;
