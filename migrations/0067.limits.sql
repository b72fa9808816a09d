-- Limits of keys and companies; null in a limit: the setting decides.
ALTER TABLE api_keys ADD COLUMN limits jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(limits) = 'object');
ALTER TABLE companies ADD COLUMN limits jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(limits) = 'object');

-- What is left of each limit, shared by the API's processes. Unlogged: it changes ten times a second, and after a crash
-- every limit may begin anew.
CREATE UNLOGGED TABLE limit_buckets (
    name        text PRIMARY KEY,
    -- how much it holds at most, and what comes in each second
    capacity    double precision NOT NULL,
    rate        double precision NOT NULL,
    -- below zero: more was spent than there was, by processes that did not know of each other yet
    tokens      double precision NOT NULL,
    refilled_at timestamptz NOT NULL
) WITH (fillfactor = 50);
