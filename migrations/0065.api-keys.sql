-- Keys of API clients: of the installation (company_id null) or of one company.

CREATE TABLE api_keys (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- null: a key of the installation, which reaches every company
    company_id      text REFERENCES companies ON DELETE CASCADE,
    name            text NOT NULL,
    -- the first characters of the key, by which people recognise it
    prefix          text NOT NULL,
    -- SHA-256 of the key. The key itself is kept nowhere: it holds 256 random bits, so a plain digest cannot be reversed
    -- by trying, and looking it up needs no secret.
    digest          bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    -- the key before the last rotation, and until when it is still taken
    previous_digest bytea UNIQUE CHECK (length(previous_digest) = 32),
    previous_until  timestamptz,
    scopes          text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['send', 'read', 'manage', 'operate']),
    created_at      timestamptz NOT NULL DEFAULT now(),
    rotated_at      timestamptz,
    expires_at      timestamptz,
    -- written in batches, so some seconds late
    last_used_at    timestamptz,
    revoked_at      timestamptz,
    CHECK ((previous_digest IS NULL) = (previous_until IS NULL))
);
CREATE INDEX api_keys_company ON api_keys (company_id, id);
