ALTER TABLE inbound_messages DROP COLUMN world, DROP COLUMN sender_username;
