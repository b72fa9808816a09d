DROP INDEX documents_unsearched;
ALTER TABLE documents DROP COLUMN asked_at;
