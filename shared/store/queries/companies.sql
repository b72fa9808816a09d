-- Companies: the tenants.

-- ensure_company --
-- Make a company unless it is there.
INSERT INTO companies (id, name) VALUES (%(id)s, %(name)s) ON CONFLICT (id) DO NOTHING;

-- company_exists --
-- Whether a company is known and not being deleted.
SELECT id FROM companies WHERE id = %(id)s AND state <> 'deleting';

-- add_company --
-- Make a company; one that is there stays as it is. No row while one with this id is still being deleted.
WITH made AS (
    INSERT INTO companies (id, name, in_doubt_policy)
    SELECT %(id)s, %(name)s, %(in_doubt_policy)s
    WHERE NOT EXISTS (SELECT FROM tasks WHERE company_id IS NULL AND operation = 'delete_company'
                                          AND arguments ->> 'companyId' = %(id)s AND state IN ('queued', 'running'))
    ON CONFLICT (id) DO NOTHING
    RETURNING id, name, in_doubt_policy, state, state_reason, state_at, settings, version, created_at, updated_at
), again AS (
    DELETE FROM deleted_companies WHERE id IN (SELECT id FROM made)
)
SELECT made.*, 0 AS connections FROM made;

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

-- was_deleted --
-- Whether a company was deleted and not made again since, or is being deleted.
SELECT id FROM deleted_companies WHERE id = %(id)s
UNION ALL SELECT id FROM companies WHERE id = %(id)s AND state = 'deleting';

-- end_hooks --
-- End a company's webhooks: nothing is delivered any more.
UPDATE hooks SET state = 'disabled', state_reason = %(reason)s, version = version + 1, updated_at = now()
WHERE company_id = %(company_id)s;

-- end_tasks --
-- Fail a company's tasks that have not ended; who runs one is fenced.
UPDATE tasks SET state = 'failed', problem_code = 'interrupted', problem = %(reason)s, sealed = '', finished_at = now()
WHERE company_id = %(company_id)s AND state IN ('queued', 'running');

-- unlink_sessions --
-- Let a company's browser sessions log out; what they are linked to is observed until then.
UPDATE phone_configs SET desired_state = 'logged_out' WHERE company_id = %(company_id)s AND status <> 'removed';

-- add_deletion --
-- The task of a company's deletion. It is the installation's, since it outlives the company.
INSERT INTO tasks (company_id, process_name, operation, arguments, state, incarnation, expires_at, progress)
VALUES (NULL, 'recorder', 'delete_company', jsonb_build_object('companyId', %(company_id)s::text, 'by', %(by)s::jsonb),
        -- of no life of any process: whichever recorder runs goes on with it, and no reclaim ends it
        'running', 'deletion', now() + make_interval(secs => %(expires_in_s)s), jsonb_build_object('stage', 'settling'))
RETURNING id;

-- deletion_of_company --
-- The task by which a company is being deleted.
SELECT id FROM tasks
WHERE company_id IS NULL AND operation = 'delete_company' AND arguments ->> 'companyId' = %(company_id)s
  AND state = 'running' ORDER BY id DESC LIMIT 1;

-- open_deletions --
-- Companies that are being deleted, oldest first, and for how many seconds already.
SELECT id, arguments ->> 'companyId' AS company_id, arguments -> 'by' AS by,
       coalesce(progress, '{}') AS progress, extract(epoch FROM now() - created_at)::double precision AS age_s
FROM tasks WHERE company_id IS NULL AND operation = 'delete_company' AND state = 'running' ORDER BY id LIMIT %(most)s;

-- note_deletion --
-- Note how far a deletion is; its time begins anew with each step.
UPDATE tasks SET progress = %(progress)s, expires_at = now() + make_interval(secs => %(expires_in_s)s)
WHERE id = %(id)s AND state = 'running';

-- unsettled_of_company --
-- What is still under way at a company that is being deleted: sends in flight, sessions that a page proves to be
-- linked.
SELECT (SELECT count(*) FROM messages WHERE company_id = %(company_id)s AND state = 'sending') AS sending,
       (SELECT count(*) FROM phone_configs c JOIN phone_status s ON s.connection_id = c.id
        WHERE c.company_id = %(company_id)s AND c.status <> 'removed'
          AND c.connection_type = ANY(%(session_types)s::text[])
          AND shown_state(c.process_name, s.status, s.proved_at, s.updated_at)
              NOT IN ('absent', 'logged_out', 'degraded', 'needs_link')) AS sessions;

-- remove_connections_of_company --
-- End every connection of a company: nothing is sent, its secrets are gone, and profiles of its sessions are deleted.
UPDATE phone_configs SET status = 'removed', status_reason = %(reason)s, credentials = '', desired_state = 'logged_out'
WHERE company_id = %(company_id)s AND status <> 'removed';

-- profiles_of_company --
-- Sessions of a company whose process has not confirmed that nothing of their profile is left.
SELECT count(*) AS profiles FROM phone_configs c JOIN phone_status s ON s.connection_id = c.id
WHERE c.company_id = %(company_id)s AND c.connection_type = ANY(%(session_types)s::text[]) AND s.status <> '';

-- confirm_profiles_deleted --
-- Forget what was observed of removed sessions of companies that are being deleted, but of those whose profile is still
-- here: by this the deletion knows that the profile is gone.
DELETE FROM phone_status s USING phone_configs c, companies owner
WHERE s.connection_id = c.id AND c.process_name = %(kind)s AND c.status = 'removed'
  -- the profile is on the session's host, unless that has been gone for so long that its heartbeats were deleted
  AND (coalesce(c.session_host, %(host)s) = %(host)s
       OR NOT EXISTS (SELECT FROM process_heartbeats h WHERE h.host = c.session_host))
  AND NOT c.id = ANY(%(kept)s::bigint[]) AND owner.id = c.company_id AND owner.state = 'deleting';

-- company_tables --
-- Tables with rows of companies, and the condition for those of one, in the order in which they are deleted.
SELECT name, condition FROM company_tables();

-- delete_company_rows --
-- Delete rows of a company in a bounded part of one table.
SELECT deleted, more FROM delete_company_rows(%(company_id)s, %(name)s, %(condition)s, %(first)s, %(blocks)s);

-- delete_company_buckets --
-- Delete what is left of the limits of a company and its keys.
DELETE FROM limit_buckets
WHERE starts_with(name, 'company:' || %(company_id)s || ':')
   OR name LIKE ANY (ARRAY(SELECT 'key:' || id || ':%%' FROM api_keys WHERE company_id = %(company_id)s));

-- delete_company_journal --
-- Delete raw events from which messages of a company were read, a batch at a time. One that holds messages of other
-- companies too stays for them, and goes with RETENTION_DAYS.
WITH picked AS MATERIALIZED (
    SELECT id, journal_id FROM inbound_messages
    WHERE company_id = %(company_id)s AND journal_id IS NOT NULL AND id > %(after)s ORDER BY id LIMIT %(most)s
), cleared AS (
    UPDATE inbound_messages i SET journal_id = NULL FROM picked WHERE i.id = picked.id
), gone AS (
    DELETE FROM inbound_journal j
    WHERE j.id IN (SELECT journal_id FROM picked) AND j.processed_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM inbound_messages other
                      WHERE other.journal_id = j.id AND other.company_id <> %(company_id)s)
      AND NOT EXISTS (SELECT FROM inbound_messages further
                      WHERE further.journal_id = j.id AND NOT further.id IN (SELECT id FROM picked))
    RETURNING j.id
)
SELECT count(*) AS looked, max(id) AS last FROM picked;

-- delete_company --
-- Delete the row of a company that is being deleted, and keep its id from being made again by the environment. No row:
-- files of it are known again.
WITH gone AS (
    DELETE FROM companies co
    WHERE co.id = %(id)s AND co.state = 'deleting' AND NOT EXISTS (SELECT FROM media_files f WHERE f.company_id = co.id)
    RETURNING co.id
), kept AS (
    INSERT INTO deleted_companies (id) SELECT id FROM gone ON CONFLICT (id) DO UPDATE SET deleted_at = now()
)
SELECT id FROM gone;

-- company_row_exists --
-- Whether the row of a company is still there, whatever its state.
SELECT id FROM companies WHERE id = %(id)s;

-- end_deletion --
-- The deletion has ended.
UPDATE tasks SET state = 'done', result = %(result)s, progress = NULL, finished_at = now()
WHERE id = %(id)s AND state = 'running' RETURNING id;
