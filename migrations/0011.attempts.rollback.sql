-- Back to small counts.
DROP INDEX messages_in_doubt, messages_waiting;
CREATE INDEX messages_in_doubt ON messages (process_name, in_doubt_at) WHERE state = 'in_doubt';
ALTER TABLE messages
    ALTER COLUMN attempt TYPE smallint USING least(attempt, 32767),
    ALTER COLUMN forgiven TYPE smallint USING least(forgiven, 32767),
    ALTER COLUMN deaths TYPE smallint USING least(deaths, 32767);
ALTER TABLE tasks ALTER COLUMN attempt TYPE smallint USING least(attempt, 32767);
ALTER TABLE inbound_journal ALTER COLUMN attempts TYPE smallint USING least(attempts, 32767);
ALTER TABLE inbound_media ALTER COLUMN attempts TYPE smallint USING least(attempts, 32767);
