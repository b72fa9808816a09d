-- pause_connection_for --
-- Hold a connection's queue until an instant, which the reason names for operators.
WITH ending AS (
    SELECT now() + make_interval(secs => %(for_s)s) AS at
), paused AS (
    UPDATE phone_configs c
    SET status = 'paused', status_reason = %(reason)s || ' (until '
            || to_char(ending.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') || ')'
    FROM ending WHERE c.id = %(id)s AND c.status = 'active'
    RETURNING c.id, c.company_id, c.process_name, c.status_reason AS reason, ending.at
), written AS (
    INSERT INTO events (subject, type, company_id, kind, connection_id, detail)
    SELECT 'connection', 'connection.paused', company_id, process_name, id, reason FROM paused
), noted AS (
    -- The reason is kept here too: at the end the pause is lifted only if it is still the one that this row describes.
    INSERT INTO timed_pauses (connection_id, reason, resume_at) SELECT id, reason, at FROM paused
    ON CONFLICT (connection_id) DO UPDATE SET reason = excluded.reason, resume_at = excluded.resume_at
)
SELECT reason FROM paused;

-- resume_due_connections --
-- Let connections send again whose pause has ended, unless they were paused for another reason since then.
WITH ended AS (
    -- Deleted whatever the connection's state is: a pause that an operator has replaced must not come back at this end.
    DELETE FROM timed_pauses p USING phone_configs c
    WHERE c.id = p.connection_id AND c.process_name = %(kind)s AND p.resume_at <= now()
    RETURNING p.connection_id, p.reason
), resumed AS (
    UPDATE phone_configs c SET status = 'active', status_reason = ''
    FROM ended WHERE c.id = ended.connection_id AND c.status = 'paused' AND c.status_reason = ended.reason
    RETURNING c.id, c.company_id, c.process_name
), written AS (
    INSERT INTO events (subject, type, company_id, kind, connection_id)
    SELECT 'connection', 'connection.resumed', company_id, process_name, id FROM resumed
)
SELECT id FROM resumed;
