-- depends: 0180.installation-hooks
-- Vectors by their signs alone, one bit for each number: a search compares all of a company's, which are a thirty-second
-- of the vectors, and then the likeliest exactly. The index of vectors misses passages that are unlike all others, the
-- more the larger a company is (docs/adr/0185-large-companies-are-searched-by-signs.md).

-- The signs of a vector. In another length than the question's they are not compared.
CREATE FUNCTION vector_signs(embedding real[]) RETURNS bit varying LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT string_agg(CASE WHEN one > 0 THEN '1' ELSE '0' END, '' ORDER BY place)::bit varying
    FROM unnest(embedding) WITH ORDINALITY AS t(one, place)
$$;

-- Apart from the vectors: read in one go, and a change of it touches no index of vectors.
CREATE TABLE chunk_signs (
    chunk_id   bigint PRIMARY KEY,
    company_id text NOT NULL,
    model      text NOT NULL,
    signs      bit varying NOT NULL,
    FOREIGN KEY (company_id, chunk_id) REFERENCES document_chunks (company_id, id) ON DELETE CASCADE
);
CREATE INDEX chunk_signs_company ON chunk_signs (company_id, model);

CREATE FUNCTION add_chunk_signs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chunk_signs (chunk_id, company_id, model, signs)
    SELECT chunk_id, company_id, model, vector_signs(embedding) FROM added;
    RETURN NULL;
END
$$;
-- by the database, so that processes of the version before, which write beside this one, add them too
CREATE TRIGGER chunk_vectors_signs AFTER INSERT ON chunk_vectors
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION add_chunk_signs();

-- The nearest passages of one company by pgvector, as `near_chunks`: exactly, among the `likely` ones whose signs are most
-- like the question's.
CREATE FUNCTION near_chunks_by_signs(
    company text, by_model text, question real[], most integer, beside bigint[], likely integer
)
RETURNS TABLE (chunk_id bigint, similarity double precision) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'WITH likely AS MATERIALIZED (
             SELECT s.chunk_id FROM chunk_signs s
             WHERE s.company_id = $1 AND s.model = $2 AND length(s.signs) = %1$s
             ORDER BY bit_count(s.signs # $6) LIMIT $7
         ), compared AS MATERIALIZED (
             SELECT v.chunk_id, v.document_id, v.generation,
                    1 - (v.embedding::vector(%1$s) <=> $3::vector(%1$s)) AS similarity
             FROM chunk_vectors v
             WHERE v.chunk_id = ANY(ARRAY(SELECT l.chunk_id FROM likely l) || $5)
               AND v.company_id = $1 AND v.model = $2 AND v.dimensions = %1$s
         ), nearest AS (
             SELECT c.chunk_id, c.similarity FROM compared c
             JOIN documents d ON d.id = c.document_id AND d.generation = c.generation AND d.state <> ''deleting''
             ORDER BY c.similarity DESC LIMIT $4
         )
         SELECT n.chunk_id, n.similarity FROM nearest n
         UNION SELECT c.chunk_id, c.similarity FROM compared c WHERE c.chunk_id = ANY($5)', cardinality(question))
        USING company, by_model, question, most, beside, vector_signs(question), likely;
END
$$;

DO $$
BEGIN
    PERFORM protect_company_table('chunk_signs', 'SELECT');
END
$$;

-- those that are there; the trigger's lock keeps others out until the end
INSERT INTO chunk_signs (chunk_id, company_id, model, signs)
SELECT chunk_id, company_id, model, vector_signs(embedding) FROM chunk_vectors;
