ALTER TABLE phone_configs DROP COLUMN session_host;
