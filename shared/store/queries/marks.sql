-- reactions_to --
-- The newest reaction of each person to messages, by the providers' ids of these.
SELECT target, sender, emoji FROM (
    SELECT DISTINCT ON (target, sender) target, sender, emoji FROM (
        SELECT m.content ->> 'target' AS target, '' AS sender, m.content ->> 'emoji' AS emoji,
               coalesce(m.sent_at, m.created_at) AS at, m.id
        FROM messages m
        WHERE m.type = 'reaction' AND m.content ->> 'target' = ANY(%(targets)s) AND m.company_id = %(company_id)s
          AND m.state IN ('sent', 'delivered', 'read')
        UNION ALL
        SELECT i.content ->> 'target', CASE WHEN i.from_me THEN '' ELSE i.sender END, i.content ->> 'emoji', i.at, i.id
        FROM inbound_messages i
        WHERE i.type = 'reaction' AND i.content ->> 'target' = ANY(%(targets)s) AND i.company_id = %(company_id)s
    ) AS said
    -- By the providers' time: webhooks come in any order. An empty emoji takes a reaction back, so it is left out only
    -- after the newest was chosen.
    ORDER BY target, sender, at DESC, id DESC
) AS last
WHERE emoji <> '' ORDER BY target, sender;

-- received_files --
-- The state of files that came with messages.
SELECT message_id, state, sha256, mimetype, size, reason FROM inbound_media WHERE message_id = ANY(%(ids)s::bigint[]);

-- received_by_id --
-- One message of a company that came in, or that was written on its own phone.
SELECT i.id, CASE WHEN i.from_me THEN 'out' ELSE 'in' END AS direction, i.company_id, c.phone_index, c.connection_type,
       i.chat_id, chat_aliases(i.company_id, i.chat_id) AS chat_ids, i.type, i.content,
       i.context, i.state, i.provider_id, i.sender, i.sender_name, i.at, i.created_at, true AS came_in
FROM inbound_messages i JOIN phone_configs c ON c.id = i.connection_id
WHERE i.company_id = %(company_id)s AND i.id = %(id)s;
