-- depends: 0170.tasks-by-company
-- A task that is asked for twice is one task, and those about one person are found.

ALTER TABLE tasks
    -- of what is to be done once; digests, so that neither holds what a client wrote
    ADD COLUMN once  text,
    ADD COLUMN about text;
-- One that has failed may be asked for again.
CREATE UNIQUE INDEX tasks_once ON tasks (company_id, operation, once) WHERE once IS NOT NULL AND state <> 'failed';
CREATE INDEX tasks_about ON tasks (company_id, operation, about, id) WHERE about IS NOT NULL;
