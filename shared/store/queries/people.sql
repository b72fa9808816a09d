-- learn_aliases --
-- Link pairs of ids that name one person; those that are linked already cost one look. What contradicts what is known
-- joins no chats and is an event, once.
WITH given AS (
    SELECT p.company_id, p.process_name, g.*
    FROM unnest(%(connection_ids)s::bigint[], %(firsts)s::text[], %(seconds)s::text[], %(instants)s::timestamptz[],
                %(moves)s::boolean[]) AS g(connection_id, first, second, at, moves)
    JOIN phone_configs p ON p.id = g.connection_id
    -- `link_aliases` takes a lock for each company. Nearly all pairs are known already, and must not wait for it. Two
    -- looks by the whole key: a join would be planned for the size that the table had when it was analysed last.
    WHERE coalesce((SELECT person_id FROM contact_aliases WHERE company_id = p.company_id AND alias = g.first)
                   <> (SELECT person_id FROM contact_aliases WHERE company_id = p.company_id AND alias = g.second),
                   true)
    -- In one order everywhere: the locks of several companies are taken one after the other, and held to the commit.
    ORDER BY p.company_id, g.first, g.second OFFSET 0
), linked AS MATERIALIZED (
    SELECT given.*, link_aliases(company_id, first, second, at, moves) AS outcome FROM given
), contradictions AS (
    SELECT DISTINCT ON (name) * FROM (
        SELECT linked.*, 'contact:' || md5(concat_ws(' ', company_id, first, second, outcome)) AS name
        FROM linked WHERE outcome IN ('moved', 'refused')
    ) AS named ORDER BY name, at
), new AS (
    -- Each message of the person repeats it.
    INSERT INTO event_names (name) SELECT name FROM contradictions ORDER BY name
    ON CONFLICT (name) DO NOTHING
    RETURNING name
), noted AS (
    INSERT INTO events (subject, type, company_id, kind, connection_id, at, code, data)
    SELECT 'contact', 'contact.contradicted', company_id, process_name, connection_id, at, outcome,
           jsonb_build_object('aliases', jsonb_build_array(first, second))
    FROM contradictions JOIN new USING (name)
)
SELECT connection_id, outcome FROM contradictions JOIN new USING (name);

-- chats_of_quoted --
-- Messages that came in and name one of ours that stands in another chat: the quoted one was sent to their sender.
SELECT i.connection_id, i.chat_id, m.chat_id AS quoted_chat_id, i.at
FROM inbound_messages i
JOIN messages m ON m.connection_id = i.connection_id AND m.provider_id = i.content ->> 'quoted' AND m.provider_id <> ''
WHERE i.id = ANY(%(ids)s::bigint[]) AND NOT i.from_me AND m.chat_id <> i.chat_id
  -- Every customer who knows an id can quote it. Where the provider has named the person of the quoted chat, or the
  -- number of the sender, a quotation joins no other person to it.
  AND NOT EXISTS (SELECT FROM contacts c
                  -- two spellings of a number are compared by their digits
                  WHERE i.chat_id !~ '^[0-9]+$' AND c.connection_id = i.connection_id AND c.phone IS NOT NULL
                    AND (c.phone = m.chat_id AND c.user_id NOT IN (m.chat_id, i.chat_id)
                         OR c.user_id = i.chat_id AND NOT is_one_chat(i.company_id, c.phone, m.chat_id)));

-- resolve_scoped_ids --
-- Give what new messages name (the quoted one, or the one that they edit or react to) the id under which it is shown,
-- where it was named by another scoped spelling of the same id: it then has the same token, within the chat.
WITH named AS (
    -- Ids that the new messages name, if they have WhatsApp's form.
    SELECT i.id, i.company_id, i.connection_id, i.chat_id, field.name, i.content ->> field.name AS given
    FROM inbound_messages i CROSS JOIN (VALUES ('quoted'), ('target')) AS field(name)
    WHERE i.id = ANY(%(ids)s::bigint[]) AND i.content ->> field.name LIKE 'wamid.%%'
), unknown AS (
    -- Those that no message has as they stand; the others need no second look.
    SELECT named.*, wamid_token(given) AS token FROM named
    WHERE NOT EXISTS (SELECT FROM messages m
                      WHERE m.provider_id = named.given AND m.provider_id <> ''
                        AND m.connection_id = named.connection_id)
      AND NOT EXISTS (SELECT FROM inbound_messages o
                      WHERE o.connection_id = named.connection_id AND o.provider_id = named.given)
), shown AS (
    -- The message with the same token in any chat of the person. The token alone is not unique across chats, so the
    -- company, the chat and the connection are compared too, which also lets an index serve the look.
    SELECT DISTINCT ON (u.id, u.name) u.id, u.name, hit.provider_id
    FROM unknown u
    CROSS JOIN LATERAL (
        SELECT m.provider_id, m.created_at AS at FROM messages m
        WHERE m.company_id = u.company_id AND m.chat_id = ANY(chat_aliases(u.company_id, u.chat_id))
          AND m.connection_id = u.connection_id
          AND wamid_token(m.provider_id) = u.token
        UNION ALL
        SELECT o.provider_id, o.at FROM inbound_messages o
        WHERE o.company_id = u.company_id AND o.chat_id = ANY(chat_aliases(u.company_id, u.chat_id))
          AND o.connection_id = u.connection_id AND o.id <> u.id
          AND wamid_token(o.provider_id) = u.token
    ) AS hit
    WHERE u.token IS NOT NULL ORDER BY u.id, u.name, hit.at DESC
)
UPDATE inbound_messages i SET content = i.content || changes.content
FROM (SELECT id, jsonb_object_agg(name, provider_id) AS content FROM shown GROUP BY id) AS changes
WHERE i.id = changes.id;

-- edit_sent --
-- Messages of ours whose words were changed by hand, on the phone or in the business's app, in the chat that was named
-- there; the newest edit by the provider's time counts.
WITH given AS (
    -- The newest edit of each message in this batch.
    SELECT DISTINCT ON (i.connection_id, i.content ->> 'target', i.chat_id)
           i.connection_id, i.content ->> 'target' AS target, i.chat_id, i.at,
           CASE WHEN i.content ? 'body' THEN i.content ->> 'body'
                ELSE coalesce(i.content #>> '{content,body}', i.content #>> '{content,caption}') END AS words
    FROM inbound_messages i WHERE i.id = ANY(%(ids)s::bigint[]) AND i.type = 'edit' AND i.from_me
    ORDER BY i.connection_id, i.content ->> 'target', i.chat_id, i.at DESC, i.id DESC
), moved AS (
    -- Only over an older edit: a webhook that comes late does not bring the earlier text back.
    UPDATE messages m
    SET content = m.content || jsonb_build_object(CASE WHEN m.type = 'text' THEN 'body' ELSE 'caption' END, g.words,
                                                  'edited_at', g.at),
        updated_at = now()
    FROM given g
    WHERE m.connection_id = g.connection_id AND m.provider_id = g.target AND m.provider_id <> '' AND g.words IS NOT NULL
      AND is_one_chat(m.company_id, m.chat_id, g.chat_id)
      AND m.state IN ('sent', 'delivered', 'read') AND coalesce((m.content ->> 'edited_at')::timestamptz < g.at, true)
    RETURNING m.id, m.company_id, m.process_name, m.connection_id, m.state, m.attempt
)
INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt, code)
SELECT 'message', 'message.edited', company_id, process_name, connection_id, id, state, attempt, 'edited_by_hand'
FROM moved;
