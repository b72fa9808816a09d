-- To which world a connection sends: our own sandbox or a real provider. null: not known yet. What is known from one world (proofs, templates, ids of
-- uploaded files, facts) is never used in the other.

ALTER TABLE phone_configs ADD COLUMN world text CHECK (world IN ('sandbox', 'live'));
