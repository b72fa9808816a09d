-- In Bulkhead's database, once: pgvector is not a trusted extension, so its owner could not do this.
CREATE EXTENSION IF NOT EXISTS vector;
