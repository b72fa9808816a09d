-- Bulkhead's first schema. Every table is described where it is made; columns that end in _at are instants.

-- The tenants.
CREATE TABLE companies (
    id              text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    name            text NOT NULL DEFAULT '',
    in_doubt_policy text CHECK (in_doubt_policy IN ('auto', 'resend', 'hold')),
    created_at      timestamptz NOT NULL DEFAULT now()
);

-- Which process kind serves a connection type: a copy of the kinds registry, brought up to date by every migration run.
CREATE TABLE connection_types (
    connection_type varchar(20) PRIMARY KEY,
    process_name    varchar(20) NOT NULL
);

-- One company's phone on a channel. process_name follows from connection_type by trigger; credentials are sealed (AES-256-GCM).
CREATE TABLE phone_configs (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id      text NOT NULL REFERENCES companies ON DELETE CASCADE,
    phone_index     integer NOT NULL CHECK (phone_index BETWEEN 0 AND 9999),
    connection_type varchar(20) NOT NULL REFERENCES connection_types,
    process_name    varchar(20) NOT NULL,
    status          varchar(20) NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused')),
    status_reason   text NOT NULL DEFAULT '',
    desired_state   varchar(20) NOT NULL DEFAULT 'linked' CHECK (desired_state IN ('linked', 'paused', 'logged_out')),
    account_id      text NOT NULL DEFAULT '',
    credentials     text NOT NULL DEFAULT '',
    options         jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (company_id, phone_index)
);
CREATE INDEX phone_configs_process_name_status ON phone_configs (process_name, status);
CREATE INDEX phone_configs_account_id ON phone_configs (account_id) WHERE account_id <> '';

-- What is, as the process that serves the connection sees it; what should be stands in phone_configs.
CREATE TABLE phone_status (
    connection_id bigint PRIMARY KEY REFERENCES phone_configs ON DELETE CASCADE,
    process_name  varchar(20) NOT NULL,
    status        varchar(20) NOT NULL,
    detail        text NOT NULL DEFAULT '',
    qr            text NOT NULL DEFAULT '',
    proved_at     timestamptz,
    last_event_at timestamptz,
    incarnation   text NOT NULL DEFAULT '',
    updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX phone_status_process_name_status ON phone_status (process_name, status);

CREATE FUNCTION set_process_name_from_connection_type() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT process_name INTO NEW.process_name FROM connection_types WHERE connection_type = NEW.connection_type;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
CREATE TRIGGER phone_configs_process_name BEFORE INSERT OR UPDATE ON phone_configs
    FOR EACH ROW EXECUTE FUNCTION set_process_name_from_connection_type();

CREATE FUNCTION set_process_name_from_connection() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT process_name INTO NEW.process_name FROM phone_configs WHERE id = NEW.connection_id;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
CREATE TRIGGER phone_status_process_name BEFORE INSERT OR UPDATE ON phone_status
    FOR EACH ROW EXECUTE FUNCTION set_process_name_from_connection();

-- Outbound messages: one row each, the truth about it. The id gives the order within a chat.
CREATE SEQUENCE message_ids AS bigint;
CREATE TABLE messages (
    id              bigint PRIMARY KEY DEFAULT nextval('message_ids'),
    company_id      text NOT NULL REFERENCES companies ON DELETE CASCADE,
    connection_id   bigint NOT NULL REFERENCES phone_configs ON DELETE CASCADE,
    process_name    varchar(20) NOT NULL,
    chat_id         text NOT NULL,
    type            varchar(20) NOT NULL,
    content         jsonb NOT NULL,
    state           varchar(20) NOT NULL DEFAULT 'queued'
                    CHECK (state IN ('queued', 'sending', 'in_doubt', 'sent', 'delivered', 'read', 'failed', 'deleted')),
    attempt         smallint NOT NULL DEFAULT 0,
    not_before      timestamptz,
    -- the incarnation that claimed the row last: later writes about this attempt must come from it
    incarnation     text NOT NULL DEFAULT '',
    claimed_at      timestamptz,
    -- what names the message at the provider while its answer is unknown: callback data, or the chosen WhatsApp message id
    token           text NOT NULL DEFAULT '',
    provider_id     text NOT NULL DEFAULT '',
    -- how often a process died while its code worked on this row; the second time it is parked
    deaths          smallint NOT NULL DEFAULT 0,
    in_doubt_at     timestamptz,
    -- set when policy leaves an in-doubt message to a human
    held_at         timestamptz,
    error_code      text NOT NULL DEFAULT '',
    error_detail    text NOT NULL DEFAULT '',
    idempotency_key text,
    fingerprint     text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    sent_at         timestamptz,
    updated_at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX messages_idempotency_key ON messages (company_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX messages_open_by_chat ON messages (connection_id, chat_id, id) WHERE state IN ('queued', 'sending', 'in_doubt');
CREATE INDEX messages_queued ON messages (process_name, id) WHERE state = 'queued';
CREATE INDEX messages_sending ON messages (incarnation) WHERE state = 'sending';
CREATE INDEX messages_in_doubt ON messages (process_name, in_doubt_at) WHERE state = 'in_doubt';
CREATE INDEX messages_provider_id ON messages (provider_id, connection_id) WHERE provider_id <> '';
CREATE INDEX messages_token ON messages (token) WHERE token <> '';
CREATE INDEX messages_by_chat ON messages (company_id, chat_id, created_at DESC, id DESC);

-- Every step of every outbound message, in order; never changed.
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
CREATE INDEX message_events_message_id ON message_events (message_id, id);

-- Everything that came in from a provider, as it came, before anything is done with it.
CREATE TABLE inbound_journal (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    process_name  varchar(20) NOT NULL,
    source        varchar(20) NOT NULL,
    connection_id bigint REFERENCES phone_configs ON DELETE CASCADE,
    received_at   timestamptz NOT NULL DEFAULT now(),
    body          bytea NOT NULL,
    attempts      smallint NOT NULL DEFAULT 0,
    processed_at  timestamptz,
    outcome       text NOT NULL DEFAULT ''
);
CREATE INDEX inbound_journal_open ON inbound_journal (process_name, id) WHERE processed_at IS NULL;
CREATE INDEX inbound_journal_received_at ON inbound_journal (source, received_at);

-- Messages from outside in one shape; the unique key is what makes a second arrival a no-op.
CREATE TABLE inbound_messages (
    id            bigint PRIMARY KEY DEFAULT nextval('message_ids'),
    company_id    text NOT NULL REFERENCES companies ON DELETE CASCADE,
    connection_id bigint NOT NULL REFERENCES phone_configs ON DELETE CASCADE,
    journal_id    bigint REFERENCES inbound_journal ON DELETE SET NULL,
    provider_id   text NOT NULL,
    chat_id       text NOT NULL,
    sender        text NOT NULL,
    sender_name   text NOT NULL DEFAULT '',
    from_me       boolean NOT NULL DEFAULT false,
    type          varchar(20) NOT NULL,
    content       jsonb NOT NULL,
    context       jsonb NOT NULL DEFAULT '{}',
    at            timestamptz NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (connection_id, provider_id)
);
CREATE INDEX inbound_messages_by_chat ON inbound_messages (company_id, chat_id, created_at DESC, id DESC);

-- Heartbeat: one row per slot, written from its work loop. For operators and other hosts, never for liveness on this one.
CREATE TABLE process_health (
    process_name       varchar(20) NOT NULL,
    instance           integer NOT NULL,
    status             varchar(20) NOT NULL,
    last_heartbeat     timestamptz NOT NULL,
    error_count        bigint NOT NULL DEFAULT 0,
    last_error         text NOT NULL DEFAULT '',
    uptime_seconds     double precision NOT NULL DEFAULT 0,
    memory_usage_mb    double precision NOT NULL DEFAULT 0,
    active_connections integer NOT NULL DEFAULT 0,
    pid                integer NOT NULL DEFAULT 0,
    host               text NOT NULL DEFAULT '',
    incarnation        text NOT NULL DEFAULT '',
    detail             jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (process_name, instance)
);
CREATE INDEX process_health_process_name_status ON process_health (process_name, status);

-- Figures over time, one row per slot and heartbeat.
CREATE TABLE process_metrics (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    process_name varchar(20) NOT NULL,
    instance     integer NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    metrics      jsonb NOT NULL
);
CREATE INDEX process_metrics_by_process ON process_metrics (process_name, instance, at DESC);

-- What the orchestrator saw; (boot_id, seq) comes from its journal file, so that reading it twice writes it once.
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
CREATE INDEX process_events_by_process ON process_events (process_name, at DESC);
CREATE INDEX process_events_slot_free ON process_events (incarnation) WHERE event = 'slot_free';

-- Healthy under 30 s, degraded under 60 s, else down; a process that never started has no row and is down.
CREATE FUNCTION heartbeat_status(last_heartbeat timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN last_heartbeat > now() - interval '30 seconds' THEN 'healthy'
                WHEN last_heartbeat > now() - interval '60 seconds' THEN 'degraded'
                ELSE 'down' END
$$;

CREATE VIEW process_status AS
    SELECT process_name, instance, heartbeat_status(last_heartbeat) AS status, status AS reported, last_heartbeat,
           extract(epoch FROM now() - last_heartbeat) AS silent_s, error_count, last_error, uptime_seconds, memory_usage_mb,
           active_connections, pid, host, incarnation, detail
    FROM process_health;

CREATE VIEW queue_depth AS
    SELECT process_name, state, count(*) AS messages, min(created_at) AS oldest_at
    FROM messages WHERE state IN ('queued', 'sending', 'in_doubt') GROUP BY process_name, state;

CREATE VIEW messages_per_minute AS
    SELECT date_trunc('minute', created_at) AS minute, process_name, state, count(*) AS messages
    FROM messages WHERE created_at > now() - interval '1 hour' GROUP BY 1, 2, 3;

CREATE VIEW connection_overview AS
    SELECT c.company_id, c.phone_index, c.connection_type, c.process_name, c.status AS configured, c.status_reason, c.desired_state,
           coalesce(s.status, 'absent') AS observed, coalesce(s.detail, '') AS detail, s.proved_at, s.updated_at
    FROM phone_configs c LEFT JOIN phone_status s ON s.connection_id = c.id;

CREATE VIEW recent_process_events AS
    SELECT at, process_name, instance, event, detail FROM process_events WHERE at > now() - interval '1 hour' ORDER BY at DESC;
