DROP INDEX turns_due_of_company;
CREATE INDEX turns_due ON turns (due_at, id) WHERE state = 'open';
DROP FUNCTION companies_with_turns();
