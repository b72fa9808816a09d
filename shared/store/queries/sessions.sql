-- sessions_of_company --
-- A company's connections with the state of their browser sessions; a state that is not proved any more is not shown.
SELECT c.id, c.company_id, c.phone_index, c.connection_type, c.process_name, c.status, c.desired_state,
       coalesce(shown_state(c.process_name, s.status, s.proved_at, s.updated_at), 'absent') AS observed,
       coalesce(shown_detail(c.process_name, s.status, s.detail, s.proved_at, s.updated_at), '') AS detail,
       coalesce(s.qr, '') AS qr, coalesce(s.account, '') AS account, s.proved_at, s.updated_at AS observed_at,
       coalesce(s.figures, '{}') AS figures
FROM phone_configs c LEFT JOIN phone_status s ON s.connection_id = c.id
WHERE c.company_id = %(company_id)s AND c.status <> 'removed' ORDER BY c.phone_index;

-- session_states --
-- How many browser sessions should be what and are what, for health pages.
SELECT desired_state, observed, count(*) AS sessions FROM connection_overview WHERE process_name = 'webdriver'
GROUP BY desired_state, observed;

-- want_session --
-- Set the desired state of a browser session, with an event when it changes.
WITH known AS (
    -- Locked, so that the event's comparison and the change see one state: two equal requests at once leave one event.
    SELECT id, process_name, desired_state FROM phone_configs
    WHERE company_id = %(company_id)s AND phone_index = %(phone_index)s AND status <> 'removed' FOR UPDATE
), noted AS (
    INSERT INTO events (subject, type, company_id, kind, connection_id, detail)
    SELECT 'session', 'session.wanted', %(company_id)s, process_name, id, %(desired_state)s FROM known
    WHERE desired_state <> %(desired_state)s
)
UPDATE phone_configs c SET desired_state = %(desired_state)s FROM known WHERE c.id = known.id RETURNING c.id;

-- session_linked_at --
-- Since when a link to a phone is a connection's; no row when it is not.
SELECT linked_at FROM phone_status
WHERE connection_id = %(connection_id)s AND link = %(link)s AND link <> '' AND linked_at IS NOT NULL;

-- note_session_event --
-- Note what happened to a browser session; nothing when its connection is gone.
INSERT INTO events (at, subject, type, company_id, kind, connection_id, state, detail, incarnation)
SELECT %(at)s, 'session', 'session.' || %(event)s::text, company_id, process_name, id, nullif(%(state)s, ''),
       nullif(%(detail)s, ''),
       nullif(%(incarnation)s, '')
FROM phone_configs WHERE id = %(connection_id)s;

-- session_events --
-- What happened to a browser session, newest first.
SELECT id, at, split_part(type, '.', 2) AS event, coalesce(state, '') AS state, coalesce(detail, '') AS detail,
       coalesce(incarnation, '') AS incarnation
FROM events
WHERE subject = 'session' AND connection_id = %(connection_id)s AND id < %(before)s ORDER BY id DESC LIMIT %(most)s;

-- take_sessions --
-- Make this host the one of sessions that have none, or whose host is dead. A linked session without a host goes to the
-- one that has its profile; others are shared out evenly among the hosts that live.
WITH living AS MATERIALIZED (
    -- Fenced is a host whose lease has run out and of which another one has seen no sign of life.
    SELECT count(DISTINCT host) FILTER (WHERE host <> %(host)s) AS others, array_agg(DISTINCT host) AS hosts,
           coalesce(bool_or(fenced) FILTER (WHERE incarnation = %(incarnation)s), false) AS is_fenced
    FROM (SELECT host, incarnation, fenced FROM process_heartbeats
          WHERE process_name = %(kind)s AND (NOT fenced OR incarnation = %(incarnation)s)) AS known
), counted AS MATERIALIZED (
    SELECT count(*) AS sessions, count(*) FILTER (WHERE session_host = %(host)s) AS here
    FROM phone_configs WHERE process_name = %(kind)s AND status <> 'removed'
), free AS (
    SELECT c.id, c.session_host AS host_before
    FROM phone_configs c CROSS JOIN living CROSS JOIN counted LEFT JOIN phone_status s ON s.connection_id = c.id
    WHERE c.process_name = %(kind)s AND c.status <> 'removed' AND NOT living.is_fenced
      AND (c.session_host IS NULL
           OR c.session_host <> %(host)s AND c.session_host <> ALL(coalesce(living.hosts, '{}')))
      AND (c.session_host IS NOT NULL OR coalesce(s.link, '') = '' OR c.id = ANY(%(kept)s::bigint[])
           OR %(any_linked)s)
    ORDER BY c.id = ANY(%(kept)s::bigint[]) DESC, c.id
    LIMIT (SELECT greatest(0, cardinality(%(kept)s::bigint[]),
                           ceil(sessions / (others + 1.0))::bigint - here) FROM counted, living)
    FOR UPDATE OF c SKIP LOCKED
), moved AS (
    UPDATE phone_configs c SET session_host = %(host)s FROM free WHERE c.id = free.id
    RETURNING c.id, c.company_id, c.process_name, free.host_before
), noted AS (
    INSERT INTO events (subject, type, company_id, kind, connection_id, detail, incarnation)
    SELECT 'session', 'session.moved', company_id, process_name, id,
           'from host ' || host_before || ' to ' || %(host)s
           || CASE WHEN id = ANY(%(kept)s::bigint[]) THEN ', with its profile'
                   ELSE ', whose folder has no profile of it: it must be linked anew' END,
           %(incarnation)s
    FROM moved WHERE host_before IS NOT NULL
)
SELECT living.others, moved.id, moved.host_before FROM living LEFT JOIN moved ON true ORDER BY moved.id;

-- host_of_session --
-- Where a connection's browser session runs; empty: nowhere yet.
SELECT coalesce(session_host, '') AS host FROM phone_configs
WHERE company_id = %(company_id)s AND phone_index = %(phone_index)s AND status <> 'removed';

-- sessions_here --
-- Connections whose browser session runs on this host; none for a life that another host has fenced.
SELECT id, company_id, desired_state FROM phone_configs
WHERE process_name = %(kind)s AND status <> 'removed' AND session_host = %(host)s
  AND NOT EXISTS (SELECT FROM process_heartbeats h WHERE h.incarnation = %(incarnation)s AND h.fenced)
ORDER BY id;
