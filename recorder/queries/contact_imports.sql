-- Imports of contacts, as they are carried out.

-- contact_import --
-- The file of an import, and how far it is.
SELECT company_id, format, content, position, counts FROM contact_imports WHERE task_id = %(task_id)s;

-- lock_contact_import --
-- An import that is where this process has left it, and still this process's; kept so until the transaction ends.
SELECT i.task_id FROM contact_imports i JOIN tasks t ON t.id = i.task_id
WHERE i.task_id = %(task_id)s AND i.position = %(position)s AND t.state = 'running' AND t.incarnation = %(incarnation)s
FOR UPDATE OF i;

-- advance_contact_import --
-- Note how far an import is.
WITH advanced AS (
    UPDATE contact_imports SET position = %(position)s, counts = %(counts)s WHERE task_id = %(task_id)s
)
UPDATE tasks SET progress = %(progress)s WHERE id = %(task_id)s;

-- empty_contact_import --
-- Remove the file of an import that is done; its figures stay until its task has ended.
UPDATE contact_imports SET content = '' WHERE task_id = %(task_id)s;

-- prune_contact_imports --
-- Forget imports whose tasks have ended.
DELETE FROM contact_imports i
WHERE NOT EXISTS (SELECT FROM tasks t WHERE t.id = i.task_id AND t.state IN ('queued', 'running'));
