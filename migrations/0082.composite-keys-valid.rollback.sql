ALTER TABLE tasks ADD CONSTRAINT tasks_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES phone_configs ON DELETE SET NULL;
ALTER TABLE inbound_media ADD CONSTRAINT inbound_media_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES phone_configs ON DELETE CASCADE,
    ADD CONSTRAINT inbound_media_message_id_fkey FOREIGN KEY (message_id) REFERENCES inbound_messages ON DELETE CASCADE,
    ADD CONSTRAINT inbound_media_company_id_fkey FOREIGN KEY (company_id) REFERENCES companies ON DELETE CASCADE;
ALTER TABLE inbound_messages ADD CONSTRAINT inbound_messages_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES phone_configs ON DELETE CASCADE,
    ADD CONSTRAINT inbound_messages_company_id_fkey FOREIGN KEY (company_id) REFERENCES companies ON DELETE CASCADE;
ALTER TABLE messages ADD CONSTRAINT messages_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES phone_configs ON DELETE CASCADE,
    ADD CONSTRAINT messages_company_id_fkey FOREIGN KEY (company_id) REFERENCES companies ON DELETE CASCADE;
