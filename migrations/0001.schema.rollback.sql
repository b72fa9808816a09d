-- Back to an empty database; the data goes with it.
DROP VIEW recent_process_events, connection_overview, messages_per_minute, queue_depth, process_status;
DROP FUNCTION heartbeat_status(timestamptz);
DROP TABLE process_events, process_metrics, process_health, inbound_messages, inbound_journal, message_events, messages,
           phone_status, phone_configs, connection_types, companies;
DROP SEQUENCE message_ids;
DROP FUNCTION set_process_name_from_connection_type();
DROP FUNCTION set_process_name_from_connection();
