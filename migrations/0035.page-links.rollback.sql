CREATE OR REPLACE FUNCTION shown_detail(process_name text, status text, detail text, proved_at timestamptz, seen_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN shown_state(process_name, status, proved_at, seen_at) = status THEN detail
                ELSE format('was %s, and nothing proves it any more', replace(status, '_', ' ')) END
$$;
CREATE OR REPLACE FUNCTION shown_state(process_name text, status text, proved_at timestamptz, seen_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN status IS NULL OR process_name <> 'webdriver' OR status IN ('absent', 'logged_out') THEN status
                WHEN seen_at > now() - interval '15 seconds' AND (status <> 'ready' OR proved_at > now() - interval '15 seconds') THEN status
                ELSE 'degraded' END
$$;
ALTER TABLE phone_status DROP COLUMN account, DROP COLUMN linked_at, DROP COLUMN link;
