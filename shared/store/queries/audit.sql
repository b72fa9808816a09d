-- The audit: events of the subject `audit`.

-- write_audit --
-- Note what a key did.
INSERT INTO events (subject, type, company_id, data) VALUES ('audit', %(type)s, %(company_id)s, %(data)s);

-- read_audit --
-- Acts after a position, in the order of their transactions, of transactions below the oldest that still runs: what a
-- later commit adds comes after everything that was read.
SELECT id, xid, at, type, company_id, data FROM events
WHERE subject = 'audit' AND (xid, id) > (%(xid)s, %(id)s)
  AND xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint + event_xid_offset()
  AND (%(company_id)s::text IS NULL OR company_id = %(company_id)s)
ORDER BY xid, id LIMIT %(most)s;

-- read_audit_back --
-- Acts before a position, newest first: for people, who need no position that nothing slips behind.
SELECT id, xid, at, type, company_id, data FROM events
WHERE subject = 'audit' AND (xid, id) < (%(xid)s, %(id)s)
  AND (%(company_id)s::text IS NULL OR company_id = %(company_id)s)
ORDER BY xid DESC, id DESC LIMIT %(most)s;
