-- Limits of keys and companies.

-- spend_tokens --
-- Take what was spent out of buckets, and return what is left; below zero, what comes in is taken first.
INSERT INTO limit_buckets AS b (name, capacity, rate, tokens, refilled_at)
SELECT name, capacity, rate, capacity - spent, clock_timestamp()
FROM unnest(%(names)s::text[], %(capacities)s::float8[], %(rates)s::float8[], %(spent)s::float8[])
     AS s(name, capacity, rate, spent)
-- in one order, so that two processes do not wait for each other's rows
ORDER BY name
ON CONFLICT (name) DO UPDATE
-- by clock_timestamp(), which is read with the row locked: between two processes the time of the later one counts
SET tokens = least(EXCLUDED.capacity,
                   b.tokens + EXCLUDED.rate * greatest(0, extract(epoch FROM clock_timestamp() - b.refilled_at)))
             - (EXCLUDED.capacity - EXCLUDED.tokens),
    capacity = EXCLUDED.capacity, rate = EXCLUDED.rate, refilled_at = clock_timestamp()
RETURNING name, tokens;

-- set_key_limits --
-- Set the limits of a key.
UPDATE api_keys SET limits = %(limits)s WHERE id = %(id)s RETURNING company_id, limits;

-- set_company_limits --
-- Set the limits of a company, for all of its keys together.
UPDATE companies SET limits = %(limits)s WHERE id = %(id)s RETURNING limits;

-- prune_limit_buckets --
-- Delete buckets that nothing was taken from for a long time: of keys that are gone.
DELETE FROM limit_buckets WHERE name IN (
    SELECT name FROM limit_buckets WHERE refilled_at < now() - make_interval(secs => %(age_s)s) LIMIT %(most)s)
RETURNING name;
