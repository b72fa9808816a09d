-- depends: 0103.contact-imports
-- Health that is true: a probe that writes, a read-only scope for monitoring, and views for dashboards.

-- What the API writes when it is asked whether the database takes what is written; one row for each process.
CREATE TABLE health_probes (
    slot text PRIMARY KEY,
    at   timestamptz NOT NULL
) WITH (fillfactor = 50);

ALTER TABLE api_keys DROP CONSTRAINT api_keys_scopes_check;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_scopes_check
    CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['send', 'read', 'manage', 'operate', 'monitor']);

-- `status` is healthy or degraded as the process sees itself, `state` its own word. A process that is gone writes
-- nothing, so a query also compares `last_heartbeat`; `process_status` has done so.
ALTER TABLE process_health ADD COLUMN state varchar(20) NOT NULL DEFAULT '';
UPDATE process_health SET state = status, status = CASE WHEN status = 'ready' THEN 'healthy' ELSE 'degraded' END;

CREATE OR REPLACE VIEW process_status AS
    SELECT process_name, instance, heartbeat_status(last_heartbeat) AS status,
           -- a process of the version before writes its state as status
           (CASE WHEN status IN ('healthy', 'degraded') THEN state ELSE status END)::varchar(20) AS reported, last_heartbeat,
           extract(epoch FROM now() - last_heartbeat) AS silent_s, error_count, last_error, uptime_seconds, memory_usage_mb,
           active_connections, pid, host, incarnation, detail
    FROM process_health;

-- One row for each kind of process: the worst of its instances.
CREATE VIEW process_summary AS
    SELECT process_name, count(*)::integer AS instances,
           (ARRAY['healthy', 'degraded', 'down'])[max(CASE WHEN p.status = 'down' THEN 3
                                                           WHEN p.status = 'degraded' OR p.reported <> 'ready' THEN 2 ELSE 1 END)] AS status,
           min(last_heartbeat) AS last_heartbeat, sum(error_count)::bigint AS error_count,
           coalesce((array_agg(last_error ORDER BY last_heartbeat DESC) FILTER (WHERE last_error <> ''))[1], '') AS last_error,
           min(uptime_seconds) AS uptime_seconds, sum(memory_usage_mb) AS memory_usage_mb,
           sum(active_connections)::integer AS active_connections
    FROM process_status p GROUP BY process_name;

-- The last hour of each process, a row for each heartbeat: for Grafana and others that draw time series.
CREATE VIEW process_health_last_hour AS
    SELECT at AS time, process_name, instance, (metrics ->> 'process_tree_memory_bytes')::double precision / 1e6 AS memory_usage_mb,
           (metrics ->> 'process_uptime_seconds')::double precision AS uptime_seconds,
           (metrics ->> 'process_errors_total')::double precision AS error_count,
           coalesce((metrics ->> 'database_connections_in_use')::double precision, 0)
               + coalesce((metrics ->> 'database_connections_idle')::double precision, 0) AS active_connections
    FROM process_metrics WHERE at > now() - interval '1 hour';
