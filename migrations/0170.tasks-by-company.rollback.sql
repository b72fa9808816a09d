DROP FUNCTION next_company_with_tasks;
CREATE INDEX tasks_queued ON tasks (process_name, id) WHERE state = 'queued';
DROP INDEX tasks_queued_of_company;
