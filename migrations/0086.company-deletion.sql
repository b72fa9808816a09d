-- depends: 0080.row-level-security 0085.companies
-- Companies are deleted with everything of theirs, in bounded batches.

-- null: a task of the installation, about a company that may be gone by now
ALTER TABLE tasks ALTER COLUMN company_id DROP NOT NULL,
    -- how far it is, while it runs; what is in it depends on the operation
    ADD COLUMN progress jsonb;

-- Ids of companies that were deleted: the environment, which is a seed, must not make one again. Creating a company with
-- such an id takes the row away.
CREATE TABLE deleted_companies (
    id         text PRIMARY KEY,
    deleted_at timestamptz NOT NULL DEFAULT now()
);

-- A company may change itself; not its state, nor its limits.
DO $$
BEGIN
    PERFORM protect_table('companies', 'id = own_company()', 'SELECT, UPDATE (name, in_doubt_policy, settings, version, updated_at)');
END
$$;

-- Tables that hold rows of companies, each with the condition for those of the company $1, in the order in which rows may
-- be deleted: what refers to a row comes before it, so that no foreign key deletes without a bound. Made of the catalogue:
-- a table that is added later is one of them if it has a column company_id, connection_id or hook_id, or refers to one of
-- these tables. `companies` itself is not among them.
CREATE FUNCTION company_tables() RETURNS TABLE (name text, condition text) LANGUAGE sql STABLE AS $$
    WITH RECURSIVE tables AS (
        SELECT c.oid, c.relname::text AS name FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'companies'
    ), columns AS (
        SELECT t.oid, t.name, a.attname::text AS reference FROM tables t
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    ), keys AS (
        -- by a foreign key, or by the name of the column: some tables have none, for speed
        SELECT k.conrelid AS child, k.confrelid AS parent, c.attname::text AS reference, p.attname::text AS target
        FROM pg_constraint k
        JOIN pg_attribute c ON c.attrelid = k.conrelid AND c.attnum = k.conkey[1]
        JOIN pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = k.confkey[1]
        WHERE k.contype = 'f' AND cardinality(k.conkey) = 1 AND k.conrelid <> k.confrelid
        UNION
        SELECT c.oid, known.parent::regclass, c.reference, 'id' FROM columns c
        JOIN (VALUES ('connection_id', 'phone_configs'), ('hook_id', 'hooks')) AS known(reference, parent) USING (reference)
    ), owned AS (
        SELECT c.oid, c.name, 'company_id = $1' COLLATE "C" AS condition, 0 AS depth FROM columns c WHERE c.reference = 'company_id'
        UNION ALL
        SELECT t.oid, t.name, format('%I IN (SELECT %I FROM %I WHERE %s)', k.reference, k.target, o.name, o.condition), o.depth + 1
        FROM owned o JOIN keys k ON k.parent = o.oid JOIN tables t ON t.oid = k.child
        -- the company is on the row itself: that says more than what it refers to
        WHERE o.depth < 5 AND NOT EXISTS (SELECT FROM columns c WHERE c.oid = t.oid AND c.reference = 'company_id')
    ), edges AS (
        SELECT child, parent FROM keys
        UNION
        SELECT k.conrelid, k.confrelid FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid <> k.confrelid
    ), ranks AS (
        SELECT oid, 0 AS rank FROM tables
        UNION ALL
        SELECT e.child, r.rank + 1 FROM ranks r JOIN edges e ON e.parent = r.oid WHERE r.rank < 10
    )
    SELECT o.name, string_agg(DISTINCT o.condition, ' OR ') FROM owned o
    GROUP BY o.name, o.oid
    -- events come last: each deletion before may be the end of a transaction that writes one
    ORDER BY o.name = 'events', (SELECT max(r.rank) FROM ranks r WHERE r.oid = o.oid) DESC, o.name
$$;

-- Delete rows of a company from one table, as far as they lie in `blocks` blocks from `first` on (of each partition, if it
-- has some). Whatever the indexes are, a batch reads so many blocks. Returns how many rows were deleted, and whether there
-- are blocks beyond.
CREATE FUNCTION delete_company_rows(company text, relation text, condition text, first bigint, blocks bigint)
RETURNS TABLE (deleted bigint, more boolean) LANGUAGE plpgsql AS $$
BEGIN
    -- the names are those of `company_tables`, never a client's
    EXECUTE format('DELETE FROM %I WHERE ctid >= %L::tid AND ctid < %L::tid AND (%s)', relation, format('(%s,0)', first),
                   format('(%s,0)', first + blocks), condition) USING company;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    SELECT coalesce(max(pg_relation_size(part.relid)), 0) / current_setting('block_size')::bigint > first + blocks INTO more
    FROM (SELECT relid FROM pg_partition_tree(relation::regclass) WHERE isleaf UNION SELECT relation::regclass) AS part;
    RETURN NEXT;
END
$$;
