-- What a message that acts on another one leaves there, and how reactions to a message are found.

CREATE INDEX messages_reactions ON messages ((content ->> 'target')) WHERE type = 'reaction';
CREATE INDEX inbound_messages_reactions ON inbound_messages ((content ->> 'target')) WHERE type = 'reaction';

-- An edit or a deletion that went out changes the message that it is about, in the transaction that says so, whoever says it: the sender, a receipt,
-- reclaim, reconciliation or a human.
CREATE FUNCTION apply_to_target() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    target   bigint := CASE WHEN NEW.content ->> 'target_id' ~ '^[0-9]{1,18}$' THEN (NEW.content ->> 'target_id')::bigint END;
    gone     boolean := NEW.type = 'delete' AND coalesce((NEW.content -> 'everyone')::text, 'true') = 'true';
    deletion jsonb := jsonb_build_object('deleted_at', now(), 'deleted_for', CASE WHEN gone THEN 'everyone' ELSE 'me' END);
    edition  jsonb := jsonb_build_object('edited_at', now());
BEGIN
    WITH changed AS (
        UPDATE messages m
        SET content = m.content || CASE WHEN NEW.type = 'delete' THEN deletion
                                        ELSE edition || jsonb_build_object(CASE WHEN m.type = 'text' THEN 'body' ELSE 'caption' END, NEW.content -> 'body') END,
            state = CASE WHEN gone THEN 'deleted' ELSE m.state END, updated_at = now()
        WHERE m.id = target AND m.connection_id = NEW.connection_id AND m.state IN ('sent', 'delivered', 'read')
        RETURNING m.id, m.state, m.attempt
    )
    -- without `extra`, which marks what the provider said
    INSERT INTO message_events (message_id, state, attempt, code, detail)
    SELECT id, state, attempt, CASE WHEN NEW.type = 'edit' THEN 'edited' WHEN gone THEN 'deleted' ELSE 'deleted_for_me' END, 'by message ' || NEW.id
    FROM changed;
    UPDATE inbound_messages i
    SET content = i.content || CASE WHEN NEW.type = 'delete' THEN deletion
                                    ELSE edition || jsonb_build_object(CASE WHEN i.type = 'text' THEN 'body' ELSE 'caption' END, NEW.content -> 'body') END,
        state = CASE WHEN gone THEN 'deleted' ELSE i.state END
    WHERE i.id = target AND i.connection_id = NEW.connection_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER messages_apply_to_target AFTER UPDATE OF state ON messages FOR EACH ROW
    WHEN (NEW.type IN ('edit', 'delete') AND NEW.state IN ('sent', 'delivered', 'read') AND OLD.state NOT IN ('sent', 'delivered', 'read'))
    EXECUTE FUNCTION apply_to_target();
