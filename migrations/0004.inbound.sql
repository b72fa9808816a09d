-- Everything that comes in: edits and revokes, people, files that came with messages, and news of accounts.

ALTER TABLE inbound_messages
    -- deleted: whoever wrote it took it back; the text stays, as the chat knew it
    ADD COLUMN state varchar(20) NOT NULL DEFAULT 'received' CHECK (state IN ('received', 'deleted')),
    -- whether automations may act on it: never on what the company wrote itself, on history, and on lines that nobody wrote
    ADD COLUMN may_trigger boolean NOT NULL DEFAULT true;
CREATE INDEX inbound_messages_changes ON inbound_messages (connection_id, (content ->> 'target')) WHERE type IN ('edit', 'revoke');
CREATE INDEX inbound_journal_named ON inbound_journal (id) WHERE outcome <> '';

-- People as one connection sees them. user_id is the channel's id (business-scoped, page-scoped) where there is one, else the phone number.
CREATE TABLE contacts (
    connection_id bigint NOT NULL REFERENCES phone_configs ON DELETE CASCADE,
    user_id       text NOT NULL,
    phone         text,
    name          text NOT NULL DEFAULT '',
    username      text NOT NULL DEFAULT '',
    -- what the person was called before: user ids and phone numbers
    former_ids    text[] NOT NULL DEFAULT '{}',
    -- null: never said
    wants_marketing boolean,
    marketing_at  timestamptz,
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    PRIMARY KEY (connection_id, user_id)
) WITH (fillfactor = 70);
CREATE INDEX contacts_phone ON contacts (connection_id, phone) WHERE phone IS NOT NULL;

-- Files that came with messages and lie at the provider until they are fetched. A row that is being fetched is not due again before its lease ends.
CREATE TABLE inbound_media (
    message_id    bigint PRIMARY KEY REFERENCES inbound_messages ON DELETE CASCADE,
    company_id    text NOT NULL REFERENCES companies ON DELETE CASCADE,
    connection_id bigint NOT NULL REFERENCES phone_configs ON DELETE CASCADE,
    process_name  varchar(20) NOT NULL,
    -- how the provider names the file: id, url, mimetype, sha256, filename
    source        jsonb NOT NULL,
    state         varchar(20) NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'stored', 'refused', 'failed')),
    attempts      smallint NOT NULL DEFAULT 0,
    not_before    timestamptz NOT NULL DEFAULT now(),
    incarnation   text NOT NULL DEFAULT '',
    -- of the file in our storage
    sha256        text NOT NULL DEFAULT '',
    mimetype      text NOT NULL DEFAULT '',
    size          bigint NOT NULL DEFAULT 0,
    reason        text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
CREATE INDEX inbound_media_pending ON inbound_media (process_name, not_before) WHERE state = 'pending';
CREATE INDEX inbound_media_named ON inbound_media (message_id) WHERE state IN ('refused', 'failed');

-- News about a business account, a number or a template, as the provider told it; `name` makes a second arrival a no-op.
CREATE TABLE account_events (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    process_name varchar(20) NOT NULL,
    account_id   text NOT NULL,
    kind         varchar(60) NOT NULL,
    value        jsonb NOT NULL,
    at           timestamptz NOT NULL,
    name         text NOT NULL UNIQUE,
    journal_id   bigint REFERENCES inbound_journal ON DELETE SET NULL,
    -- when somebody made something of it; null: not yet
    handled_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX account_events_open ON account_events (process_name, id) WHERE handled_at IS NULL;
CREATE INDEX account_events_account ON account_events (account_id, id);
