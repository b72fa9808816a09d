-- depends: 0165.old-server
-- Documents of companies, the passages that they are cut into, and the questions that kind `index` answers for the API.

-- One uploaded document. Its original lies in the storage of files under its digest.
CREATE TABLE documents (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id   text NOT NULL REFERENCES companies ON DELETE CASCADE,
    sha256       text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    title        text NOT NULL,
    mimetype     text NOT NULL,
    size         bigint NOT NULL CHECK (size > 0),
    state        text NOT NULL DEFAULT 'uploaded'
                 CHECK (state IN ('uploaded', 'indexing', 'indexed', 'no_text', 'failed', 'deleting')),
    -- what went wrong: a code, and what to do about it
    reason_code  text NOT NULL DEFAULT '',
    reason       text NOT NULL DEFAULT '',
    -- tries since it was uploaded or an operator asked for it to be indexed again
    attempts     integer NOT NULL DEFAULT 0,
    -- passages with this number are searched; a new index is made beside it with the next one
    generation   integer NOT NULL DEFAULT 0,
    -- of that generation
    chunks       integer NOT NULL DEFAULT 0,
    pages        integer,
    model        text,
    dimensions   integer,
    -- who indexes it, until when; when it is tried (again)
    incarnation  text NOT NULL DEFAULT '',
    leased_until timestamptz NOT NULL DEFAULT now(),
    due_at       timestamptz NOT NULL DEFAULT now(),
    -- passages of other generations may be there
    is_tidy      boolean NOT NULL DEFAULT true,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    indexed_at   timestamptz,
    UNIQUE (company_id, id)
);
-- The same bytes are one document: what they are was tried once, and is not tried again by a second upload.
CREATE UNIQUE INDEX documents_content ON documents (company_id, sha256) WHERE state <> 'deleting';
CREATE INDEX documents_open ON documents (due_at) WHERE state IN ('uploaded', 'indexing', 'deleting') OR NOT is_tidy;
CREATE INDEX documents_leased ON documents (incarnation) WHERE incarnation <> '';

-- One passage of one document.
CREATE TABLE document_chunks (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id  text NOT NULL,
    document_id bigint NOT NULL,
    generation  integer NOT NULL,
    position    integer NOT NULL,
    page        integer,
    section     text NOT NULL DEFAULT '',
    body        text NOT NULL,
    tokens      integer NOT NULL,
    -- the company as a word of its own, and the body's words by the configuration of the company's language
    words       tsvector NOT NULL,
    FOREIGN KEY (company_id, document_id) REFERENCES documents (company_id, id) ON DELETE CASCADE,
    UNIQUE (document_id, generation, position),
    UNIQUE (company_id, id)
);
CREATE INDEX document_chunks_words ON document_chunks USING gin (words);

-- What a model made of a passage: apart from the text, so that a search of all vectors of a company reads no text.
-- Numbers of single precision, which need no extension; where pgvector is there, they are read as its types.
CREATE TABLE chunk_vectors (
    chunk_id    bigint PRIMARY KEY,
    company_id  text NOT NULL,
    document_id bigint NOT NULL,
    generation  integer NOT NULL,
    model       text NOT NULL,
    dimensions  integer NOT NULL,
    -- of length 1
    embedding   real[] NOT NULL,
    -- another length is refused: padded or cut, it would be near to anything
    CHECK (cardinality(embedding) = dimensions),
    FOREIGN KEY (company_id, chunk_id) REFERENCES document_chunks (company_id, id) ON DELETE CASCADE
);
CREATE INDEX chunk_vectors_company ON chunk_vectors (company_id, model);

-- A question that is asked by the API, and what kind `index` found.
CREATE TABLE search_questions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id   text NOT NULL REFERENCES companies ON DELETE CASCADE,
    question     text NOT NULL,
    most         integer NOT NULL,
    asked_at     timestamptz NOT NULL DEFAULT now(),
    incarnation  text NOT NULL DEFAULT '',
    leased_until timestamptz NOT NULL DEFAULT now(),
    -- null: not answered yet
    answer       jsonb
);
CREATE INDEX search_questions_open ON search_questions (asked_at) WHERE answer IS NULL;

-- PostgreSQL's text search configuration for a BCP 47 tag; `simple`, which knows no language, where there is none.
CREATE FUNCTION text_configuration(locale text) RETURNS regconfig LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(
        (SELECT c.oid::regconfig FROM pg_catalog.pg_ts_config c
         WHERE c.cfgnamespace = 'pg_catalog'::regnamespace
           AND c.cfgname = CASE lower(split_part(replace(locale, '_', '-'), '-', 1))
                   WHEN 'ar' THEN 'arabic' WHEN 'hy' THEN 'armenian' WHEN 'eu' THEN 'basque' WHEN 'ca' THEN 'catalan'
                   WHEN 'da' THEN 'danish' WHEN 'nl' THEN 'dutch' WHEN 'en' THEN 'english' WHEN 'fi' THEN 'finnish'
                   WHEN 'fr' THEN 'french' WHEN 'de' THEN 'german' WHEN 'el' THEN 'greek' WHEN 'hi' THEN 'hindi'
                   WHEN 'hu' THEN 'hungarian' WHEN 'id' THEN 'indonesian' WHEN 'ga' THEN 'irish' WHEN 'it' THEN 'italian'
                   WHEN 'lt' THEN 'lithuanian' WHEN 'ne' THEN 'nepali' WHEN 'no' THEN 'norwegian' WHEN 'nb' THEN 'norwegian'
                   WHEN 'nn' THEN 'norwegian' WHEN 'pt' THEN 'portuguese' WHEN 'ro' THEN 'romanian' WHEN 'ru' THEN 'russian'
                   WHEN 'sr' THEN 'serbian' WHEN 'es' THEN 'spanish' WHEN 'sv' THEN 'swedish' WHEN 'ta' THEN 'tamil'
                   WHEN 'tr' THEN 'turkish' WHEN 'yi' THEN 'yiddish' END),
        'simple'::regconfig)
$$;

-- The words of a passage. The company is a word of its own, which no text can hold: the index then finds the words of
-- one company, however many others have them.
CREATE FUNCTION chunk_words(company text, locale text, body text) RETURNS tsvector LANGUAGE sql STABLE STRICT AS $$
    SELECT array_to_tsvector(ARRAY[chr(1) || company]) || to_tsvector(text_configuration(locale), body)
$$;

-- Passages of the transaction's company with any of a question's words, the best first: at most `most`, always at least
-- one row. `score` is the share of the question's words that a passage has, each weighed by how rare it is among the
-- company's passages; a word that none has weighs half of the rarest. `common`: a word that more passages have finds
-- none by itself, unless every word is like that. Words and their weights are returned for scoring other passages.
CREATE FUNCTION find_chunks(question text, locale text, most integer, common integer)
RETURNS TABLE (chunk_id bigint, score double precision, lexemes text[], weights double precision[])
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10 AS $$
#variable_conflict use_column
DECLARE
    company text := own_company();
    -- a question of more words is cut: each costs a look at the index
    asked   text[] := (tsvector_to_array(to_tsvector(text_configuration(locale), left(question, 2000))))[1:32];
    known   double precision := (SELECT greatest(1, coalesce(sum(d.chunks), 0)) FROM documents d
                                 WHERE d.company_id = company AND d.state <> 'deleting');
BEGIN
    RETURN QUERY
        WITH hits AS MATERIALIZED (
            SELECT w.lexeme, h.id FROM unnest(asked) AS w(lexeme) CROSS JOIN LATERAL (
                SELECT c.id FROM document_chunks c
                JOIN documents d ON d.id = c.document_id AND d.generation = c.generation AND d.state <> 'deleting'
                WHERE c.words @@ (quoted_lexeme(chr(1) || company) || ' & ' || quoted_lexeme(w.lexeme))::tsquery
                  AND c.company_id = company
                -- one more than common: whether there are more is all that is asked
                LIMIT common + 1) AS h
        ), counted AS MATERIALIZED (
            SELECT w.lexeme, count(h.id) AS chunks FROM unnest(asked) AS w(lexeme) LEFT JOIN hits h USING (lexeme)
            GROUP BY w.lexeme
        ), weighed AS MATERIALIZED (
            SELECT lexeme, chunks,
                   CASE chunks WHEN 0 THEN ln(1 + known) / 2 ELSE ln(1 + known / chunks) END AS weight FROM counted
        ), total AS MATERIALIZED (
            SELECT array_agg(lexeme) AS lexemes, array_agg(weight) AS weights, sum(weight) AS weight,
                   bool_or(chunks BETWEEN 1 AND common) AS has_rare FROM weighed
        ), found AS MATERIALIZED (
            SELECT h.id FROM hits h JOIN weighed w USING (lexeme) CROSS JOIN total t
            WHERE w.chunks <= common OR NOT t.has_rare
            GROUP BY h.id ORDER BY sum(w.weight) DESC, h.id LIMIT 4 * most
        ), scored AS (
            -- of the few that are left the common words count too
            SELECT c.id, (SELECT sum(w.weight) FROM weighed w WHERE c.words @@ quoted_lexeme(w.lexeme)::tsquery) / t.weight
                   AS score
            FROM found f JOIN document_chunks c ON c.id = f.id CROSS JOIN total t
        )
        SELECT s.id, s.score, t.lexemes, t.weights FROM total t
        LEFT JOIN LATERAL (SELECT * FROM scored ORDER BY scored.score DESC, scored.id LIMIT most) AS s ON true;
END
$$;

-- Whether vectors can be searched by an index: pgvector 0.8 or later (iterative scans) is there, and its types are seen.
CREATE FUNCTION has_pgvector() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT to_regtype('halfvec') IS NOT NULL
       AND EXISTS (SELECT FROM pg_catalog.pg_extension e
                   WHERE e.extname = 'vector' AND (string_to_array(e.extversion, '.'))[1:2]::integer[] >= ARRAY[0, 8])
$$;

-- Make the index for vectors of one length, when pgvector is there and has none. Returns whether there is one. Each
-- length has its own: an index holds vectors of one length, and companies may use models of several.
CREATE FUNCTION prepare_vectors(length integer) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    -- 4000 is the longest that pgvector indexes as half precision
    IF NOT has_pgvector() OR length NOT BETWEEN 1 AND 4000 THEN
        RETURN false;
    END IF;
    IF to_regclass('chunk_vectors_near_' || length) IS NULL THEN
        EXECUTE format('CREATE INDEX IF NOT EXISTS chunk_vectors_near_%1$s ON chunk_vectors '
                       'USING hnsw ((embedding::halfvec(%1$s)) halfvec_cosine_ops) WHERE dimensions = %1$s', length);
    END IF;
    RETURN true;
END
$$;

-- The nearest passages of one company by pgvector, with their similarity (cosine), and those of `beside`. `exactly`: all
-- vectors of the company are compared, else the index is followed until enough are the company's.
CREATE FUNCTION near_chunks(company text, by_model text, question real[], most integer, beside bigint[], exactly boolean)
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
        PERFORM set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', '100', true),
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

-- As `near_chunks`, without pgvector: every vector of the company is compared.
CREATE FUNCTION near_chunks_plainly(company text, by_model text, question real[], most integer, beside bigint[])
RETURNS TABLE (chunk_id bigint, similarity double precision) LANGUAGE sql STABLE AS $$
    WITH every AS MATERIALIZED (
        SELECT v.chunk_id, (SELECT sum(a::double precision * b) FROM unnest(v.embedding, question) AS pair(a, b)) AS similarity
        FROM chunk_vectors v
        JOIN documents d ON d.id = v.document_id AND d.generation = v.generation AND d.state <> 'deleting'
        WHERE v.company_id = company AND v.model = by_model AND v.dimensions = cardinality(question)
    )
    (SELECT every.chunk_id, every.similarity FROM every ORDER BY every.similarity DESC LIMIT most)
    UNION SELECT every.chunk_id, every.similarity FROM every WHERE every.chunk_id = ANY(beside)
$$;

-- The files that retention leaves alone: originals of documents.
CREATE FUNCTION is_document(company text, digest text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM documents d WHERE d.company_id = company AND d.sha256 = digest)
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION find_chunks SET search_path TO %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION prepare_vectors SET search_path TO %I, pg_temp', current_schema());
    PERFORM open_function('find_chunks');
    PERFORM protect_company_table('documents', 'SELECT, INSERT, UPDATE');
    PERFORM protect_company_table('document_chunks', 'SELECT');
    PERFORM protect_company_table('chunk_vectors', 'SELECT');
    PERFORM protect_company_table('search_questions', 'SELECT, INSERT, DELETE');
    -- the model that the wheel carries; others are made when they are first used
    PERFORM prepare_vectors(256);
END
$$;
