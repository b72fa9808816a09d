-- depends: 0130.documents
-- Hosts have names: heartbeats, figures and leases say on which host a process lives.

-- One row for each host's slot. A child of `process_health`: queries of that see both, and a process of the version
-- before, whose statement names the key (process_name, instance), goes on writing there until it is replaced.
CREATE TABLE process_heartbeats (
    -- Until when this life may send; its process stops by its own clock before that, and nothing of it is reclaimed by
    -- another host before.
    leased_until timestamptz NOT NULL,
    -- Another host has reclaimed what this life had in hand: it may not go on.
    fenced       boolean NOT NULL DEFAULT false,
    -- Random, kept in BULKHEAD_HOME: a second home with the name of a living host is refused.
    home_id      text NOT NULL DEFAULT '',
    -- Digests of what all hosts must have in common (keys, file storage), by setting.
    shared_facts jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (host, process_name, instance)
) INHERITS (process_health) WITH (fillfactor = 50);
CREATE INDEX process_heartbeats_by_incarnation ON process_heartbeats (incarnation);
CREATE INDEX process_heartbeats_by_status ON process_heartbeats (process_name, status);

-- Figures of two hosts' slots of one name are two series.
ALTER TABLE process_metrics ADD COLUMN host text NOT NULL DEFAULT '';

CREATE OR REPLACE VIEW process_health_last_hour AS
    SELECT at AS time, process_name, instance, (metrics ->> 'process_tree_memory_bytes')::double precision / 1e6 AS memory_usage_mb,
           (metrics ->> 'process_uptime_seconds')::double precision AS uptime_seconds,
           (metrics ->> 'process_errors_total')::double precision AS error_count,
           coalesce((metrics ->> 'database_connections_in_use')::double precision, 0)
               + coalesce((metrics ->> 'database_connections_idle')::double precision, 0) AS active_connections,
           host
    FROM process_metrics WHERE at > now() - interval '1 hour';

-- Times in which a host could not receive webhooks, for the other hosts: absence of a webhook proves nothing about them.
CREATE TABLE webhook_outages (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host         text NOT NULL,
    process_name text NOT NULL,
    began_at     timestamptz NOT NULL,
    ended_at     timestamptz NOT NULL,
    -- of a process, which may have had a webhook in hand
    is_death     boolean NOT NULL
);
CREATE INDEX webhook_outages_by_end ON webhook_outages (process_name, ended_at);
