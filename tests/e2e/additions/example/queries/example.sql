-- example_keep --
-- Keep what was sent.
INSERT INTO example_sends (company_id, token, body) VALUES (%(company_id)s, %(token)s, %(body)s)
RETURNING id;

-- prune_example_sends --
-- Delete the oldest rows that are older than so many seconds, at most so many.
DELETE FROM example_sends WHERE id IN (
    SELECT id FROM example_sends WHERE sent_at < now() - make_interval(secs => %(age_s)s) ORDER BY id LIMIT %(most)s
)
RETURNING id;
