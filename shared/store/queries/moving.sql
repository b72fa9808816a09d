-- moved_figures --
-- Of messages of some connections beyond an id: how many failed and ended, and for how long the oldest has been due;
-- and the first of the connections that is paused, with the reason.
SELECT count(*) FILTER (WHERE m.state = 'failed') AS failed,
       count(*) FILTER (WHERE m.state IN ('sent', 'delivered', 'read', 'failed')) AS ended,
       coalesce(extract(epoch FROM now() - min(greatest(m.created_at, m.not_before))
                                             FILTER (WHERE m.state = 'queued'
                                                       AND coalesce(m.not_before, m.created_at) <= now())), 0)::float8
           AS oldest_s,
       coalesce((SELECT c.company_id || '/' || c.phone_index || ': ' || c.status_reason FROM phone_configs c
                 WHERE c.id = ANY(%(connection_ids)s::bigint[]) AND c.status = 'paused' ORDER BY c.id LIMIT 1), '')
           AS paused
FROM messages m WHERE m.id > %(after)s AND m.connection_id = ANY(%(connection_ids)s::bigint[]);

-- newest_message_id --
-- The id of the newest message.
SELECT coalesce((SELECT id FROM messages ORDER BY id DESC LIMIT 1), 0) AS id;

-- messages_left --
-- How many messages of a connection are being sent, and how many could be.
SELECT count(*) FILTER (WHERE state = 'sending') AS sending,
       count(*) FILTER (WHERE state = 'queued' AND coalesce(not_before, created_at) <= now()) AS due
FROM messages WHERE connection_id = %(connection_id)s AND state IN ('queued', 'sending');
