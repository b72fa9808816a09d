-- The environment is a seed, rows are the truth: which connection each of its values made, so that a start undoes
-- nothing that an operator did.

CREATE TABLE environment_seeds (
    company_id  text NOT NULL REFERENCES companies ON DELETE CASCADE,
    phone_index integer NOT NULL,
    -- of what the environment said when it was looked at last
    digest      text NOT NULL,
    -- of the connection as the seed left it; another one now: an operator has changed it
    written     text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (company_id, phone_index)
);
