-- find_targets --
-- Messages of a company that an id names: ours, or the provider's. What acts on another message is none itself.
SELECT m.id, 'out' AS direction, m.connection_id, c.phone_index, c.connection_type, c.process_name,
       c.status AS connection_status, m.chat_id,
       chat_aliases(m.company_id, m.chat_id) AS chat_ids, m.type,
       m.state, m.provider_id, m.sent_at IS NOT NULL AS was_sent, coalesce(m.world <> c.world, false) AS is_foreign
FROM messages m JOIN phone_configs c ON c.id = m.connection_id
WHERE m.company_id = %(company_id)s AND m.type <> ALL(%(acting)s::text[])
  AND (m.id = %(id)s OR m.provider_id = %(provider_id)s AND m.provider_id <> '')
UNION ALL
SELECT i.id, CASE WHEN i.from_me THEN 'out' ELSE 'in' END, i.connection_id, c.phone_index, c.connection_type,
       c.process_name, c.status, i.chat_id,
       chat_aliases(i.company_id, i.chat_id), i.type,
       i.state, i.provider_id, true, coalesce(i.world <> c.world, false)
FROM inbound_messages i JOIN phone_configs c ON c.id = i.connection_id
WHERE i.company_id = %(company_id)s AND i.type <> ALL(%(acting)s::text[])
  AND (i.id = %(id)s OR i.connection_id = ANY(ARRAY(SELECT id FROM phone_configs WHERE company_id = %(company_id)s))
       AND i.provider_id = %(provider_id)s)
-- An id of the provider may be known on several connections; more than a few are of no use to the caller.
ORDER BY 1 LIMIT 20;

-- newest_received --
-- The newest message that came into a chat.
SELECT i.id, i.provider_id FROM inbound_messages i JOIN phone_configs c ON c.id = i.connection_id
WHERE i.company_id = %(company_id)s AND i.chat_id = ANY(chat_aliases(%(company_id)s, %(chat_id)s))
  AND i.connection_id = %(connection_id)s AND NOT i.from_me AND i.type <> ALL(%(acting)s::text[])
  AND coalesce(i.world = c.world, true)
ORDER BY i.at DESC, i.id DESC LIMIT 1;
