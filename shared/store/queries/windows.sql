-- last_received_at --
-- Time of the newest message that came into a chat.
SELECT max(at) AS at FROM inbound_messages
WHERE company_id = %(company_id)s AND chat_id = ANY(chat_aliases(%(company_id)s, %(chat_id)s))
  AND connection_id = %(connection_id)s AND NOT from_me;
