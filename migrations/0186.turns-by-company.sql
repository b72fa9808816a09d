-- depends: 0185.signs-of-vectors
-- A claim of turns walks from company to company and reads only what each may have: it had read all that was due.

-- The planner would follow it through all that is due. First, since it wants the whole table: a lock that is widened meets
-- a transaction that has read and wants to write.
DROP INDEX turns_due;
CREATE INDEX turns_due_of_company ON turns (company_id, due_at, id) WHERE state = 'open';

-- Companies with open turns, by two looks at the index for each, however many turns they have.
CREATE FUNCTION companies_with_turns() RETURNS SETOF text LANGUAGE sql STABLE ROWS 10 AS $$
    WITH RECURSIVE owners AS (
        (SELECT t.company_id FROM turns t WHERE t.state = 'open' ORDER BY t.company_id LIMIT 1)
        UNION ALL
        SELECT (SELECT t.company_id FROM turns t WHERE t.state = 'open' AND t.company_id > o.company_id
                ORDER BY t.company_id LIMIT 1)
        FROM owners o WHERE o.company_id IS NOT NULL
    )
    SELECT o.company_id FROM owners o WHERE o.company_id IS NOT NULL
$$;
