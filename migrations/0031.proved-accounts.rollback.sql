ALTER TABLE phone_configs DROP COLUMN proved_ids;
