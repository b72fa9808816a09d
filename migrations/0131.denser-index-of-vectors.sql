-- depends: 0130.documents
-- The index of vectors is denser, and followed further: with pgvector's defaults it missed a third of the passages that
-- are unlike all others of a company (docs/adr/0130-what-a-score-of-a-passage-means.md).

-- Make the index for vectors of one length, when pgvector is there and has none. Returns whether there is one. Each
-- length has its own: an index holds vectors of one length, and companies may use models of several.
CREATE OR REPLACE FUNCTION prepare_vectors(length integer) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    -- 4000 is the longest that pgvector indexes as half precision
    IF NOT has_pgvector() OR length NOT BETWEEN 1 AND 4000 THEN
        RETURN false;
    END IF;
    IF to_regclass('chunk_vectors_near_' || length) IS NULL THEN
        EXECUTE format('CREATE INDEX IF NOT EXISTS chunk_vectors_near_%1$s ON chunk_vectors '
                       'USING hnsw ((embedding::halfvec(%1$s)) halfvec_cosine_ops) '
                       'WITH (m = 32, ef_construction = 200) WHERE dimensions = %1$s', length);
    END IF;
    RETURN true;
END
$$;

-- The nearest passages of one company by pgvector, with their similarity (cosine), and those of `beside`. `exactly`: all
-- vectors of the company are compared, else the index is followed until enough are the company's.
CREATE OR REPLACE FUNCTION near_chunks(company text, by_model text, question real[], most integer, beside bigint[], exactly boolean)
RETURNS TABLE (chunk_id bigint, similarity double precision) LANGUAGE plpgsql AS $$
DECLARE
    length  integer := cardinality(question);
    of_them text := format('v.company_id = $1 AND v.model = $2 AND v.dimensions = %s', length);
    current text := 'JOIN documents d ON d.id = n.document_id AND d.generation = n.generation AND d.state <> ''deleting''';
    nearest text;
BEGIN
    IF exactly THEN
        -- materialised: else the planner would follow the index after all
        nearest := format('WITH n AS MATERIALIZED (SELECT v.chunk_id, v.document_id, v.generation, '
                          '(v.embedding::vector(%1$s) <=> $3::vector(%1$s)) AS distance FROM chunk_vectors v WHERE %2$s) '
                          'SELECT n.chunk_id, n.distance FROM n %3$s ORDER BY n.distance LIMIT $4', length, of_them, current);
    ELSE
        -- until their end: strict_order returns them in order; more are looked at than by default, since a company may
        -- have one passage in a thousand
        PERFORM set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', '400', true),
                set_config('hnsw.max_scan_tuples', '40000', true);
        -- twice as many: some may be of an index that is being replaced
        nearest := format('WITH n AS MATERIALIZED (SELECT v.chunk_id, v.document_id, v.generation, '
                          '(v.embedding::halfvec(%1$s) <=> $3::halfvec(%1$s)) AS distance FROM chunk_vectors v WHERE %2$s '
                          'ORDER BY v.embedding::halfvec(%1$s) <=> $3::halfvec(%1$s) LIMIT 2 * $4) '
                          'SELECT n.chunk_id, n.distance FROM n %3$s ORDER BY n.distance LIMIT $4', length, of_them, current);
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT found.chunk_id, (1 - found.distance)::double precision FROM (%1$s) AS found UNION '
        'SELECT v.chunk_id, (1 - (v.embedding::halfvec(%2$s) <=> $3::halfvec(%2$s)))::double precision FROM chunk_vectors v '
        'WHERE v.chunk_id = ANY($5) AND %3$s', nearest, length, of_them)
        USING company, by_model, question, most, beside;
END
$$;

DO $$
DECLARE
    one record;
BEGIN
    -- replacing a function takes its settings away
    EXECUTE format('ALTER FUNCTION prepare_vectors SET search_path TO %I, pg_temp', current_schema());
    FOR one IN
        SELECT c.relname, substring(c.relname FROM '[0-9]+$')::integer AS length FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'i' AND c.relname ~ '^chunk_vectors_near_[0-9]+$'
    LOOP
        EXECUTE format('DROP INDEX %I', one.relname);
        PERFORM prepare_vectors(one.length);
    END LOOP;
END
$$;
