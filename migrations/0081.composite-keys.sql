-- depends: 0080.row-level-security
-- A row refers only to rows of its own company. Row-level security does not hold for foreign keys: with the id alone, a
-- row could name another company's, and be deleted with it.

DO $$
DECLARE
    one   record;
    found bigint;
    first bigint;
BEGIN
    FOR one IN SELECT * FROM (VALUES
        ('messages', 'id', 'connection_id', 'phone_configs'), ('inbound_messages', 'id', 'connection_id', 'phone_configs'),
        ('inbound_media', 'message_id', 'connection_id', 'phone_configs'), ('inbound_media', 'message_id', 'message_id', 'inbound_messages'),
        ('tasks', 'id', 'connection_id', 'phone_configs')) AS t (child, key, reference, parent)
    LOOP
        EXECUTE format('SELECT count(*), min(c.%I) FROM %I c JOIN %I p ON p.id = c.%I WHERE p.company_id <> c.company_id',
                       one.key, one.child, one.parent, one.reference) INTO found, first;
        IF found > 0 THEN
            RAISE EXCEPTION '% rows of % (the first: % %) belong to another company than their row of %: correct company_id or delete them, then migrate again',
                found, one.child, one.key, first, one.parent;
        END IF;
    END LOOP;
END
$$;

ALTER TABLE phone_configs ADD CONSTRAINT phone_configs_of_company UNIQUE (company_id, id);
ALTER TABLE inbound_messages ADD CONSTRAINT inbound_messages_of_company UNIQUE (company_id, id);

-- Not validated here: that reads whole tables, and the next migration does it without keeping writers out.
ALTER TABLE messages ADD CONSTRAINT messages_connection
    FOREIGN KEY (company_id, connection_id) REFERENCES phone_configs (company_id, id) ON DELETE CASCADE NOT VALID;
ALTER TABLE inbound_messages ADD CONSTRAINT inbound_messages_connection
    FOREIGN KEY (company_id, connection_id) REFERENCES phone_configs (company_id, id) ON DELETE CASCADE NOT VALID;
ALTER TABLE inbound_media ADD CONSTRAINT inbound_media_connection
    FOREIGN KEY (company_id, connection_id) REFERENCES phone_configs (company_id, id) ON DELETE CASCADE NOT VALID;
ALTER TABLE inbound_media ADD CONSTRAINT inbound_media_message
    FOREIGN KEY (company_id, message_id) REFERENCES inbound_messages (company_id, id) ON DELETE CASCADE NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_connection
    FOREIGN KEY (company_id, connection_id) REFERENCES phone_configs (company_id, id) ON DELETE SET NULL (connection_id) NOT VALID;
