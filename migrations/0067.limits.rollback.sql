DROP TABLE limit_buckets;
ALTER TABLE companies DROP COLUMN limits;
ALTER TABLE api_keys DROP COLUMN limits;
