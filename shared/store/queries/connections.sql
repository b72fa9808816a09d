-- sync_connection_types --
-- Bring the copy of the kinds registry up to date.
INSERT INTO connection_types (connection_type, process_name)
SELECT * FROM unnest(%(connection_types)s::text[], %(process_names)s::text[])
ON CONFLICT (connection_type) DO UPDATE SET process_name = excluded.process_name;

-- ensure_connection --
-- Make a connection unless the company has one with this index; a new type, account or credential is taken over,
-- options if they are given.
INSERT INTO phone_configs (company_id, phone_index, connection_type, process_name, account_id, credentials, options,
                           proved_ids)
VALUES (%(company_id)s, %(phone_index)s, %(connection_type)s, '', %(account_id)s, %(credentials)s,
        coalesce(%(options)s::jsonb, '{}'),
        -- the operator of this installation vouches for it
        array_remove(ARRAY[%(account_id)s], ''))
ON CONFLICT (company_id, phone_index) WHERE status <> 'removed' DO UPDATE
SET connection_type = excluded.connection_type, credentials = excluded.credentials,
    account_id = excluded.account_id,
    options = coalesce(%(options)s::jsonb, phone_configs.options),
    proved_ids = ARRAY(SELECT DISTINCT unnest(phone_configs.proved_ids || excluded.proved_ids))
RETURNING id;

-- connection_by_index --
-- One connection of a company.
SELECT id, company_id, phone_index, connection_type, process_name, status, status_reason, desired_state, account_id,
       credentials, options, waba_id, proved_ids, world
FROM phone_configs WHERE company_id = %(company_id)s AND phone_index = %(phone_index)s AND status <> 'removed';

-- lock_connection --
-- One connection, kept from being changed by others until the transaction ends.
SELECT id, company_id, phone_index, connection_type, process_name, status, status_reason, desired_state, account_id,
       credentials, options, waba_id, proved_ids, world
FROM phone_configs WHERE id = %(id)s AND status <> 'removed' FOR UPDATE;

-- connections_of_kind --
-- Every connection that a process kind serves.
SELECT id, company_id, phone_index, connection_type, process_name, status, status_reason, desired_state, account_id,
       credentials, options, waba_id, proved_ids, world
FROM phone_configs WHERE process_name = %(kind)s AND status <> 'removed' ORDER BY id;

-- connections_of_company --
-- A company's connections with what is observed of them.
SELECT c.id, c.phone_index, c.connection_type, c.process_name, c.status, c.status_reason, c.desired_state, c.account_id,
       coalesce(shown_state(c.process_name, s.status, s.proved_at, s.updated_at), 'absent') AS observed,
       coalesce(shown_detail(c.process_name, s.status, s.detail, s.proved_at, s.updated_at), '') AS detail,
       coalesce(s.qr, '') AS qr, s.proved_at, s.last_event_at, s.updated_at AS observed_at, c.waba_id, c.options,
       c.templates_synced_at,
       coalesce(s.facts, '{}') AS facts, coalesce(s.warning, '') AS warning, s.checked_at,
       coalesce(s.account, '') AS account
FROM phone_configs c LEFT JOIN phone_status s ON s.connection_id = c.id
WHERE c.company_id = %(company_id)s AND c.status <> 'removed' ORDER BY c.phone_index;

-- connection_overview --
-- Connections of all companies with what is observed of them, for operators.
SELECT company_id, phone_index, connection_type, process_name, configured, status_reason, desired_state, observed,
       detail, proved_at, updated_at, figures,
       warning, facts, checked_at, account,
       (SELECT c.options ->> 'name' FROM phone_configs c
        WHERE c.company_id = o.company_id AND c.phone_index = o.phone_index AND c.status <> 'removed') AS name
FROM connection_overview o WHERE (company_id, phone_index) > (%(company_id)s, %(phone_index)s)
ORDER BY company_id, phone_index LIMIT %(most)s;

-- desired_kinds --
-- Process kinds that some connection or task needs, or the profile of a session whose company is being deleted.
SELECT process_name FROM phone_configs WHERE status <> 'removed'
UNION SELECT c.process_name FROM companies owner JOIN phone_configs c ON c.company_id = owner.id
      JOIN phone_status s ON s.connection_id = c.id
      WHERE owner.state = 'deleting' AND c.process_name = 'webdriver' AND s.status <> ''
UNION SELECT process_name FROM tasks WHERE state IN ('queued', 'running') AND expires_at > now() ORDER BY process_name;

-- pause_connection --
-- Hold a connection's queue, with the reason; not for credentials that it has no more.
WITH changed AS (
    -- The credentials are compared as they are sealed: a refusal that arrives after an operator gave new ones concerns
    -- the old ones, and must not pause the connection again.
    UPDATE phone_configs SET status = 'paused', status_reason = %(reason)s
    WHERE id = %(id)s AND status = 'active' AND (%(credentials)s::text IS NULL OR credentials = %(credentials)s)
    RETURNING id, company_id, process_name, status_reason
), noted AS (
    INSERT INTO events (subject, type, company_id, kind, connection_id, detail)
    SELECT 'connection', 'connection.paused', company_id, process_name, id, status_reason FROM changed
)
SELECT id FROM changed;

-- resume_connection --
-- Let a paused connection send again, if it was paused for one of these reasons.
WITH changed AS (
    UPDATE phone_configs SET status = 'active', status_reason = ''
    WHERE id = %(id)s AND status = 'paused'
      -- a reason begins with its code, where it has one
      AND (%(codes)s::text[] IS NULL OR split_part(status_reason, ':', 1) = ANY(%(codes)s::text[]))
      AND starts_with(status_reason, %(beginning)s)
    RETURNING id, company_id, process_name
), noted AS (
    INSERT INTO events (subject, type, company_id, kind, connection_id)
    SELECT 'connection', 'connection.resumed', company_id, process_name, id FROM changed
)
SELECT id FROM changed;

-- connection_by_account --
-- A company's connection with this account of the provider.
SELECT id, company_id, phone_index, connection_type, process_name, status, status_reason, desired_state, account_id,
       credentials, options, waba_id, proved_ids, world
FROM phone_configs
WHERE company_id = %(company_id)s AND account_id = %(account_id)s AND status <> 'removed'
  AND process_name = (SELECT process_name FROM connection_types WHERE connection_type = %(connection_type)s) LIMIT 1;

-- company_of_connection --
-- The company of a connection.
SELECT company_id FROM phone_configs WHERE id = %(id)s;

-- observe_connection --
-- Write what a connection is observed to be. Every NULL leaves what was written before.
INSERT INTO phone_status
    (connection_id, process_name, status, detail, qr, proved_at, incarnation, figures, link, linked_at, account)
VALUES (%(connection_id)s, '', %(status)s, %(detail)s, %(qr)s,
        -- dated by the clock that judges how old a proof is
        now() - make_interval(secs => %(proved_s)s::float8),
        %(incarnation)s, coalesce(%(figures)s::jsonb, '{}'), coalesce(%(link)s::text, ''),
        CASE WHEN %(link)s::text <> '' THEN now() END,
        split_part(split_part(coalesce(%(link)s::text, ''), '@', 1), ':', 1))
ON CONFLICT (connection_id) DO UPDATE
SET status = excluded.status, detail = excluded.detail, qr = excluded.qr, incarnation = excluded.incarnation,
    proved_at = coalesce(excluded.proved_at, phone_status.proved_at),
    figures = coalesce(%(figures)s::jsonb, phone_status.figures),
    link = coalesce(%(link)s::text, phone_status.link),
    -- the same link keeps its time: messages that were sent since then are known to its page
    linked_at = CASE WHEN %(link)s::text IS NULL OR excluded.link = phone_status.link THEN phone_status.linked_at
                     ELSE excluded.linked_at END,
    -- the account outlives its link: what waits was accepted for it
    account = CASE WHEN excluded.account <> '' THEN excluded.account ELSE phone_status.account END;

-- removed_connections --
-- Those of these connections that were removed.
SELECT id FROM phone_configs WHERE id = ANY(%(ids)s::bigint[]) AND status = 'removed';

-- touch_connections --
-- Record that the provider sent something about these connections.
INSERT INTO phone_status (connection_id, process_name, status, last_event_at)
SELECT id, '', 'ready', now() FROM unnest(%(connection_ids)s::bigint[]) AS t(id) ORDER BY id
ON CONFLICT (connection_id) DO UPDATE SET last_event_at = now()
-- At most one write a second for each connection: under load every batch of webhooks would rewrite the same rows.
WHERE phone_status.last_event_at IS NULL OR phone_status.last_event_at < now() - interval '1 second';

-- add_connection --
-- Make a connection at an index, or at the first one that is free; no row when the index is taken.
WITH made AS (
    INSERT INTO phone_configs (company_id, phone_index, connection_type, process_name, account_id, waba_id, options)
    SELECT %(company_id)s, coalesce(%(phone_index)s::int, (
               -- Two requests may find the same free index: the unique index lets one of them through, and the other
               -- answers no row.
               SELECT min(free) FROM generate_series(0, 9999) AS g(free)
               WHERE NOT EXISTS (SELECT FROM phone_configs c
                                 WHERE c.company_id = %(company_id)s AND c.phone_index = free
                                   AND c.status <> 'removed'))),
           %(connection_type)s, '', %(account_id)s, %(waba_id)s, %(options)s
    ON CONFLICT (company_id, phone_index) WHERE status <> 'removed' DO NOTHING
    RETURNING id, phone_index, company_id, process_name
), noted AS (
    INSERT INTO events (subject, type, company_id, kind, connection_id)
    SELECT 'connection', 'connection.created', company_id, process_name, id FROM made
)
SELECT id, phone_index FROM made;

-- update_connection --
-- Change what is given about a connection; options are merged, and those that are null go. What is known about an
-- account goes with it: facts, business account, templates and the ids of files that were uploaded for it.
WITH before AS (
    -- Locked, and compared before the change: whether the account is another one decides what is deleted below.
    SELECT id, %(account_id)s::text IS NOT NULL AND account_id <> %(account_id)s AS is_other_account
    FROM phone_configs WHERE id = %(id)s AND status <> 'removed' FOR UPDATE
), changed AS (
    UPDATE phone_configs c
    SET account_id = coalesce(%(account_id)s, c.account_id), credentials = coalesce(%(credentials)s, c.credentials),
        waba_id = coalesce(%(waba_id)s, CASE WHEN before.is_other_account THEN '' ELSE c.waba_id END),
        templates_synced_at = CASE WHEN NOT before.is_other_account THEN c.templates_synced_at END,
        options = jsonb_strip_nulls(c.options || coalesce(%(options)s::jsonb, '{}'))
    FROM before WHERE c.id = before.id
    RETURNING c.id, c.company_id, c.process_name
), noted AS (
    -- that it was changed, not to what: it may be a credential
    INSERT INTO events (subject, type, company_id, kind, connection_id)
    SELECT 'connection', 'connection.updated', company_id, process_name, id FROM changed
), facts AS (
    -- Facts, templates and uploads belong to the provider's account: with the next one they would be wrong, not just
    -- old.
    UPDATE phone_status s SET facts = '{}', warning = '', checked_at = NULL FROM before
    WHERE s.connection_id = before.id AND before.is_other_account
), listed AS (
    DELETE FROM templates t USING before WHERE t.connection_id = before.id AND before.is_other_account
), uploaded AS (
    DELETE FROM media_uploads u USING before WHERE u.connection_id = before.id AND before.is_other_account
)
SELECT id FROM changed;

-- account_in_use --
-- Whether a connection of any company is proved to serve a provider's account.
SELECT account_in_use(%(connection_type)s, %(account_id)s, %(but)s::bigint) AS is_used;

-- prove_connection --
-- Note ids that a connection's token was proved to reach, unless it has other credentials by now; no row when nothing
-- is new.
UPDATE phone_configs SET proved_ids = ARRAY(SELECT DISTINCT unnest(proved_ids || %(ids)s::text[]))
WHERE id = %(id)s AND credentials = %(credentials)s AND status <> 'removed' AND NOT proved_ids @> %(ids)s::text[]
RETURNING id;

-- enter_worlds --
-- Note to which world connections of a kind send. What is known from the other world goes: its provider is not this
-- one.
WITH given AS (
    SELECT * FROM unnest(%(types)s::text[], %(worlds)s::text[]) AS g(connection_type, world)
), moved AS (
    -- Null before: the world was not known yet, so nothing can be from the other one. Locked in the order of ids, since
    -- several processes of the kind start at once.
    SELECT c.id, given.world, c.world IS NOT NULL AS is_other FROM phone_configs c JOIN given USING (connection_type)
    WHERE c.process_name = %(kind)s AND c.status <> 'removed' AND c.world IS DISTINCT FROM given.world
    ORDER BY c.id FOR UPDATE OF c
), changed AS (
    UPDATE phone_configs c
    SET world = moved.world, proved_ids = CASE WHEN moved.is_other THEN '{}' ELSE c.proved_ids END,
        templates_synced_at = CASE WHEN NOT moved.is_other THEN c.templates_synced_at END
    FROM moved WHERE c.id = moved.id
), facts AS (
    -- What one provider reported is deleted when the other takes its place. Templates, uploads and files to fetch name
    -- their world themselves.
    UPDATE phone_status s SET facts = '{}', warning = '', checked_at = NULL FROM moved
    WHERE s.connection_id = moved.id AND moved.is_other
)
SELECT id FROM moved WHERE is_other ORDER BY id;

-- open_messages --
-- How many messages of a connection are not finished.
SELECT count(*) AS messages FROM messages WHERE connection_id = %(id)s AND state IN ('queued', 'sending', 'in_doubt');

-- remove_connection --
-- End a connection: it sends nothing more, and its secrets are gone.
WITH changed AS (
    -- The secrets are deleted here, with the state, and not by retention: a removed connection must not be able to
    -- send.
    UPDATE phone_configs SET status = 'removed', status_reason = %(reason)s, credentials = '',
        desired_state = 'logged_out'
    WHERE id = %(id)s AND status <> 'removed'
    RETURNING id, company_id, process_name, status_reason
), noted AS (
    INSERT INTO events (subject, type, company_id, kind, connection_id, detail)
    SELECT 'connection', 'connection.removed', company_id, process_name, id, status_reason FROM changed
)
SELECT id FROM changed;

-- fail_messages_of_removed --
-- Fail what still waits at removed connections; what is being sent at this moment is left to its end.
WITH moved AS (
    -- Not `sending`: its process has the request in hand and settles the row, and `fail_leftovers` runs again after
    -- that.
    UPDATE messages m SET state = 'failed', held_at = NULL, error_code = %(code)s, error_detail = %(detail)s,
        updated_at = now()
    FROM phone_configs c
    WHERE c.id = m.connection_id AND c.status = 'removed' AND (%(id)s::bigint IS NULL OR c.id = %(id)s)
      AND m.state IN ('queued', 'in_doubt')
      -- of a company that is being deleted every message goes, in bounded batches
      AND NOT EXISTS (SELECT FROM companies owner WHERE owner.id = c.company_id AND owner.state = 'deleting')
    RETURNING m.id, m.company_id, m.process_name, m.connection_id, m.attempt
), noted AS (
    INSERT INTO events_messages (subject, type, company_id, kind, connection_id, message_id, state, attempt, code,
                                 detail)
    SELECT 'message', 'message.failed', company_id, process_name, connection_id, id, 'failed', attempt, %(code)s,
           %(detail)s FROM moved
)
SELECT count(*) AS messages FROM moved;

-- note_facts --
-- Keep what the provider reports about a connection: given facts replace those of the same name.
INSERT INTO phone_status (connection_id, process_name, status, facts, warning, checked_at)
VALUES (%(connection_id)s, '', 'ready', %(facts)s, coalesce(%(warning)s, ''), CASE WHEN %(checked)s THEN now() END)
ON CONFLICT (connection_id) DO UPDATE
SET facts = phone_status.facts || excluded.facts, warning = coalesce(%(warning)s, phone_status.warning),
    checked_at = coalesce(excluded.checked_at, phone_status.checked_at);

-- note_facts_of_account --
-- Keep facts about an account at the connections given, or at those of them whose number is known to be this.
INSERT INTO phone_status (connection_id, process_name, status, facts)
SELECT c.id, '', 'ready', %(facts)s FROM phone_configs c LEFT JOIN phone_status s ON s.connection_id = c.id
WHERE c.id = ANY(%(connection_ids)s::bigint[]) AND c.status <> 'removed'
  AND (%(digits)s = '' OR coalesce(regexp_replace(s.facts #>> '{number,displayPhoneNumber}', '[^0-9]', '', 'g'),
                                   %(digits)s) = %(digits)s)
ORDER BY c.id
ON CONFLICT (connection_id) DO UPDATE SET facts = phone_status.facts || excluded.facts
RETURNING connection_id;

-- unchecked_connections --
-- Connections of a kind that were not looked at for so long, longest first.
SELECT c.id FROM phone_configs c LEFT JOIN phone_status s ON s.connection_id = c.id
WHERE c.process_name = %(kind)s AND c.status <> 'removed'
  AND (s.checked_at IS NULL OR s.checked_at < now() - make_interval(secs => %(older_s)s))
  AND NOT EXISTS (SELECT FROM tasks t
                  WHERE t.connection_id = c.id AND t.operation = %(operation)s
                    AND t.created_at > now() - make_interval(secs => %(again_s)s))
-- The task of a check is inserted in the same transaction. SKIP LOCKED: of two processes one makes it.
ORDER BY s.checked_at NULLS FIRST LIMIT %(most)s FOR UPDATE OF c SKIP LOCKED;
