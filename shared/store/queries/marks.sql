-- reactions_to --
-- The newest reaction of each person to messages, each named by connection, chat and the provider's id. One counts only
-- in the chat of its message: ids are no secret, and who knows one does not take part in its chat.
WITH given AS (
    SELECT * FROM unnest(%(connection_ids)s::bigint[], %(chat_ids)s::text[], %(targets)s::text[])
                  AS g(connection_id, chat_id, target)
), reactions AS (
    SELECT reaction_id AS id FROM reactions_to(%(company_id)s, %(connection_ids)s::bigint[], %(targets)s::text[])
)
SELECT connection_id, target, sender, emoji FROM (
    SELECT DISTINCT ON (connection_id, target, person) connection_id, target, sender, emoji FROM (
        SELECT g.connection_id, g.target, '' AS sender, '' AS person, m.content ->> 'emoji' AS emoji,
               coalesce(m.sent_at, m.created_at) AS at, m.id
        FROM reactions
        JOIN messages m ON m.id = reactions.id
        JOIN given g ON g.target = m.content ->> 'target' AND g.connection_id = m.connection_id
             AND is_one_chat(m.company_id, m.chat_id, g.chat_id)
        WHERE m.company_id = %(company_id)s AND m.type = 'reaction' AND m.state IN ('sent', 'delivered', 'read')
        UNION ALL
        SELECT g.connection_id, g.target, CASE WHEN i.from_me THEN '' ELSE i.sender END,
               -- a person may react under one id and take it back under another
               CASE WHEN i.from_me THEN ''
                    ELSE (SELECT min(alias)
                          FROM unnest(chat_aliases(i.company_id, bare_number(i.sender))) AS alias) END,
               i.content ->> 'emoji', i.at, i.id
        FROM reactions
        JOIN inbound_messages i ON i.id = reactions.id
        JOIN given g ON g.target = i.content ->> 'target' AND g.connection_id = i.connection_id
             AND is_one_chat(i.company_id, i.chat_id, g.chat_id)
        WHERE i.company_id = %(company_id)s AND i.type = 'reaction'
    ) AS said
    -- By the providers' time: webhooks come in any order. An empty emoji takes a reaction back, so it is left out only
    -- after the newest was chosen.
    ORDER BY connection_id, target, person, at DESC, id DESC
) AS last
WHERE emoji <> '' ORDER BY target, sender;

-- received_files --
-- The state of files that came with messages.
SELECT message_id, state, sha256, mimetype, size, reason FROM inbound_media WHERE message_id = ANY(%(ids)s::bigint[]);

-- received_by_id --
-- One message of a company that came in, or that was written on its own phone.
SELECT i.id, CASE WHEN i.from_me THEN 'out' ELSE 'in' END AS direction, i.company_id, i.connection_id,
       c.phone_index, c.connection_type,
       i.chat_id, chat_aliases(i.company_id, i.chat_id) AS chat_ids, i.type, i.content,
       i.context, i.state, i.provider_id, i.sender, i.sender_name, i.sender_username,
       i.at, i.created_at, true AS came_in
FROM inbound_messages i JOIN phone_configs c ON c.id = i.connection_id
WHERE i.company_id = %(company_id)s AND i.id = %(id)s;

-- quoted_messages --
-- Messages that others quote, each named by connection, chat and the provider's id. One is shown only in its own chat:
-- ids are no secret.
SELECT g.connection_id, g.chat_id AS asked_chat_id, g.provider_id, found.id, found.direction, found.type, found.state,
       found.content
FROM unnest(%(connection_ids)s::bigint[], %(chat_ids)s::text[], %(provider_ids)s::text[])
     AS g(connection_id, chat_id, provider_id)
CROSS JOIN LATERAL (
    SELECT m.id, 'out' AS direction, m.type, m.state, m.content FROM messages m
    WHERE m.provider_id = g.provider_id AND m.provider_id <> '' AND m.connection_id = g.connection_id
      AND m.company_id = %(company_id)s AND is_one_chat(m.company_id, g.chat_id, m.chat_id)
    UNION ALL
    SELECT i.id, CASE WHEN i.from_me THEN 'out' ELSE 'in' END, i.type, i.state, i.content FROM inbound_messages i
    WHERE i.connection_id = g.connection_id AND i.provider_id = g.provider_id
      AND i.company_id = %(company_id)s AND is_one_chat(i.company_id, g.chat_id, i.chat_id)
    LIMIT 1
) AS found;
