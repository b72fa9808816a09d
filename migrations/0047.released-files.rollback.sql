DROP INDEX inbound_media_stored;
ALTER TABLE media_files DROP COLUMN released_at, DROP COLUMN is_received;
