-- Archives of companies.

-- find_export --
-- One archive of a company that can still be downloaded.
SELECT id, sha256, size, created_at, expires_at FROM company_exports
WHERE company_id = %(company_id)s AND id = %(id)s AND expires_at > now();

-- open_export --
-- The task by which a company is being exported.
SELECT id FROM tasks
WHERE company_id = %(company_id)s AND operation = %(operation)s AND state IN ('queued', 'running')
  AND expires_at > now() ORDER BY id LIMIT 1;
