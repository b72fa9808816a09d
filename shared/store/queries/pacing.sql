-- numbers_to_pace --
-- The connections of a kind with what their limits follow from, and the limits that stand there now (null: none were
-- written yet).
SELECT c.id, c.connection_type, c.options, p.every_s, p.burst, p.jitter, p.day_every_s, p.day_burst, p.pair_every_s,
       p.pair_burst
FROM phone_configs c LEFT JOIN pacing p ON p.connection_id = c.id
WHERE c.process_name = %(kind)s;

-- set_limits --
-- Write limits of numbers; what they have spent stays, but never lies further ahead than a full burst of the new limit.
INSERT INTO pacing AS p (connection_id, every_s, burst, jitter, day_every_s, day_burst, pair_every_s, pair_burst)
SELECT r.* FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS r(connection_id bigint, every_s double precision, burst double precision, jitter double precision,
         day_every_s double precision,
         day_burst double precision, pair_every_s double precision, pair_burst double precision)
-- a connection that was deleted meanwhile needs none
JOIN phone_configs c ON c.id = r.connection_id
ORDER BY r.connection_id
ON CONFLICT (connection_id) DO UPDATE
SET every_s = excluded.every_s, burst = excluded.burst, jitter = excluded.jitter, day_every_s = excluded.day_every_s,
    day_burst = excluded.day_burst,
    pair_every_s = excluded.pair_every_s, pair_burst = excluded.pair_burst,
    -- A lower rate that is raised again would otherwise hold the number back for what it spent at the old price.
    spent_until = least(p.spent_until, now() + make_interval(secs => excluded.every_s * excluded.burst)),
    day_spent_until = least(p.day_spent_until,
                            now() + make_interval(secs => excluded.day_every_s * excluded.day_burst));

-- give_tokens_back --
-- Rows that were claimed and surely not sent: their numbers have not spent what was taken for them. A number whose row
-- is locked just now loses the refund.
WITH unsent AS (
    SELECT connection_id, count(*) AS number FROM messages WHERE id = ANY(%(ids)s::bigint[]) GROUP BY connection_id
), locked AS (
    -- Skipped rows lose their refund: some tokens more are spent than were used, which is on the safe side of the
    -- limit. Waiting would let a settlement wait for every claim of the connection.
    SELECT p.connection_id FROM pacing p
    WHERE p.connection_id = ANY(ARRAY(SELECT connection_id FROM unsent)) AND (p.every_s > 0 OR p.day_every_s > 0)
    FOR NO KEY UPDATE OF p SKIP LOCKED
)
UPDATE pacing p
SET spent_until = p.spent_until - make_interval(secs => unsent.number * p.every_s),
    day_spent_until = p.day_spent_until - make_interval(secs => unsent.number * p.day_every_s)
FROM unsent JOIN locked USING (connection_id) WHERE p.connection_id = unsent.connection_id;

-- forget_pairs --
-- Remove what chats have spent of their limits once nothing of it is left.
DELETE FROM pair_pacing
WHERE (connection_id, chat_id) IN (SELECT connection_id, chat_id FROM pair_pacing WHERE spent_until < now()
                                   LIMIT %(most)s FOR UPDATE SKIP LOCKED);
