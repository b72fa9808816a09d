-- find_tables --
-- Tables of the single-process server by name, in the first schema of the search path that is not ours and has them.
SELECT c.relname AS name, n.nspname AS place FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY (%(names)s) AND c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname = ANY (current_schemas(false))
  AND NOT EXISTS (SELECT FROM pg_class ours WHERE ours.relname = 'connection_types' AND ours.relnamespace = n.oid)
ORDER BY array_position(current_schemas(false), n.nspname);

-- columns --
-- The columns of a table.
SELECT column_name FROM information_schema.columns WHERE table_schema = %(place)s AND table_name = %(name)s
ORDER BY ordinal_position;

-- read_rows --
-- Rows with the columns that we need, under our names.
SELECT {columns} FROM {table} ORDER BY {order};

-- mark_number --
-- Set the status of one number in the server's own words.
UPDATE {table} SET {status} = %(status)s WHERE {company_id} = %(company_id)s AND {phone_index} = %(phone_index)s;
