ALTER TABLE companies DROP COLUMN state, DROP COLUMN state_reason, DROP COLUMN state_at, DROP COLUMN settings, DROP COLUMN version,
    DROP COLUMN updated_at;
