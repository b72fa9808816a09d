-- depends: 0110.health
-- Alerts that fired, and silences of operators.

-- One alert of one rule about one thing, as one host's recorder found it.
CREATE TABLE alerts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- of the recorder that found it: two hosts have slots of the same names
    host        text NOT NULL,
    -- a row of `shared/alert_rules.py`
    name        text NOT NULL,
    -- what it is about; names and values are few and chosen by the rule
    labels      jsonb NOT NULL,
    severity    text NOT NULL,
    summary     text NOT NULL,
    value       double precision NOT NULL,
    fired_at    timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,
    -- when its event was written; null while it is silenced
    notified_at timestamptz
);
CREATE UNIQUE INDEX alerts_on ON alerts (host, name, labels) WHERE ended_at IS NULL;
CREATE INDEX alerts_ended_at ON alerts (ended_at) WHERE ended_at IS NOT NULL;

-- For how long there are no events of certain alerts. They are kept as rows all the same.
CREATE TABLE alert_silences (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- of a rule; empty: all
    name       text NOT NULL,
    -- only alerts that have these labels
    labels     jsonb NOT NULL DEFAULT '{}',
    reason     text NOT NULL,
    until      timestamptz NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
