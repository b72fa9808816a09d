-- sync_connection_types --
-- Bring the copy of the kinds registry up to date.
INSERT INTO connection_types (connection_type, process_name)
SELECT * FROM unnest(%(connection_types)s::text[], %(process_names)s::text[])
ON CONFLICT (connection_type) DO UPDATE SET process_name = excluded.process_name;

-- ensure_company --
-- Make a company unless it is there.
INSERT INTO companies (id, name) VALUES (%(id)s, %(name)s) ON CONFLICT (id) DO NOTHING;

-- company_exists --
-- Whether a company is known.
SELECT id FROM companies WHERE id = %(id)s;

-- ensure_connection --
-- Make a connection unless the company has one with this index; a new type, account or credential is taken over, options if they are given.
INSERT INTO phone_configs (company_id, phone_index, connection_type, process_name, account_id, credentials, options)
VALUES (%(company_id)s, %(phone_index)s, %(connection_type)s, '', %(account_id)s, %(credentials)s, coalesce(%(options)s::jsonb, '{}'))
ON CONFLICT (company_id, phone_index) DO UPDATE
SET connection_type = excluded.connection_type, account_id = excluded.account_id, credentials = excluded.credentials,
    options = coalesce(%(options)s::jsonb, phone_configs.options)
RETURNING id;

-- connection_by_index --
-- One connection of a company.
SELECT id, company_id, phone_index, connection_type, process_name, status, status_reason, desired_state, account_id, credentials, options
FROM phone_configs WHERE company_id = %(company_id)s AND phone_index = %(phone_index)s;

-- connections_of_kind --
-- Every connection that a process kind serves.
SELECT id, company_id, phone_index, connection_type, process_name, status, status_reason, desired_state, account_id, credentials, options
FROM phone_configs WHERE process_name = %(kind)s ORDER BY id;

-- connections_of_company --
-- A company's connections with what is observed of them.
SELECT c.id, c.phone_index, c.connection_type, c.process_name, c.status, c.status_reason, c.desired_state, c.account_id,
       coalesce(shown_state(c.process_name, s.status, s.proved_at, s.updated_at), 'absent') AS observed,
       coalesce(shown_detail(c.process_name, s.status, s.detail, s.proved_at, s.updated_at), '') AS detail,
       coalesce(s.qr, '') AS qr, s.proved_at, s.last_event_at, s.updated_at AS observed_at
FROM phone_configs c LEFT JOIN phone_status s ON s.connection_id = c.id
WHERE c.company_id = %(company_id)s ORDER BY c.phone_index;

-- connection_overview --
-- Connections of all companies with what is observed of them, for operators.
SELECT company_id, phone_index, connection_type, process_name, configured, status_reason, desired_state, observed, detail, proved_at, updated_at, figures
FROM connection_overview ORDER BY company_id, phone_index LIMIT %(most)s;

-- wanted_kinds --
-- Process kinds that some connection needs.
SELECT DISTINCT process_name FROM phone_configs ORDER BY process_name;

-- pause_connection --
-- Hold a connection's queue, with the reason.
UPDATE phone_configs SET status = 'paused', status_reason = %(reason)s WHERE id = %(id)s AND status = 'active' RETURNING id;

-- resume_connection --
-- Let a paused connection send again.
UPDATE phone_configs SET status = 'active', status_reason = '' WHERE id = %(id)s AND status = 'paused' RETURNING id;

-- observe_connection --
-- Write what a connection is seen to be.
INSERT INTO phone_status (connection_id, process_name, status, detail, qr, proved_at, incarnation)
VALUES (%(connection_id)s, '', %(status)s, %(detail)s, %(qr)s, %(proved_at)s, %(incarnation)s)
ON CONFLICT (connection_id) DO UPDATE
SET status = excluded.status, detail = excluded.detail, qr = excluded.qr,
    proved_at = coalesce(excluded.proved_at, phone_status.proved_at), incarnation = excluded.incarnation;

-- touch_connections --
-- Note that the provider was heard from about these connections.
INSERT INTO phone_status (connection_id, process_name, status, last_event_at)
SELECT id, '', 'ready', now() FROM unnest(%(connection_ids)s::bigint[]) AS t(id) ORDER BY id
ON CONFLICT (connection_id) DO UPDATE SET last_event_at = now()
WHERE phone_status.last_event_at IS NULL OR phone_status.last_event_at < now() - interval '1 second';
