-- Back to the first schema; what is scheduled is then due at once.
DROP INDEX messages_for_humans, messages_scheduled, messages_queued;
CREATE INDEX messages_queued ON messages (process_name, id) WHERE state = 'queued';
ALTER TABLE messages DROP COLUMN scheduled_for, DROP COLUMN forgiven, DROP COLUMN in_doubt_policy;
DROP FUNCTION tokens_left(timestamptz, double precision, double precision);
DROP TABLE pair_pacing, pacing;
