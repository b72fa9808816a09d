DROP FUNCTION is_document(text, text), near_chunks_plainly(text, text, real[], integer, bigint[]),
    near_chunks(text, text, real[], integer, bigint[], boolean), prepare_vectors(integer), has_pgvector(),
    find_chunks(text, text, integer, integer), chunk_words(text, text, text), text_configuration(text);
DROP TABLE search_questions, chunk_vectors, document_chunks, documents;
DELETE FROM row_security_rules
WHERE name IN ('documents', 'document_chunks', 'chunk_vectors', 'search_questions', 'find_chunks');
