-- depends: 0080.row-level-security
-- Secrets of companies, and what shows that a process has the right keys.

CREATE TABLE tenant_secrets (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id text NOT NULL REFERENCES companies ON DELETE CASCADE,
    name       text NOT NULL CHECK (name ~ '^[A-Za-z0-9_.-]{1,64}$'),
    -- key id, nonce and ciphertext (AES-256-GCM), bound to table, company, name and key id
    sealed     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (company_id, name)
);

-- A known text, sealed with each key that ever sealed anything here: a process whose key of that name is another one does
-- not start.
CREATE TABLE secret_keys (
    key_id     text PRIMARY KEY,
    canary     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Which keys the texts in a column are sealed with, and how many each. The two names are those of the registry
-- (`shared.store.sealed`), never a client's.
CREATE FUNCTION sealed_with(relation text, attribute text) RETURNS TABLE (key_id text, number bigint) LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- The id stands before nonce and ciphertext, which are base64 and hold no dot. What has another form is not sealed: no
    -- key opens it, and none is missing for it.
    RETURN QUERY EXECUTE format('SELECT regexp_replace(%1$I, ''[.][^.]*[.][^.]*$'', ''''), count(*) FROM %2$I
                                 WHERE %1$I ~ ''^.+[.][A-Za-z0-9+/]{16}[.][A-Za-z0-9+/]+=*$'' GROUP BY 1 ORDER BY 1', attribute, relation);
END
$$;

DO $$
BEGIN
    PERFORM protect_company_table('tenant_secrets');
END
$$;
