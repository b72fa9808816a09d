-- What kind `index` does with documents and questions.

-- index_needed --
-- A row while there is a document: it waits, is searched, or has to be removed.
SELECT id FROM documents LIMIT 1;

-- fail_spent_documents --
-- Give up documents in whose indexing a process died as often as they may be tried.
WITH spent AS (
    UPDATE documents SET state = 'failed', reason_code = %(code)s, reason = %(reason)s, incarnation = '',
        updated_at = now(), is_tidy = false
    WHERE id = ANY(ARRAY(SELECT id FROM documents
                         WHERE attempts >= %(tries)s
                           AND (state = 'uploaded' OR (state = 'indexing' AND leased_until < now()))
                         LIMIT 100 FOR UPDATE SKIP LOCKED))
    RETURNING id, company_id, title, reason_code, reason
)
INSERT INTO events (subject, type, company_id, kind, state, code, detail, data)
SELECT 'document', 'document.failed', company_id, 'index', 'failed', reason_code, reason,
       jsonb_build_object('documentId', id, 'title', title) FROM spent
RETURNING id;

-- lease_documents --
-- Make one incarnation the one that indexes documents which are due: the first of each company before the second of
-- any, and companies of which none is in hand before others.
WITH waiting AS MATERIALIZED (
    SELECT id, company_id, due_at FROM documents
    WHERE ((state = 'uploaded' AND due_at <= now()) OR (state = 'indexing' AND leased_until < now()))
      AND attempts < %(tries)s AND NOT id = ANY(%(in_hand)s::bigint[])
), placed AS (
    SELECT id, due_at, (SELECT count(*) FROM documents other
                        WHERE other.company_id = w.company_id AND other.state = 'indexing'
                          AND other.leased_until >= now())
                       + row_number() OVER (PARTITION BY company_id ORDER BY due_at, id) AS place
    FROM waiting w
), free AS (
    SELECT d.id FROM documents d JOIN placed p USING (id)
    WHERE (d.state = 'uploaded' OR (d.state = 'indexing' AND d.leased_until < now()))
    ORDER BY p.place, p.due_at, d.id LIMIT %(most)s FOR UPDATE OF d SKIP LOCKED
)
UPDATE documents d
SET state = 'indexing', incarnation = %(incarnation)s, leased_until = now() + make_interval(secs => %(lease_s)s),
    attempts = attempts + 1, updated_at = now(), is_tidy = false
FROM free WHERE d.id = free.id
RETURNING d.id, d.company_id, d.sha256, d.title, d.mimetype, d.generation, d.attempts;

-- renew_documents --
-- Keep documents that one incarnation has in hand. What is not returned is another's by now, or was removed.
UPDATE documents SET leased_until = now() + make_interval(secs => %(lease_s)s)
WHERE incarnation = %(incarnation)s AND state = 'indexing' AND id = ANY(%(ids)s::bigint[]) RETURNING id;

-- release_documents --
-- Give back what a dead incarnation had in hand; the try counts.
UPDATE documents SET state = 'uploaded', incarnation = '', leased_until = now(), due_at = now()
WHERE incarnation = %(incarnation)s AND state = 'indexing' RETURNING id;

-- return_document --
-- Give one back whose indexing was cut short for no fault of its own; the try does not count.
UPDATE documents
SET state = 'uploaded', incarnation = '', leased_until = now(), attempts = greatest(0, attempts - 1),
    due_at = now() + make_interval(secs => %(after_s)s), reason_code = %(code)s, reason = %(reason)s
WHERE id = %(id)s AND incarnation = %(incarnation)s AND state = 'indexing' RETURNING id;

-- lock_document --
-- One document while it is this incarnation's.
SELECT id FROM documents
WHERE id = %(id)s AND incarnation = %(incarnation)s AND state = 'indexing' FOR NO KEY UPDATE;

-- add_chunks --
-- Write passages of an index that is being made; those that an earlier life wrote are the same.
INSERT INTO document_chunks (company_id, document_id, generation, position, page, section, body, tokens, words)
SELECT %(company_id)s, %(document_id)s, %(generation)s, c.position, c.page, c.section, c.body, c.tokens,
       chunk_words(%(company_id)s, %(locale)s, c.body)
FROM jsonb_to_recordset(%(chunks)s::jsonb)
    AS c(position integer, page integer, section text, body text, tokens integer)
RETURNING id, position;

-- clear_generation --
-- Remove what an earlier life wrote of an index that it did not finish.
DELETE FROM document_chunks WHERE id = ANY(ARRAY(
    SELECT id FROM document_chunks WHERE document_id = %(document_id)s AND generation = %(generation)s LIMIT %(most)s));

-- finish_document --
-- Let a new index be the one that is searched, with an event.
WITH done AS (
    UPDATE documents
    SET state = %(state)s, reason_code = %(code)s, reason = %(reason)s, generation = %(generation)s,
        chunks = %(chunks)s, pages = %(pages)s, model = %(model)s, dimensions = %(dimensions)s, incarnation = '',
        updated_at = now(), indexed_at = now()
    WHERE id = %(id)s AND incarnation = %(incarnation)s AND state = 'indexing'
    RETURNING id, company_id, title, state, reason_code, reason, chunks
), noted AS (
    INSERT INTO events (subject, type, company_id, kind, state, code, detail, data)
    SELECT 'document', 'document.indexed', company_id, 'index', state, nullif(reason_code, ''), nullif(reason, ''),
           jsonb_build_object('documentId', id, 'title', title, 'chunks', chunks) FROM done
)
SELECT id FROM done;

-- fail_document --
-- End a try that failed: another one later, or none, with an event. What was indexed before is searched further on.
WITH done AS (
    UPDATE documents
    SET state = CASE WHEN %(is_final)s THEN 'failed' ELSE 'uploaded' END, reason_code = %(code)s, reason = %(reason)s,
        incarnation = '', updated_at = now(), due_at = now() + make_interval(secs => %(after_s)s)
    WHERE id = %(id)s AND incarnation = %(incarnation)s AND state = 'indexing'
    RETURNING id, company_id, title, state, reason_code, reason
), noted AS (
    INSERT INTO events (subject, type, company_id, kind, state, code, detail, data)
    SELECT 'document', 'document.failed', company_id, 'index', state, reason_code, reason,
           jsonb_build_object('documentId', id, 'title', title) FROM done WHERE state = 'failed'
)
SELECT state FROM done;

-- untidy_documents --
-- Documents of which something has to be removed: all of it, or passages of a former index.
SELECT id, company_id, sha256, state, generation, updated_at FROM documents
WHERE state = 'deleting' OR (NOT is_tidy AND state <> 'indexing') ORDER BY updated_at LIMIT %(most)s;

-- remove_chunks --
-- Remove a batch of passages that are searched no more: all of a document that goes, else those of other indexes.
DELETE FROM document_chunks WHERE id = ANY(ARRAY(
    SELECT c.id FROM document_chunks c JOIN documents d ON d.id = c.document_id
    WHERE c.document_id = %(id)s AND (d.state = 'deleting' OR (c.generation <> d.generation AND d.state <> 'indexing'))
    LIMIT %(most)s));

-- note_tidy --
-- Nothing of a former index is left.
UPDATE documents SET is_tidy = true WHERE id = %(id)s AND state NOT IN ('indexing', 'deleting');

-- is_file_shared --
-- Whether a file that a document had is also a message's, or was uploaded again.
SELECT EXISTS (SELECT FROM media_files f WHERE f.company_id = %(company_id)s AND f.sha256 = %(sha256)s)
    OR EXISTS (SELECT FROM documents d WHERE d.company_id = %(company_id)s AND d.sha256 = %(sha256)s
                                         AND d.state <> 'deleting') AS is_shared;

-- forget_document --
-- Remove a document of which nothing else is left.
DELETE FROM documents d WHERE d.id = %(id)s AND d.state = 'deleting'
    AND NOT EXISTS (SELECT FROM document_chunks c WHERE c.document_id = d.id);

-- lease_questions --
-- Take questions that wait, oldest first.
UPDATE search_questions q
SET incarnation = %(incarnation)s, leased_until = now() + make_interval(secs => %(lease_s)s)
WHERE q.id = ANY(ARRAY(SELECT id FROM search_questions WHERE answer IS NULL AND leased_until <= now()
                       ORDER BY asked_at LIMIT %(most)s FOR UPDATE SKIP LOCKED))
RETURNING q.id, q.company_id, q.question, q.most;

-- answer_question --
-- Write what was found.
UPDATE search_questions SET answer = %(answer)s WHERE id = %(id)s AND incarnation = %(incarnation)s;

-- release_questions --
-- Give back questions of a dead incarnation.
UPDATE search_questions SET leased_until = now(), incarnation = ''
WHERE incarnation = %(incarnation)s AND answer IS NULL RETURNING id;

-- forget_questions --
-- Remove questions whose clients are gone.
DELETE FROM search_questions WHERE asked_at < now() - make_interval(secs => %(older_s)s);

-- embedded_companies --
-- Companies with indexed documents, by id, those behind one.
SELECT c.id AS company_id, c.settings FROM companies c
WHERE c.id > %(after)s AND c.state = 'active'
  AND EXISTS (SELECT FROM documents d WHERE d.company_id = c.id AND d.state = 'indexed')
ORDER BY c.id LIMIT %(most)s;

-- reindex_others --
-- Let documents be indexed anew that another model has embedded than their company's now; what is indexed is searched
-- until the new index is complete. What was indexed lately is left alone.
UPDATE documents d
SET state = 'uploaded', attempts = 0, due_at = now(), updated_at = now(), asked_at = now()
WHERE d.id = ANY(ARRAY(
    SELECT o.id FROM unnest(%(companies)s::text[], %(models)s::text[], %(dimensions)s::integer[])
        AS w(company_id, model, dimensions)
    JOIN documents o ON o.company_id = w.company_id AND o.state = 'indexed'
    WHERE (o.model IS DISTINCT FROM w.model OR o.dimensions IS DISTINCT FROM w.dimensions)
      AND o.indexed_at < %(since)s
    LIMIT %(most)s))
  AND d.state = 'indexed'
RETURNING d.id;

-- documents_backlog --
-- How many documents wait or are in hand, and for how many seconds the oldest has waited.
SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(asked_at)), 0)::double precision AS oldest_s
FROM documents WHERE state IN ('uploaded', 'indexing');
