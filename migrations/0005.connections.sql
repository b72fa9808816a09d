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
