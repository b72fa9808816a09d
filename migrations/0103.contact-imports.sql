-- depends: 0102.searches-of-tenants
-- Files of contacts that are being imported. How far an import is stands beside the file and moves in the transaction of
-- the contacts, so that a death repeats none of them.

CREATE TABLE contact_imports (
    task_id    bigint PRIMARY KEY,
    company_id text NOT NULL REFERENCES companies ON DELETE CASCADE,
    format     text NOT NULL CHECK (format IN ('csv', 'vcard')),
    -- empty: the import has ended
    content    bytea NOT NULL,
    -- contacts of the file that are done
    position   integer NOT NULL DEFAULT 0,
    -- what was done with them, as clients see it
    counts     jsonb NOT NULL DEFAULT '{}'
);

DO $$
BEGIN
    PERFORM protect_company_table('contact_imports', 'INSERT');
END
$$;
