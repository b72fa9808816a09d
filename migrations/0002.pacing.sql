-- Pacing, scheduled sends, and what a human decides about one message.

-- How fast one number may send, and what it has spent of that. Written by the process kind that serves the number (`shared/pacing.py` says how a
-- row follows from settings and the connection's options); a number without a row has no limits yet. Each limit lets one message through each
-- `every_s` seconds in the long run and `burst` at once; zero seconds are no limit. What is spent lies ahead of now in `spent_until`.
CREATE TABLE pacing (
    connection_id   bigint PRIMARY KEY REFERENCES phone_configs ON DELETE CASCADE,
    every_s         double precision NOT NULL DEFAULT 0,
    burst           double precision NOT NULL DEFAULT 1,
    -- part of `every_s` by which each message costs more or less, at random
    jitter          double precision NOT NULL DEFAULT 0,
    day_every_s     double precision NOT NULL DEFAULT 0,
    day_burst       double precision NOT NULL DEFAULT 1,
    pair_every_s    double precision NOT NULL DEFAULT 0,
    pair_burst      double precision NOT NULL DEFAULT 1,
    spent_until     timestamptz NOT NULL DEFAULT now(),
    day_spent_until timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);

-- What one number has spent of its limit to one chat. Not logged: after a crash of PostgreSQL the provider's own refusals say who has to wait.
CREATE UNLOGGED TABLE pair_pacing (
    connection_id bigint NOT NULL,
    chat_id       text NOT NULL,
    spent_until   timestamptz NOT NULL,
    PRIMARY KEY (connection_id, chat_id)
) WITH (fillfactor = 70);

-- How many messages a limit lets through now; a limit of zero seconds, or none at all, lets through any number.
CREATE FUNCTION tokens_left(spent_until timestamptz, every_s double precision, burst double precision) RETURNS double precision LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN every_s > 0 THEN floor(burst - greatest(0, extract(epoch FROM spent_until - now())::double precision) / every_s + 1e-6) ELSE 1e9 END
$$;

ALTER TABLE messages
    -- when the client wants it sent; until then it is no open head of its chat, while a retry that waits (`not_before`) is
    ADD COLUMN scheduled_for timestamptz,
    -- attempts before the last redrive: they stay counted, since each names its send at the provider, but are not charged any more
    ADD COLUMN forgiven smallint NOT NULL DEFAULT 0,
    ADD COLUMN in_doubt_policy text CHECK (in_doubt_policy IN ('auto', 'resend', 'hold'));

-- By number, so that one number's backlog is not in the way of another's.
DROP INDEX messages_queued;
CREATE INDEX messages_queued ON messages (connection_id, id) WHERE state = 'queued' AND scheduled_for IS NULL;
CREATE INDEX messages_scheduled ON messages (connection_id, scheduled_for) WHERE state = 'queued' AND scheduled_for IS NOT NULL;
CREATE INDEX messages_for_humans ON messages (company_id, id) WHERE state = 'failed' OR held_at IS NOT NULL;
