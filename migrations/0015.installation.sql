-- depends: 0010.events
-- Who made a token: two installations count the same rows, and may receive each other's webhooks.
CREATE TABLE installation (
    id         text NOT NULL CHECK (id ~ '^[0-9a-f]{16}$'),
    -- at most one row: a second one would violate the key
    is_only    boolean PRIMARY KEY DEFAULT true CHECK (is_only)
);
-- 64 random bits: two installations that share an account must not draw the same.
INSERT INTO installation (id) VALUES (left(replace(gen_random_uuid()::text, '-', ''), 16));

-- Attempts up to this one ended as a dead letter that a human redrove: what the provider reports about them does not
-- move the row.
ALTER TABLE messages ADD COLUMN closed_attempt integer NOT NULL DEFAULT 0;
