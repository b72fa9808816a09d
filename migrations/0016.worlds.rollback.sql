ALTER TABLE messages DROP COLUMN world, DROP COLUMN account;
