-- add_task --
-- Ask a process kind to do something; the kind is the one that serves the connection unless it is named.
INSERT INTO tasks (company_id, connection_id, process_name, operation, arguments, sealed, repeatable, expires_at)
VALUES (%(company_id)s, %(connection_id)s,
        coalesce(%(kind)s, (SELECT process_name FROM phone_configs WHERE id = %(connection_id)s)), %(operation)s,
        %(arguments)s, %(sealed)s, %(repeatable)s, now() + make_interval(secs => %(expires_in_s)s))
RETURNING id;

-- add_task_once --
-- As add_task, unless one with the same key is there that has not failed: then no row.
INSERT INTO tasks (company_id, process_name, operation, arguments, once, about, expires_at)
VALUES (%(company_id)s, %(kind)s, %(operation)s, %(arguments)s, %(once)s, %(about)s,
        now() + make_interval(secs => %(expires_in_s)s))
ON CONFLICT (company_id, operation, once) WHERE once IS NOT NULL AND state <> 'failed' DO NOTHING
RETURNING id, true AS is_same;

-- task_of_key --
-- The task that has a key and has not failed; is_same: it has these arguments.
SELECT id, arguments = %(arguments)s::jsonb AS is_same FROM tasks
WHERE company_id = %(company_id)s AND operation = %(operation)s AND once = %(once)s AND state <> 'failed';

-- tasks_before --
-- The newest tasks about the same person as one, before it, that have not failed.
SELECT id, state, arguments, result FROM tasks
WHERE company_id = %(company_id)s AND operation = %(operation)s AND id < %(id)s AND state <> 'failed'
  AND about = (SELECT about FROM tasks WHERE id = %(id)s)
ORDER BY id DESC LIMIT %(most)s;

-- take_tasks --
-- Make one incarnation the owner of tasks that wait: companies in turn, each one's oldest first. A company gets a
-- further place while it holds fewer than stay free (`shared.http_client.places.fair_share`): a place that is held
-- cannot be taken back, so that one company's tasks that hang leave half of them to others.
WITH RECURSIVE ring AS (
    SELECT owner, owner AS first, 1 AS number FROM next_company_with_tasks(%(kind)s, %(after)s) AS owner
    WHERE owner IS NOT NULL
    UNION ALL
    SELECT next.owner, ring.first, ring.number + 1
    FROM ring CROSS JOIN LATERAL (SELECT next_company_with_tasks(%(kind)s, ring.owner) AS owner) AS next
    -- a bound for what one look costs; the next look begins behind the company that was served last
    WHERE next.owner <> ring.first AND ring.number < 500
), held AS MATERIALIZED (
    SELECT coalesce(company_id, '') AS owner, count(*) AS tasks FROM tasks
    WHERE state = 'running' AND incarnation = %(incarnation)s AND operation = ANY(%(operations)s)
    GROUP BY 1
), waiting AS (
    SELECT w.id, ring.number, coalesce(held.tasks, 0) + w.place AS place
    FROM ring
    LEFT JOIN held ON held.owner = ring.owner
    CROSS JOIN LATERAL (
        SELECT id, row_number() OVER (ORDER BY id) AS place FROM tasks
        WHERE state = 'queued' AND process_name = %(kind)s AND coalesce(company_id, '') COLLATE "C" = ring.owner
          -- an expired one is not begun
          AND operation = ANY(%(operations)s) AND expires_at > now()
          -- what is to be done with a browser session is done where it is
          AND NOT EXISTS (SELECT FROM phone_configs c
                          WHERE c.id = tasks.connection_id
                            AND c.session_host <> split_part(%(incarnation)s, '@', 2))
        ORDER BY id LIMIT %(most)s) AS w
), ordered AS (
    SELECT id, place, row_number() OVER (ORDER BY place, number, id) AS taken FROM waiting
), chosen AS MATERIALIZED (
    SELECT id FROM tasks
    -- `taken - 1` places are gone when it is this one's turn, and the company holds `place - 1`
    WHERE id = ANY(ARRAY(SELECT id FROM ordered WHERE place - 1 < %(most)s - (taken - 1)))
      -- looked at again once it is locked: another process may have taken it since
      AND state = 'queued'
    ORDER BY id FOR UPDATE SKIP LOCKED
)
UPDATE tasks SET state = 'running', incarnation = %(incarnation)s, attempt = attempt + 1
FROM chosen WHERE tasks.id = chosen.id
RETURNING tasks.id, company_id, connection_id, process_name, operation, arguments, sealed, attempt, created_at,
          extract(epoch FROM expires_at - now())::double precision AS left_s;

-- finish_task --
-- Write how a task ended; only by the incarnation that owns it.
UPDATE tasks SET state = %(state)s, result = %(result)s, problem_code = %(code)s, problem = %(problem)s, sealed = '',
    finished_at = now()
-- The fence: after a reclaim the task may be another incarnation's.
WHERE id = %(id)s AND state = 'running' AND incarnation = %(incarnation)s RETURNING id;

-- task_by_id --
-- One task of a company; one whose time is over counts as failed, also before a process has marked it. Tasks of the
-- installation about the company too, if they are asked for: they are there when the company is gone.
SELECT id, company_id, connection_id, operation, attempt, created_at, expires_at, finished_at, result, progress,
       CASE WHEN over THEN 'failed' ELSE state END AS state,
       CASE WHEN over THEN 'expired' ELSE problem_code END AS problem_code,
       CASE WHEN over THEN 'not finished in time' ELSE problem END AS problem
-- Two seconds more than the task has: its process stops the handler at `expires_at` and writes the outcome after it.
FROM (SELECT *, state IN ('queued', 'running') AND expires_at + interval '2 seconds' < now() AS over FROM tasks) t
WHERE id = %(id)s
  AND (company_id = %(company_id)s
       OR %(installations)s AND company_id IS NULL AND arguments ->> 'companyId' = %(company_id)s);

-- reclaim_tasks --
-- Give back what dead incarnations had in hand: what may be begun again is queued, the rest failed.
WITH found AS (
    -- Either one dead incarnation (`dead`), or all earlier lives of a slot (`slot`, `living`); the other one is empty.
    -- The dot ends the slot's name: `meta-1.` is not the beginning of `meta-10.`. A slot of another host has the same
    -- name; an incarnation without a host is of the version before.
    SELECT id, repeatable AND attempt < %(most_attempts)s AND expires_at > now() AS again FROM tasks
    WHERE state = 'running' AND (incarnation = %(dead)s
                                 OR (starts_with(incarnation, %(slot)s || '.') AND incarnation <> %(living)s
                                     AND split_part(incarnation, '@', 2) IN (split_part(%(living)s, '@', 2), '')))
    ORDER BY id FOR UPDATE)
UPDATE tasks
SET state = CASE WHEN again THEN 'queued' ELSE 'failed' END, incarnation = CASE WHEN again THEN '' ELSE incarnation END,
    problem_code = CASE WHEN again THEN '' ELSE 'interrupted' END,
    problem = CASE WHEN again THEN '' ELSE 'the process that ran it ended before it was finished' END,
    sealed = CASE WHEN again THEN sealed ELSE '' END, finished_at = CASE WHEN again THEN NULL ELSE now() END
FROM found WHERE tasks.id = found.id RETURNING tasks.id, tasks.state;

-- expire_tasks --
-- Fail what was not finished in time.
UPDATE tasks SET state = 'failed', problem_code = 'expired', problem = 'not finished in time', sealed = '',
    finished_at = now()
WHERE id IN (SELECT id FROM tasks
             WHERE state IN ('queued', 'running') AND process_name = %(kind)s
               AND expires_at + interval '2 seconds' < now()
             FOR UPDATE SKIP LOCKED)
RETURNING id;

-- forget_tasks --
-- Remove tasks that ended long ago.
DELETE FROM tasks WHERE finished_at < now() - make_interval(secs => %(older_s)s);
