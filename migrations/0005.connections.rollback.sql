-- Back to a schema without tasks, templates and facts; removed connections go with their messages.
DROP TABLE templates, tasks;
DELETE FROM phone_configs WHERE status = 'removed';
DROP INDEX phone_configs_phone_index, phone_configs_waba_id;
ALTER TABLE phone_status DROP COLUMN facts, DROP COLUMN warning, DROP COLUMN checked_at;
ALTER TABLE phone_configs
    DROP COLUMN waba_id,
    DROP COLUMN templates_synced_at,
    ADD CONSTRAINT phone_configs_company_id_phone_index_key UNIQUE (company_id, phone_index),
    DROP CONSTRAINT phone_configs_status_check,
    ADD CONSTRAINT phone_configs_status_check CHECK (status IN ('active', 'paused'));
