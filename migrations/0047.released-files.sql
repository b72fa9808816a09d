-- A file that came with a message is removed when the message is deleted and nothing else refers to it.

-- is_received: it is known only from messages that came in; what a client uploads is the client's. released_at: a message that it came with was deleted.
ALTER TABLE media_files ADD COLUMN is_received boolean NOT NULL DEFAULT false, ADD COLUMN released_at timestamptz;
CREATE INDEX media_files_released ON media_files (released_at) WHERE released_at IS NOT NULL;
CREATE INDEX inbound_media_stored ON inbound_media (company_id, sha256) WHERE state = 'stored';
