ALTER TABLE tasks DROP CONSTRAINT tasks_connection;
ALTER TABLE inbound_media DROP CONSTRAINT inbound_media_message, DROP CONSTRAINT inbound_media_connection;
ALTER TABLE inbound_messages DROP CONSTRAINT inbound_messages_connection;
ALTER TABLE messages DROP CONSTRAINT messages_connection;
ALTER TABLE inbound_messages DROP CONSTRAINT inbound_messages_of_company;
ALTER TABLE phone_configs DROP CONSTRAINT phone_configs_of_company;
