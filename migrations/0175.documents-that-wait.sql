-- depends: 0171.questions-once
-- For how long a document has waited to be indexed, however often it was tried meanwhile.

-- When it was uploaded, or a new index of it was asked for.
ALTER TABLE documents ADD COLUMN asked_at timestamptz NOT NULL DEFAULT now();
-- What cannot be searched, for the view of what is wrong.
CREATE INDEX documents_unsearched ON documents (updated_at) WHERE state IN ('failed', 'no_text');
