ALTER TABLE phone_configs DROP COLUMN world;
