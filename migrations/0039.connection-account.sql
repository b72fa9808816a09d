-- Operators see which account is linked, and a connection of which nothing was observed yet says nothing about its past.

-- A row of facts alone (a number's quality) has no status: nothing was observed, and so nothing was lost.
CREATE OR REPLACE FUNCTION shown_state(process_name text, status text, proved_at timestamptz, seen_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN coalesce(status, '') = '' THEN NULL
                WHEN process_name <> 'webdriver' OR status IN ('absent', 'logged_out') THEN status
                WHEN seen_at > now() - interval '15 seconds'
                 AND (status NOT IN ('ready', 'needs_link', 'syncing', 'offline', 'conflict') OR proved_at > now() - interval '15 seconds') THEN status
                ELSE 'degraded' END
$$;

CREATE OR REPLACE FUNCTION shown_detail(process_name text, status text, detail text, proved_at timestamptz, seen_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN coalesce(status, '') = '' THEN ''
                WHEN shown_state(process_name, status, proved_at, seen_at) = status THEN detail
                ELSE format('last seen as %s; not confirmed since', replace(status, '_', ' ')) END
$$;

-- New columns of a view stand at its end.
CREATE OR REPLACE VIEW connection_overview AS
    SELECT c.company_id, c.phone_index, c.connection_type, c.process_name, c.status AS configured, c.status_reason, c.desired_state,
           coalesce(shown_state(c.process_name, s.status, s.proved_at, s.updated_at), 'absent') AS observed,
           coalesce(shown_detail(c.process_name, s.status, s.detail, s.proved_at, s.updated_at), '') AS detail,
           s.proved_at, s.updated_at, coalesce(s.figures, '{}') AS figures, coalesce(s.warning, '') AS warning, coalesce(s.facts, '{}') AS facts,
           s.checked_at, coalesce(s.account, '') AS account
    FROM phone_configs c LEFT JOIN phone_status s ON s.connection_id = c.id WHERE c.status <> 'removed';
