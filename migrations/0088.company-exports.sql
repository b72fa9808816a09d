-- depends: 0080.row-level-security
-- Archives of companies, kept for a while in the company's own part of the storage.

CREATE TABLE company_exports (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id text NOT NULL REFERENCES companies ON DELETE CASCADE,
    -- one archive for a task, however often it is begun
    task_id    bigint NOT NULL UNIQUE,
    sha256     text NOT NULL,
    size       bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX company_exports_expires_at ON company_exports (expires_at);

DO $$
BEGIN
    PERFORM protect_company_table('company_exports', 'SELECT');
END
$$;
