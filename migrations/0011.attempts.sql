-- Counts of attempts without an end at 32,767, and indexes for finding what is due among very many open rows.

-- Nothing bounds the attempts of a message that is sent again and redriven again and again: past 32,767 each claim of
-- it would fail, and with it the other rows of that claim.
ALTER TABLE messages ALTER COLUMN attempt TYPE integer, ALTER COLUMN forgiven TYPE integer, ALTER COLUMN deaths TYPE integer;
ALTER TABLE tasks ALTER COLUMN attempt TYPE integer;
ALTER TABLE inbound_journal ALTER COLUMN attempts TYPE integer;
ALTER TABLE inbound_media ALTER COLUMN attempts TYPE integer;

-- Rows whose wait may be over: without it each look would read every open row of the connection.
CREATE INDEX messages_waiting ON messages (connection_id, not_before) WHERE state = 'queued' AND scheduled_for IS NULL AND not_before IS NOT NULL;

-- Rows in doubt are read in pages by id, so that those which stay hide no others.
DROP INDEX messages_in_doubt;
CREATE INDEX messages_in_doubt ON messages (process_name, id) WHERE state = 'in_doubt';
