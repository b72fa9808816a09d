-- Keys of API clients.

-- find_key --
-- The key with a digest, if it may be used now: not revoked, not expired, not rotated out, and of no company that is
-- being deleted.
SELECT k.id, k.name, k.company_id, k.scopes, k.expires_at, k.limits, c.limits AS company_limits,
       coalesce(c.state = 'suspended', false) AS is_suspended
FROM api_keys k LEFT JOIN companies c ON c.id = k.company_id
WHERE (k.digest = %(digest)s OR (k.previous_digest = %(digest)s AND k.previous_until > now()))
  AND k.revoked_at IS NULL AND coalesce(k.expires_at > now(), true) AND coalesce(c.state <> 'deleting', true);

-- add_key --
-- Make a key. It has the limits of the key that makes it, which could else lift them by a new key.
INSERT INTO api_keys (company_id, name, prefix, digest, scopes, expires_at, limits)
VALUES (%(company_id)s, %(name)s, %(prefix)s, %(digest)s, %(scopes)s, %(expires_at)s,
        coalesce((SELECT limits FROM api_keys WHERE id = %(maker_id)s), '{}'))
RETURNING id, company_id, name, prefix, scopes, created_at, rotated_at, previous_until, expires_at, last_used_at,
          revoked_at, limits;

-- rotate_key --
-- Give a key another text; the one that it had is taken until the overlap ends, an earlier one no longer. No row: there
-- is no such key, or it is revoked.
UPDATE api_keys SET prefix = %(prefix)s, digest = %(digest)s, rotated_at = now(), previous_digest = digest,
                    previous_until = now() + make_interval(secs => %(overlap_s)s)
WHERE id = %(id)s AND revoked_at IS NULL
RETURNING id, company_id, name, prefix, scopes, created_at, rotated_at, previous_until, expires_at, last_used_at,
          revoked_at, limits;

-- revoke_key --
-- End a key for good; one that is revoked keeps the instant at which it was.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = %(id)s
RETURNING id, company_id, name, prefix, scopes, created_at, rotated_at, previous_until, expires_at, last_used_at,
          revoked_at, limits;

-- lock_key --
-- One key, locked: what is decided about it holds until the transaction ends.
SELECT id, company_id, name, prefix, scopes, created_at, rotated_at, previous_until, expires_at, last_used_at,
       revoked_at, limits
FROM api_keys WHERE id = %(id)s FOR UPDATE;

-- list_keys --
-- Keys by id: all, or those of one company.
SELECT id, company_id, name, prefix, scopes, created_at, rotated_at, previous_until, expires_at, last_used_at,
       revoked_at, limits
FROM api_keys
WHERE id > %(after)s AND (%(company_id)s::text IS NULL OR company_id = %(company_id)s)
ORDER BY id LIMIT %(most)s;

-- note_key_use --
-- Note when keys were used last; never backwards, since several processes write.
UPDATE api_keys k SET last_used_at = u.at
FROM unnest(%(ids)s::bigint[], %(ats)s::timestamptz[]) AS u(id, at)
WHERE k.id = u.id AND coalesce(k.last_used_at < u.at, true);
