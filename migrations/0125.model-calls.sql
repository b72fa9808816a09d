-- depends: 0130.documents
-- What the assistant asked models and tools: each call once, and what it cost.

-- Money of one company in one month (UTC), in millionths of a dollar. Reserved before a call, spent after it: two calls
-- at once cannot both take what is left.
CREATE TABLE model_spend (
    company_id      text NOT NULL,
    month           date NOT NULL,
    spent_micros    bigint NOT NULL DEFAULT 0,
    reserved_micros bigint NOT NULL DEFAULT 0,
    calls           bigint NOT NULL DEFAULT 0,
    tokens_in       bigint NOT NULL DEFAULT 0,
    tokens_out      bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (company_id, month)
) WITH (fillfactor = 70);

-- One call of a model. Those of one run (a turn, or a question of the API) are its memory: a process that takes it over
-- goes on behind the last answer.
CREATE TABLE model_calls (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id      text NOT NULL,
    -- `turn-<id>` or `task-<id>`
    run             text NOT NULL,
    -- asked: the answer is not known; of a dead process it never will be
    state           text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'answered', 'failed')),
    model           text NOT NULL,
    reason          text NOT NULL DEFAULT '',
    month           date NOT NULL,
    reserved_micros bigint NOT NULL,
    cost_micros     bigint NOT NULL DEFAULT 0,
    tokens_in       integer NOT NULL DEFAULT 0,
    tokens_out      integer NOT NULL DEFAULT 0,
    took_ms         integer,
    -- the message of the model while the run lasts
    answer          jsonb,
    asked_at        timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    UNIQUE (company_id, id)
) WITH (fillfactor = 80);
CREATE INDEX model_calls_run ON model_calls (company_id, run, id);
CREATE INDEX model_calls_asked_at ON model_calls (asked_at);

-- One call of a tool. Its key (run, model call, place) is written before or with its effect, so that it has it once.
CREATE TABLE tool_calls (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id    text NOT NULL,
    run           text NOT NULL,
    model_call_id bigint NOT NULL,
    position      integer NOT NULL,
    name          text NOT NULL,
    -- running: it may have had its effect
    state         text NOT NULL CHECK (state IN ('running', 'done', 'failed', 'unclear')),
    -- of name and arguments, to notice a repetition
    digest        text NOT NULL,
    -- what the model is told, while the run lasts
    result        text,
    started_at    timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz,
    UNIQUE (model_call_id, position),
    FOREIGN KEY (company_id, model_call_id) REFERENCES model_calls (company_id, id) ON DELETE CASCADE
);
CREATE INDEX tool_calls_run ON tool_calls (company_id, run, id);

DO $$
BEGIN
    PERFORM protect_company_table('model_spend', 'SELECT');
    PERFORM protect_company_table('model_calls', '');
    PERFORM protect_company_table('tool_calls', '');
END
$$;
