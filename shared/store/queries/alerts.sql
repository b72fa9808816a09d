-- fire_alert --
-- Keep an alert that is on; one that is kept already stays as it was.
INSERT INTO alerts (host, name, labels, severity, summary, value, fired_at)
VALUES (%(host)s, %(name)s, %(labels)s, %(severity)s, %(summary)s, %(value)s, now() - make_interval(secs => %(age_s)s))
ON CONFLICT (host, name, labels) WHERE ended_at IS NULL DO NOTHING;

-- end_alert --
-- End an alert; if there was an event when it fired, there is one now.
WITH ended AS (
    UPDATE alerts SET ended_at = now(), summary = %(summary)s, value = %(value)s
    WHERE host = %(host)s AND name = %(name)s AND labels = %(labels)s AND ended_at IS NULL
    RETURNING id, name, labels, severity, summary, value, fired_at, notified_at
)
INSERT INTO events (subject, type, state, code, detail, data)
SELECT 'alert', 'alert.ended', 'ended', name, summary,
       jsonb_build_object('alertId', id, 'labels', labels, 'severity', severity, 'value', value, 'firedAt', fired_at)
FROM ended WHERE notified_at IS NOT NULL;

-- notify_alerts --
-- Write the events of alerts that are on and not silenced.
WITH notified AS (
    UPDATE alerts a SET notified_at = now()
    WHERE a.ended_at IS NULL AND a.notified_at IS NULL
      AND NOT EXISTS (SELECT FROM alert_silences s
                      WHERE s.until > now() AND (s.name = '' OR s.name = a.name) AND a.labels @> s.labels)
    RETURNING id, name, labels, severity, summary, value, fired_at
)
INSERT INTO events (subject, type, state, code, detail, data)
SELECT 'alert', 'alert.fired', 'on', name, summary,
       jsonb_build_object('alertId', id, 'labels', labels, 'severity', severity, 'value', value, 'firedAt', fired_at)
FROM notified;

-- alerts_on --
-- What one host's recorder left on.
SELECT name, labels, value FROM alerts WHERE host = %(host)s AND ended_at IS NULL;

-- list_alerts --
-- Alerts, newest first; `is_on`: only those that are, or are not.
SELECT a.id, a.host, a.name, a.labels, a.severity, a.summary, a.value, a.fired_at, a.ended_at,
       EXISTS (SELECT FROM alert_silences s
               WHERE s.until > now() AND (s.name = '' OR s.name = a.name) AND a.labels @> s.labels) AS silenced
FROM alerts a
WHERE (%(is_on)s::boolean IS NULL OR (a.ended_at IS NULL) = %(is_on)s) AND a.id < %(before)s
ORDER BY a.id DESC LIMIT %(most)s;

-- add_silence --
-- Silence alerts until an instant.
INSERT INTO alert_silences (name, labels, reason, until, created_by)
SELECT %(name)s, %(labels)s, %(reason)s, now() + make_interval(secs => %(seconds)s), %(created_by)s
-- each alert is compared with all of them
WHERE (SELECT count(*) FROM alert_silences WHERE until > now()) < %(most)s
RETURNING id, name, labels, reason, until, created_by, created_at;

-- list_silences --
-- Silences that last.
SELECT id, name, labels, reason, until, created_by, created_at
FROM alert_silences WHERE until > now() ORDER BY id;

-- end_silence --
-- End a silence now.
UPDATE alert_silences SET until = now() WHERE id = %(id)s AND until > now()
RETURNING id, name, labels, reason, until, created_by, created_at;

-- prune_alerts --
-- Delete alerts that ended long ago.
DELETE FROM alerts WHERE id IN (
    SELECT id FROM alerts WHERE ended_at < now() - make_interval(secs => %(age_s)s) LIMIT %(most)s)
RETURNING id;

-- prune_silences --
-- Delete silences that ended long ago.
DELETE FROM alert_silences WHERE id IN (
    SELECT id FROM alert_silences WHERE until < now() - make_interval(secs => %(age_s)s) LIMIT %(most)s)
RETURNING id;
