-- Companies: the tenants.

-- ensure_company --
-- Make a company unless it is there.
INSERT INTO companies (id, name) VALUES (%(id)s, %(name)s) ON CONFLICT (id) DO NOTHING;

-- company_exists --
-- Whether a company is known and not being deleted.
SELECT id FROM companies WHERE id = %(id)s AND state <> 'deleting';

-- add_company --
-- Make a company; one that is there stays as it is.
INSERT INTO companies (id, name, in_doubt_policy) VALUES (%(id)s, %(name)s, %(in_doubt_policy)s)
ON CONFLICT (id) DO NOTHING
RETURNING id, name, in_doubt_policy, state, state_reason, state_at, settings, version, created_at, updated_at,
          0 AS connections;

-- companies --
-- Every company with how many connections it has, by id; or only one of them.
SELECT co.id, co.name, co.in_doubt_policy, co.state, co.state_reason, co.state_at, co.settings, co.version,
       co.created_at, co.updated_at,
       (SELECT count(*) FROM phone_configs c WHERE c.company_id = co.id AND c.status <> 'removed') AS connections
FROM companies co WHERE co.id > %(after)s AND co.id = coalesce(%(only)s, co.id) ORDER BY co.id LIMIT %(most)s;

-- lock_company --
-- One company, kept from being changed by others until the transaction ends.
SELECT id, name, in_doubt_policy, state, state_reason, settings, version FROM companies WHERE id = %(id)s
-- NO KEY: rows of it, whose foreign keys are checked, are written meanwhile
FOR NO KEY UPDATE;

-- change_company --
-- Write what a client may change of a company.
UPDATE companies SET name = %(name)s, in_doubt_policy = %(in_doubt_policy)s, settings = %(settings)s,
    version = version + 1, updated_at = now()
WHERE id = %(id)s;

-- move_company --
-- Put a company into another state.
UPDATE companies SET state = %(state)s, state_reason = %(reason)s, state_at = now(), version = version + 1,
    updated_at = now()
WHERE id = %(id)s;

-- company_settings --
-- What processes need to know of a company.
SELECT state, settings, version FROM companies WHERE id = %(id)s;
