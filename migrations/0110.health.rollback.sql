DROP VIEW process_health_last_hour, process_summary;
CREATE OR REPLACE VIEW process_status AS
    SELECT process_name, instance, heartbeat_status(last_heartbeat) AS status, status AS reported, last_heartbeat,
           extract(epoch FROM now() - last_heartbeat) AS silent_s, error_count, last_error, uptime_seconds, memory_usage_mb,
           active_connections, pid, host, incarnation, detail
    FROM process_health;
UPDATE process_health SET status = state WHERE state <> '';
ALTER TABLE process_health DROP COLUMN state;
UPDATE api_keys SET scopes = array_remove(scopes, 'monitor') WHERE 'monitor' = ANY(scopes) AND cardinality(scopes) > 1;
DELETE FROM api_keys WHERE 'monitor' = ANY(scopes);
ALTER TABLE api_keys DROP CONSTRAINT api_keys_scopes_check;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_scopes_check CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['send', 'read', 'manage', 'operate']);
DROP TABLE health_probes;
