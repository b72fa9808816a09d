-- Documents of companies: what is uploaded, indexed and searched.

-- add_document --
-- Note an uploaded document whose original is in storage. The same bytes are one document: a second upload returns the
-- first. No row when the company is full, or being deleted.
WITH owner AS MATERIALIZED (
    SELECT id FROM companies WHERE id = %(company_id)s AND state <> 'deleting'
), there AS MATERIALIZED (
    SELECT d.id FROM documents d JOIN owner ON owner.id = d.company_id
    WHERE d.sha256 = %(sha256)s AND d.state <> 'deleting'
), made AS (
    INSERT INTO documents (company_id, sha256, title, mimetype, size)
    SELECT owner.id, %(sha256)s, %(title)s, %(mimetype)s, %(size)s FROM owner
    WHERE NOT EXISTS (SELECT FROM there)
      AND (SELECT count(*) FROM documents d WHERE d.company_id = owner.id AND d.state <> 'deleting') < %(most)s
    -- of two uploads at once the second changes nothing of the first, and gets its row
    ON CONFLICT (company_id, sha256) WHERE state <> 'deleting' DO UPDATE SET updated_at = documents.updated_at
    -- zero: the row was not there
    RETURNING id, xmax = 0 AS is_new
), noted AS (
    INSERT INTO events (subject, type, company_id, state, data)
    SELECT 'document', 'document.uploaded', %(company_id)s, 'uploaded',
           jsonb_build_object('documentId', id, 'title', %(title)s::text) FROM made WHERE is_new
)
SELECT id, is_new FROM made UNION ALL SELECT id, false FROM there;

-- documents_of --
-- Documents of a company, newest first, with ids below `before`; or only one of them.
SELECT id, sha256, title, mimetype, size, state, reason_code, reason, attempts, chunks, pages, model, dimensions,
       created_at, updated_at, indexed_at
FROM documents
WHERE company_id = %(company_id)s AND state <> 'deleting' AND id < %(before)s AND id = coalesce(%(only)s, id)
ORDER BY id DESC LIMIT %(most)s;

-- remove_document --
-- Let a document go: it is found no more, and kind `index` removes its passages and its file.
UPDATE documents SET state = 'deleting', due_at = now(), updated_at = now(), incarnation = '', leased_until = now()
WHERE company_id = %(company_id)s AND id = %(id)s AND state <> 'deleting' RETURNING id;

-- reindex_document --
-- Let a document be indexed anew, with all its tries; what is indexed is searched until the new index is complete.
UPDATE documents
SET state = 'uploaded', reason_code = '', reason = '', attempts = 0, due_at = now(), updated_at = now(),
    asked_at = now()
WHERE company_id = %(company_id)s AND id = %(id)s AND state NOT IN ('deleting', 'indexing') RETURNING id;

-- has_passages --
-- Whether a search of a company can find anything, or will be able to.
SELECT 1 AS found FROM documents WHERE company_id = %(company_id)s AND chunks > 0 AND state <> 'deleting' LIMIT 1;

-- find_chunks --
-- Passages with any of a question's words, with the share of them that each has, and the words with their weights.
SELECT chunk_id, score, lexemes, weights FROM find_chunks(%(question)s, %(locale)s, %(most)s, %(common)s);

-- chunks_by_ids --
-- Passages, each with what it is from and its share of a question's words.
SELECT c.id, c.document_id, d.title, c.page, c.section, c.body,
       (SELECT coalesce(sum(w.weight), 0)
        FROM unnest(%(lexemes)s::text[], %(weights)s::double precision[]) AS w(lexeme, weight)
        WHERE c.words @@ quoted_lexeme(w.lexeme)::tsquery)::double precision AS matched
FROM document_chunks c
JOIN documents d ON d.id = c.document_id AND d.generation = c.generation AND d.state <> 'deleting'
WHERE c.company_id = %(company_id)s AND c.id = ANY(%(ids)s::bigint[]);

-- count_vectors --
-- How many passages of a company have a vector of one model, and whether pgvector is there.
SELECT coalesce(sum(chunks), 0)::bigint AS chunks, has_pgvector() AS has_pgvector
FROM documents WHERE company_id = %(company_id)s AND model = %(model)s AND state <> 'deleting';

-- near_chunks --
-- The nearest passages by pgvector, by an index or exactly.
SELECT chunk_id, similarity
FROM near_chunks(%(company_id)s, %(model)s, %(question)s::real[], %(most)s, %(beside)s::bigint[], %(exactly)s);

-- near_chunks_by_signs --
-- The nearest passages by pgvector, exactly among those whose signs are most like the question's.
SELECT chunk_id, similarity
FROM near_chunks_by_signs(%(company_id)s, %(model)s, %(question)s::real[], %(most)s, %(beside)s::bigint[], %(likely)s);

-- near_chunks_plainly --
-- The nearest passages without pgvector.
SELECT chunk_id, similarity
FROM near_chunks_plainly(%(company_id)s, %(model)s, %(question)s::real[], %(most)s, %(beside)s::bigint[]);

-- prepare_vectors --
-- Make the index for vectors of one length, where pgvector is there.
SELECT prepare_vectors(%(length)s) AS has_index;

-- add_vectors --
-- Note what a model made of passages of one document; a repetition changes nothing.
INSERT INTO chunk_vectors (chunk_id, company_id, document_id, generation, model, dimensions, embedding)
SELECT v.chunk_id, %(company_id)s, %(document_id)s, %(generation)s, %(model)s, %(dimensions)s, v.embedding
FROM jsonb_to_recordset(%(vectors)s::jsonb) AS v(chunk_id bigint, embedding real[])
ON CONFLICT (chunk_id) DO NOTHING;

-- ask_question --
-- Leave a question for kind `index`.
INSERT INTO search_questions (company_id, question, most)
SELECT %(company_id)s, %(question)s, %(most)s
WHERE (SELECT count(*) FROM search_questions WHERE company_id = %(company_id)s) < %(waiting_most)s RETURNING id;

-- answer_of_question --
-- The answer to a question, null while there is none.
SELECT answer FROM search_questions WHERE company_id = %(company_id)s AND id = %(id)s;

-- forget_question --
-- Remove a question: it is answered, or is not waited for any more.
DELETE FROM search_questions WHERE company_id = %(company_id)s AND id = %(id)s;
