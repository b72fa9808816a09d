-- moved_figures --
-- Of messages of some connections beyond an id: how many failed and ended, and for how long the oldest has been due.
SELECT count(*) FILTER (WHERE m.state = 'failed') AS failed,
       count(*) FILTER (WHERE m.state IN ('sent', 'delivered', 'read', 'failed')) AS ended,
       coalesce(extract(epoch FROM now() - min(greatest(m.created_at, m.not_before))
                                             FILTER (WHERE m.state = 'queued'
                                                       AND coalesce(m.not_before, m.created_at) <= now())), 0)::float8
           AS oldest_s
FROM messages m WHERE m.id > %(after)s AND m.connection_id = ANY(%(connection_ids)s::bigint[]);

-- newest_message_id --
-- The id of the newest message.
SELECT coalesce((SELECT id FROM messages ORDER BY id DESC LIMIT 1), 0) AS id;

-- messages_in_hand --
-- Whether a message of a connection is being sent.
SELECT EXISTS (SELECT FROM messages WHERE connection_id = %(connection_id)s AND state = 'sending') AS is_sending;
