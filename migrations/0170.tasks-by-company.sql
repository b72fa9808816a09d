-- depends: 0165.old-server
-- Tasks are taken by companies in turn: whose tasks wait is found by walking from company to company, however many of
-- one wait.

-- The installation's own tasks have no company, and count as one that comes first. In the order of bytes: the process
-- that takes them compares names too.
CREATE INDEX tasks_queued_of_company ON tasks (process_name, (coalesce(company_id, '') COLLATE "C"), id)
    WHERE state = 'queued';
-- everything that it served, the index above serves
DROP INDEX tasks_queued;

-- The company after another one, in a ring, that has tasks of a kind waiting; null: none has.
CREATE FUNCTION next_company_with_tasks(kind text, after text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT coalesce(company_id, '') COLLATE "C" FROM tasks
         WHERE state = 'queued' AND process_name = kind AND coalesce(company_id, '') COLLATE "C" > after
         ORDER BY coalesce(company_id, '') COLLATE "C" LIMIT 1),
        (SELECT coalesce(company_id, '') COLLATE "C" FROM tasks
         WHERE state = 'queued' AND process_name = kind
         ORDER BY coalesce(company_id, '') COLLATE "C" LIMIT 1))
$$;
