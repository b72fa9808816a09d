ALTER TABLE messages DROP COLUMN witness;
