-- Sealed texts: those of companies, which keys are in use, and sealing anew.

-- tenant_secret --
-- One secret of a company, sealed.
SELECT sealed FROM tenant_secrets WHERE company_id = %(company_id)s AND name = %(name)s;

-- tenant_secrets --
-- The secrets of a company by name, without what they hold.
SELECT name, created_at, updated_at FROM tenant_secrets WHERE company_id = %(company_id)s ORDER BY name;

-- put_tenant_secret --
-- Set a secret of a company; no row when it would be one too many. `excluded.sealed` would have to be readable.
INSERT INTO tenant_secrets (company_id, name, sealed)
SELECT %(company_id)s, %(name)s, %(sealed)s
WHERE (SELECT count(*) FROM tenant_secrets WHERE company_id = %(company_id)s AND name <> %(name)s) < %(most)s
ON CONFLICT (company_id, name) DO UPDATE SET sealed = %(sealed)s, updated_at = now()
RETURNING name, created_at, updated_at;

-- remove_tenant_secret --
-- Remove a secret of a company.
DELETE FROM tenant_secrets WHERE company_id = %(company_id)s AND name = %(name)s
RETURNING name, created_at, updated_at;

-- sealed_credentials --
-- Every connection's sealed credentials, by id.
SELECT id, credentials AS sealed, 'phone_configs/' || company_id || '/' || phone_index || '/credentials' AS context,
       'connection ' || phone_index || ' of company ' || company_id AS name
FROM phone_configs WHERE credentials <> '' AND id > %(after)s ORDER BY id LIMIT %(most)s;

-- reseal_credentials --
-- Put newly sealed credentials in the place of exactly those that were read: what an operator has changed since then
-- stays.
UPDATE phone_configs SET credentials = %(new)s WHERE id = %(id)s AND credentials = %(old)s RETURNING id;

-- sealed_task_secrets --
-- What is sealed of tasks that have not ended, by id.
SELECT id, sealed, 'tasks/' || company_id || '/' || operation AS context,
       'task ' || id || ' of company ' || company_id AS name
FROM tasks WHERE sealed <> '' AND id > %(after)s ORDER BY id LIMIT %(most)s;

-- reseal_task_secrets --
-- As reseal_credentials, for tasks.
UPDATE tasks SET sealed = %(new)s WHERE id = %(id)s AND sealed = %(old)s RETURNING id;

-- sealed_tenant_secrets --
-- Every secret of companies, by id.
SELECT id, sealed, 'tenant_secrets/' || company_id || '/' || name AS context,
       'secret ' || name || ' of company ' || company_id AS name
FROM tenant_secrets WHERE id > %(after)s ORDER BY id LIMIT %(most)s;

-- reseal_tenant_secret --
-- As reseal_credentials, for secrets of companies.
UPDATE tenant_secrets SET sealed = %(new)s WHERE id = %(id)s AND sealed = %(old)s RETURNING id;

-- sealed_keys --
-- Which keys the texts of one column are sealed with, and how many each.
SELECT key_id, number FROM sealed_with(%(relation)s, %(attribute)s);

-- canaries --
-- What shows whether a process has the keys that seal here.
SELECT key_id, canary FROM secret_keys ORDER BY key_id;

-- add_canary --
-- Keep what shows that a key is the right one; one that is there stays.
INSERT INTO secret_keys (key_id, canary) VALUES (%(key_id)s, %(canary)s) ON CONFLICT (key_id) DO NOTHING;

-- remove_canary --
-- Forget a key that nothing is sealed with any more.
DELETE FROM secret_keys WHERE key_id = %(key_id)s RETURNING key_id;
