-- Back to a table of events for each subject; events that have no such table (connections, templates) are lost.
CREATE TABLE message_events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id  bigint NOT NULL REFERENCES messages ON DELETE CASCADE,
    state       varchar(20) NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    attempt     smallint NOT NULL DEFAULT 0,
    incarnation text NOT NULL DEFAULT '',
    code        text NOT NULL DEFAULT '',
    detail      text NOT NULL DEFAULT '',
    extra       jsonb
);
INSERT INTO message_events (message_id, state, at, attempt, incarnation, code, detail, extra)
SELECT e.message_id, e.state, e.at, least(coalesce(e.attempt, 0), 32767), coalesce(e.incarnation, ''), coalesce(e.code, ''), coalesce(e.detail, ''), e.data
FROM events e JOIN messages m ON m.id = e.message_id WHERE e.subject = 'message' ORDER BY e.id;
CREATE INDEX message_events_message_id ON message_events (message_id, id);

CREATE TABLE session_events (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection_id bigint NOT NULL REFERENCES phone_configs ON DELETE CASCADE,
    at            timestamptz NOT NULL DEFAULT now(),
    event         varchar(30) NOT NULL,
    state         varchar(20) NOT NULL DEFAULT '',
    detail        text NOT NULL DEFAULT '',
    incarnation   text NOT NULL DEFAULT ''
);
INSERT INTO session_events (connection_id, at, event, state, detail, incarnation)
SELECT e.connection_id, e.at, split_part(e.type, '.', 2), coalesce(e.state, ''), coalesce(e.detail, ''), coalesce(e.incarnation, '')
FROM events e JOIN phone_configs c ON c.id = e.connection_id WHERE e.subject = 'session' ORDER BY e.id;
CREATE INDEX session_events_by_connection ON session_events (connection_id, id DESC);

CREATE TABLE process_events (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    boot_id      text NOT NULL,
    seq          bigint NOT NULL,
    at           timestamptz NOT NULL,
    event        varchar(40) NOT NULL,
    process_name varchar(20) NOT NULL DEFAULT '',
    instance     integer,
    incarnation  text NOT NULL DEFAULT '',
    detail       jsonb NOT NULL DEFAULT '{}',
    UNIQUE (boot_id, seq)
);
INSERT INTO process_events (boot_id, seq, at, event, process_name, instance, incarnation, detail)
SELECT data ->> 'boot', (data ->> 'seq')::bigint, at, split_part(type, '.', 2), coalesce(kind, ''), substring(slot FROM '-([0-9]+)$')::integer,
       coalesce(incarnation, ''), data -> 'detail'
FROM events WHERE subject = 'process' ORDER BY id;
CREATE INDEX process_events_by_process ON process_events (process_name, at DESC);
CREATE INDEX process_events_slot_free ON process_events (incarnation) WHERE event = 'slot_free';

DROP VIEW recent_process_events;
CREATE VIEW recent_process_events AS
    SELECT at, process_name, instance, event, detail FROM process_events WHERE at > now() - interval '1 hour' ORDER BY at DESC;

CREATE TABLE account_events (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    process_name varchar(20) NOT NULL,
    account_id   text NOT NULL,
    kind         varchar(60) NOT NULL,
    value        jsonb NOT NULL,
    at           timestamptz NOT NULL,
    name         text NOT NULL UNIQUE,
    journal_id   bigint REFERENCES inbound_journal ON DELETE SET NULL,
    handled_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);
INSERT INTO account_events (process_name, account_id, kind, value, at, name, journal_id, handled_at, created_at)
SELECT e.kind, e.data ->> 'accountId', split_part(e.type, '.', 2), e.data -> 'value', e.at, e.data ->> 'name', j.id, e.written_at, e.written_at
FROM events e LEFT JOIN inbound_journal j ON j.id = (e.data ->> 'journalId')::bigint WHERE e.subject = 'account' ORDER BY e.id;
CREATE INDEX account_events_open ON account_events (process_name, id) WHERE handled_at IS NULL;
CREATE INDEX account_events_account ON account_events (account_id, id);

DROP TABLE event_positions, event_names, events;
DROP FUNCTION make_event_partitions(integer);
DROP FUNCTION drop_event_partitions(text, double precision);

-- An edit or a deletion that went out changes the message that it is about, in the transaction in which it goes out,
-- whatever the cause: the sender, a receipt, reclaim, reconciliation or a human.
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
