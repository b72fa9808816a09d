DROP FUNCTION near_chunks_by_signs(text, text, real[], integer, bigint[], integer);
DROP TRIGGER chunk_vectors_signs ON chunk_vectors;
DROP FUNCTION add_chunk_signs();
DROP TABLE chunk_signs;
DROP FUNCTION vector_signs(real[]);
