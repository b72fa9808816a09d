DROP TABLE webhook_outages;
DROP VIEW process_health_last_hour;
ALTER TABLE process_metrics DROP COLUMN host;
CREATE VIEW process_health_last_hour AS
    SELECT at AS time, process_name, instance, (metrics ->> 'process_tree_memory_bytes')::double precision / 1e6 AS memory_usage_mb,
           (metrics ->> 'process_uptime_seconds')::double precision AS uptime_seconds,
           (metrics ->> 'process_errors_total')::double precision AS error_count,
           coalesce((metrics ->> 'database_connections_in_use')::double precision, 0)
               + coalesce((metrics ->> 'database_connections_idle')::double precision, 0) AS active_connections
    FROM process_metrics WHERE at > now() - interval '1 hour';
INSERT INTO process_health
SELECT DISTINCT ON (process_name, instance) process_name, instance, status, last_heartbeat, error_count, last_error,
       uptime_seconds, memory_usage_mb, active_connections, pid, host, incarnation, detail, state
FROM process_heartbeats ORDER BY process_name, instance, last_heartbeat DESC
ON CONFLICT (process_name, instance) DO NOTHING;
DROP TABLE process_heartbeats;
