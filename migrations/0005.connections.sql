-- Tasks: how the API asks a process to do something that is no message.

CREATE TABLE tasks (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id    text NOT NULL REFERENCES companies ON DELETE CASCADE,
    -- empty when the task concerns no connection, or one that is gone meanwhile
    connection_id bigint REFERENCES phone_configs ON DELETE SET NULL,
    process_name  varchar(20) NOT NULL,
    operation     varchar(40) NOT NULL,
    arguments     jsonb NOT NULL DEFAULT '{}',
    -- what must not be read in the table (AES-256-GCM); emptied when the task ends
    sealed        text NOT NULL DEFAULT '',
    -- whether it may be begun again after the process that ran it died
    repeatable    boolean NOT NULL DEFAULT false,
    state         varchar(20) NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed')),
    attempt       smallint NOT NULL DEFAULT 0,
    incarnation   text NOT NULL DEFAULT '',
    result        jsonb,
    problem_code  varchar(40) NOT NULL DEFAULT '',
    problem       text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    finished_at   timestamptz
);
CREATE INDEX tasks_queued ON tasks (process_name, id) WHERE state = 'queued';
CREATE INDEX tasks_running ON tasks (incarnation) WHERE state = 'running';
CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX tasks_by_connection ON tasks (connection_id);

-- Connections that are removed keep their row, so that their messages keep their history; the index may be given again.
ALTER TABLE phone_configs
    DROP CONSTRAINT phone_configs_status_check,
    ADD CONSTRAINT phone_configs_status_check CHECK (status IN ('active', 'paused', 'removed')),
    DROP CONSTRAINT phone_configs_company_id_phone_index_key,
    -- Meta's WhatsApp Business Account; account and template events name it
    ADD COLUMN waba_id text NOT NULL DEFAULT '',
    -- when the provider's templates were read last; until then nothing is known about any
    ADD COLUMN templates_synced_at timestamptz;
CREATE UNIQUE INDEX phone_configs_phone_index ON phone_configs (company_id, phone_index) WHERE status <> 'removed';
CREATE INDEX phone_configs_waba_id ON phone_configs (waba_id) WHERE waba_id <> '';

-- What the provider said about the number and the token, and when: quality, limits, validity, expiry.
ALTER TABLE phone_status
    ADD COLUMN facts jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN warning text NOT NULL DEFAULT '',
    ADD COLUMN checked_at timestamptz;

-- Message templates as the provider has them: read by a sync, kept fresh by its webhooks.
CREATE TABLE templates (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection_id bigint NOT NULL REFERENCES phone_configs ON DELETE CASCADE,
    provider_id   text NOT NULL DEFAULT '',
    name          text NOT NULL,
    language      varchar(20) NOT NULL,
    category      text NOT NULL DEFAULT '',
    -- the provider's word: APPROVED, PENDING, REJECTED, PAUSED, DISABLED …
    status        text NOT NULL,
    reason        text NOT NULL DEFAULT '',
    quality       text NOT NULL DEFAULT '',
    components    jsonb NOT NULL DEFAULT '[]',
    -- the provider's instant of what is known: an older event changes nothing
    status_at     timestamptz,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (connection_id, name, language)
);
CREATE INDEX templates_provider_id ON templates (provider_id) WHERE provider_id <> '';
