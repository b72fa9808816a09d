-- Imports of contacts, as they are asked for.

-- open_contact_import --
-- The task by which a company imports contacts.
SELECT id FROM tasks
WHERE company_id = %(company_id)s AND operation = %(operation)s AND state IN ('queued', 'running')
  AND expires_at > now() ORDER BY id LIMIT 1;

-- add_contact_import --
-- Keep the file of an import.
INSERT INTO contact_imports (task_id, company_id, format, content)
VALUES (%(task_id)s, %(company_id)s, %(format)s, %(content)s);
