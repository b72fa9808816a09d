-- The audit is read by itself, from a position: its events are few among the others.
CREATE INDEX events_audit ON events (xid, id) WHERE subject = 'audit';
