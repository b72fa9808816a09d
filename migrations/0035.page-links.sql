-- Which account a browser session is linked as, since when, and states that are shown only while they are proved.

-- The link that the page reports, own number and device; another link of the same number has another device. Empty: there is none, or not yet known.
ALTER TABLE phone_status ADD COLUMN link text NOT NULL DEFAULT '';
-- Since when it is this link, by this database's clock.
ALTER TABLE phone_status ADD COLUMN linked_at timestamptz;
-- The number that is linked, or was last: digits.
ALTER TABLE phone_status ADD COLUMN account text NOT NULL DEFAULT '';

-- A state that a page reports must be proved by a page that reported it lately; what the process itself decided (starting, backing off) needs its own
-- last observation alone. What is over (absent, logged out) stays true when nothing observes it.
CREATE OR REPLACE FUNCTION shown_state(process_name text, status text, proved_at timestamptz, seen_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN status IS NULL OR process_name <> 'webdriver' OR status IN ('absent', 'logged_out') THEN status
                WHEN seen_at > now() - interval '15 seconds'
                 AND (status NOT IN ('ready', 'needs_link', 'syncing', 'offline', 'conflict') OR proved_at > now() - interval '15 seconds') THEN status
                ELSE 'degraded' END
$$;

CREATE OR REPLACE FUNCTION shown_detail(process_name text, status text, detail text, proved_at timestamptz, seen_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN status IS NULL THEN ''
                WHEN shown_state(process_name, status, proved_at, seen_at) = status THEN detail
                ELSE format('was %s, and nothing proves it any more', replace(status, '_', ' ')) END
$$;
