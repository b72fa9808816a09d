-- depends: 0010.events
-- Who made a token: two installations count the same rows, and may receive each other's webhooks.
CREATE TABLE installation (
    id         text NOT NULL CHECK (id ~ '^[0-9a-f]{16}$'),
    is_only    boolean PRIMARY KEY DEFAULT true CHECK (is_only)
);
INSERT INTO installation (id) VALUES (left(replace(gen_random_uuid()::text, '-', ''), 16));

-- Attempts up to this one ended as a dead letter that a human redrove: news about them do not move the row.
ALTER TABLE messages ADD COLUMN closed_attempt integer NOT NULL DEFAULT 0;
