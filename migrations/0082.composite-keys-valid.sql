-- depends: 0081.composite-keys
-- Rows of before are checked too; then the references by id alone go, and with them one check for each message: a
-- connection of a company proves that there is the company.

ALTER TABLE messages VALIDATE CONSTRAINT messages_connection;
ALTER TABLE inbound_messages VALIDATE CONSTRAINT inbound_messages_connection;
ALTER TABLE inbound_media VALIDATE CONSTRAINT inbound_media_connection;
ALTER TABLE inbound_media VALIDATE CONSTRAINT inbound_media_message;
ALTER TABLE tasks VALIDATE CONSTRAINT tasks_connection;

ALTER TABLE messages DROP CONSTRAINT messages_connection_id_fkey, DROP CONSTRAINT messages_company_id_fkey;
ALTER TABLE inbound_messages DROP CONSTRAINT inbound_messages_connection_id_fkey, DROP CONSTRAINT inbound_messages_company_id_fkey;
ALTER TABLE inbound_media DROP CONSTRAINT inbound_media_connection_id_fkey, DROP CONSTRAINT inbound_media_message_id_fkey,
    DROP CONSTRAINT inbound_media_company_id_fkey;
ALTER TABLE tasks DROP CONSTRAINT tasks_connection_id_fkey;
