-- note_page_position --
-- Everything that the page reported until an instant is in the database.
INSERT INTO page_positions (connection_id, heard_until)
SELECT id, %(until)s FROM phone_configs WHERE id = %(connection_id)s
ON CONFLICT (connection_id) DO UPDATE SET heard_until = greatest(page_positions.heard_until, excluded.heard_until);

-- page_position --
-- Until when everything that the page reported is in the database.
SELECT heard_until FROM page_positions WHERE connection_id = %(connection_id)s;

-- known_to_us --
-- Which of these ids of messages are stored, in either direction; ours count from the moment at which the id was
-- chosen.
SELECT g.id
FROM unnest(%(ids)s::text[]) AS g(id)
WHERE EXISTS (SELECT FROM inbound_messages i
              WHERE i.connection_id = %(connection_id)s AND i.provider_id = g.id AND i.type <> 'unknown')
   OR EXISTS (SELECT FROM messages m WHERE m.token = g.id AND m.token <> '' AND m.connection_id = %(connection_id)s)
   OR EXISTS (SELECT FROM messages m
              WHERE m.provider_id = g.id AND m.provider_id <> '' AND m.connection_id = %(connection_id)s);

-- is_our_reaction --
-- Whether a reaction of ours is what the page shows: carried out, or perhaps carried out, at that instant. It has no
-- known id before the page reports it.
SELECT EXISTS (
    SELECT
    FROM phone_configs c JOIN messages m ON m.company_id = c.company_id AND m.connection_id = c.id
    WHERE c.id = %(connection_id)s AND m.chat_id = %(chat_id)s AND m.type = 'reaction' AND m.token <> ''
      AND m.state <> 'failed'
      AND m.content->>'target' = %(target)s AND m.content->>'emoji' = %(emoji)s
      AND m.created_at BETWEEN %(at)s::timestamptz - interval '7 days'
                               AND %(at)s::timestamptz + make_interval(secs => %(margin_s)s)
      AND coalesce(m.sent_at, now()) > %(at)s::timestamptz - make_interval(secs => %(margin_s)s)
) AS ours;

-- unread_sends --
-- Messages of ours that the receiver has not read, by the ids that WhatsApp knows them by; a page, newest first.
SELECT id AS row_id, coalesce(nullif(provider_id, ''), token) AS id
FROM messages
WHERE connection_id = %(connection_id)s AND state IN ('sending', 'in_doubt', 'sent', 'delivered')
  AND type = ANY(%(types)s)
  AND (provider_id <> '' OR token <> '') AND created_at > now() - make_interval(days => %(days)s)
  AND messages.id < %(below)s
ORDER BY messages.id DESC LIMIT %(most)s;
