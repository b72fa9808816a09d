-- Browser sessions: what each costs, what happened to it, and an observation that is too old to be believed.

-- What a session's browser uses and how its life went, as last measured (memory in megabytes, CPU in cores); empty while there is none.
ALTER TABLE phone_status ADD COLUMN figures jsonb NOT NULL DEFAULT '{}';

-- Every change of a browser session, oldest first; never changed, kept for RETENTION_DAYS.
CREATE TABLE session_events (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection_id bigint NOT NULL REFERENCES phone_configs ON DELETE CASCADE,
    at            timestamptz NOT NULL DEFAULT now(),
    event         varchar(30) NOT NULL,
    -- the state after it; empty when the event is not about one
    state         varchar(20) NOT NULL DEFAULT '',
    detail        text NOT NULL DEFAULT '',
    incarnation   text NOT NULL DEFAULT ''
);
CREATE INDEX session_events_by_connection ON session_events (connection_id, id DESC);

-- Who watches a session writes what it sees every few seconds; when that stops, nobody knows whether the session lives. `ready` says that the
-- page itself proved it, so its proof must be young. What is over (absent, logged out) stays true when nobody looks.
CREATE FUNCTION shown_state(process_name text, status text, proved_at timestamptz, seen_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN status IS NULL OR process_name <> 'webdriver' OR status IN ('absent', 'logged_out') THEN status
                WHEN seen_at > now() - interval '15 seconds' AND (status <> 'ready' OR proved_at > now() - interval '15 seconds') THEN status
                ELSE 'degraded' END
$$;

CREATE FUNCTION shown_detail(process_name text, status text, detail text, proved_at timestamptz, seen_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN shown_state(process_name, status, proved_at, seen_at) = status THEN detail
                ELSE format('was %s, and nothing proves it any more', replace(status, '_', ' ')) END
$$;

DROP VIEW connection_overview;
CREATE VIEW connection_overview AS
    SELECT c.company_id, c.phone_index, c.connection_type, c.process_name, c.status AS configured, c.status_reason, c.desired_state,
           coalesce(shown_state(c.process_name, s.status, s.proved_at, s.updated_at), 'absent') AS observed,
           coalesce(shown_detail(c.process_name, s.status, s.detail, s.proved_at, s.updated_at), '') AS detail,
           s.proved_at, s.updated_at, coalesce(s.figures, '{}') AS figures, coalesce(s.warning, '') AS warning, coalesce(s.facts, '{}') AS facts,
           s.checked_at
    FROM phone_configs c LEFT JOIN phone_status s ON s.connection_id = c.id WHERE c.status <> 'removed';
