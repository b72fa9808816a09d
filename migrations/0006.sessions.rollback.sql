-- Back to a schema without events of sessions.
DROP VIEW connection_overview;
CREATE VIEW connection_overview AS
    SELECT c.company_id, c.phone_index, c.connection_type, c.process_name, c.status AS configured, c.status_reason, c.desired_state,
           coalesce(s.status, 'absent') AS observed, coalesce(s.detail, '') AS detail, s.proved_at, s.updated_at
    FROM phone_configs c LEFT JOIN phone_status s ON s.connection_id = c.id;
DROP FUNCTION shown_detail(text, text, text, timestamptz, timestamptz);
DROP FUNCTION shown_state(text, text, timestamptz, timestamptz);
DROP TABLE session_events;
ALTER TABLE phone_status DROP COLUMN figures;
