-- What is deleted for everyone loses its content, and edits and deletions that found no message are looked at again.

-- What is left of the content of a message that is deleted for everyone, or of an edit of one: what it was about, and when.
CREATE FUNCTION erased_content(content jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object('target', content -> 'target', 'target_id', content -> 'target_id',
                                                'deleted_at', content -> 'deleted_at', 'erased', true))
$$;
CREATE INDEX messages_edits ON messages (connection_id, (content ->> 'target')) WHERE type = 'edit';

-- When an edit or a deletion is applied again, because it has found nothing so far; null for everything else.
ALTER TABLE inbound_messages ADD COLUMN look_again_at timestamptz;
CREATE INDEX inbound_messages_look_again ON inbound_messages (look_again_at) WHERE look_again_at IS NOT NULL;

-- Raw events that hold a message: those in which it came again, or that are not its own journal row, and those from which it has to be removed.
CREATE TABLE journal_copies (
    connection_id bigint NOT NULL REFERENCES phone_configs ON DELETE CASCADE,
    -- of the message
    provider_id   text NOT NULL,
    -- No foreign key: its check would wait for whoever processes that row. Retention forgets copies whose row is gone.
    journal_id    bigint NOT NULL,
    -- the message is deleted: it is removed from the raw event, and then this row
    is_due        boolean NOT NULL DEFAULT false,
    PRIMARY KEY (connection_id, provider_id, journal_id)
);
CREATE INDEX journal_copies_due ON journal_copies (journal_id) WHERE is_due;

-- What was deleted before this version.
UPDATE inbound_messages m
SET content = m.content || jsonb_build_object('deleted_at', (
        SELECT min(c.at) FROM inbound_messages c
        WHERE c.connection_id = m.connection_id AND c.type = 'revoke'
          AND c.content ->> 'target' IN (m.provider_id, regexp_replace(m.provider_id, '#[0-9]{1,3}$', ''))))
WHERE m.state = 'deleted' AND NOT m.content ? 'deleted_at';

WITH gone AS (
    SELECT company_id, connection_id, provider_id, chat_id, '' AS sender, true AS from_me, content -> 'deleted_at' AS deleted_at
    FROM messages WHERE state = 'deleted' AND error_code <> 'cancelled' AND provider_id <> ''
    UNION ALL
    SELECT company_id, connection_id, provider_id, chat_id, sender, from_me, content -> 'deleted_at' FROM inbound_messages WHERE state = 'deleted'
), edits AS (
    SELECT e.id, gone.deleted_at FROM gone JOIN inbound_messages e
        ON e.connection_id = gone.connection_id AND e.type = 'edit'
       AND e.content ->> 'target' IN (gone.provider_id, regexp_replace(gone.provider_id, '#[0-9]{1,3}$', ''))
    WHERE is_by_author(gone.company_id, gone.chat_id, gone.sender, gone.from_me, e.chat_id, e.sender, e.from_me)
), edits_sent AS (
    UPDATE messages e SET content = erased_content(e.content || jsonb_build_object('deleted_at', gone.deleted_at))
    FROM gone
    WHERE e.type = 'edit' AND e.connection_id = gone.connection_id AND e.content ->> 'target' = gone.provider_id
      AND e.state IN ('sent', 'delivered', 'read')
)
UPDATE inbound_messages e SET content = erased_content(e.content || jsonb_build_object('deleted_at', edits.deleted_at))
FROM edits WHERE e.id = edits.id;

UPDATE messages SET content = erased_content(content) WHERE state = 'deleted' AND error_code <> 'cancelled';
UPDATE inbound_media f SET source = '{}' FROM inbound_messages i WHERE i.id = f.message_id AND i.state = 'deleted';
UPDATE inbound_messages SET content = erased_content(content), context = '{}' WHERE state = 'deleted';
INSERT INTO journal_copies (connection_id, provider_id, journal_id, is_due)
SELECT connection_id, provider_id, journal_id, true FROM inbound_messages WHERE content ? 'erased' AND journal_id IS NOT NULL;
