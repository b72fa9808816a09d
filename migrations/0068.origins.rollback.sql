ALTER TABLE messages DROP COLUMN request_id, DROP COLUMN traceparent, DROP COLUMN key_id;
