-- find_template --
-- One template of a connection, and when the connection's templates were read last.
SELECT c.templates_synced_at, t.id, t.provider_id, t.name, t.language, t.category, t.status, t.reason, t.quality,
       t.components, t.status_at, t.updated_at
FROM phone_configs c LEFT JOIN templates t ON t.connection_id = c.id AND t.name = %(name)s AND t.language = %(language)s
     -- what the other world's provider has says nothing about this one's
     AND t.world = %(world)s
WHERE c.id = %(connection_id)s;

-- templates_of --
-- Templates of a connection by name and language.
SELECT id, provider_id, name, language, category, status, reason, quality, components, status_at, updated_at
FROM templates
WHERE connection_id = %(connection_id)s AND world = %(world)s
  AND (name, language) > (%(after_name)s, %(after_language)s)
  AND (%(status)s::text IS NULL OR status = %(status)s)
ORDER BY name, language LIMIT %(most)s;

-- write_templates --
-- Keep templates as the provider has them now.
INSERT INTO templates (connection_id, world, provider_id, name, language, category, status, reason, quality, components,
                       status_at)
SELECT %(connection_id)s, %(world)s, provider_id, name, language, category, status, reason, quality, components, %(at)s
FROM jsonb_to_recordset(%(rows)s::jsonb)
     AS r(provider_id text, name text, language text, category text, status text, reason text, quality text,
          components jsonb)
ON CONFLICT (connection_id, world, name, language) DO UPDATE
SET provider_id = excluded.provider_id, category = excluded.category, components = excluded.components,
    updated_at = now(),
    -- a webhook that came while the list was being read knows better
    status = CASE WHEN templates.status_at > %(at)s THEN templates.status ELSE excluded.status END,
    reason = CASE WHEN templates.status_at > %(at)s THEN templates.reason ELSE excluded.reason END,
    quality = CASE WHEN excluded.quality <> '' THEN excluded.quality ELSE templates.quality END,
    status_at = greatest(templates.status_at, %(at)s);

-- forget_templates --
-- Remove templates of a connection that a whole list did not hold.
-- `before` is the instant at which the list was asked for: a template that was made since then is in no list.
DELETE FROM templates t WHERE t.connection_id = %(connection_id)s AND t.world = %(world)s AND t.updated_at < %(before)s
  AND NOT EXISTS (SELECT FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(name text, language text)
                  WHERE r.name = t.name AND r.language = t.language);

-- templates_synced --
-- Note that a connection's templates are known now.
UPDATE phone_configs SET templates_synced_at = now() WHERE id = %(connection_id)s;

-- delete_templates --
-- Remove the templates of one name, in all languages or in one.
DELETE FROM templates WHERE connection_id = %(connection_id)s AND world = %(world)s AND name = %(name)s
  AND (%(language)s::text IS NULL OR language = %(language)s);

-- apply_template_event --
-- Apply an event about a template, at the connections given; an older event than the last changes nothing.
WITH changed AS (
    UPDATE templates t
    SET status = coalesce(%(status)s, t.status),
        reason = CASE WHEN %(status)s::text IS NULL THEN t.reason ELSE coalesce(%(reason)s, '') END,
        quality = coalesce(%(quality)s, t.quality), category = coalesce(%(category)s, t.category),
        provider_id = CASE WHEN %(provider_id)s <> '' THEN %(provider_id)s ELSE t.provider_id END,
        status_at = greatest(t.status_at, %(at)s), updated_at = now()
    FROM phone_configs own
    WHERE t.connection_id = ANY(%(connection_ids)s::bigint[]) AND own.id = t.connection_id AND own.world = t.world
      AND ((t.provider_id = %(provider_id)s AND t.provider_id <> '')
           OR (t.name = %(name)s AND t.language = %(language)s))
      -- the provider's times are whole seconds, ours are not
      AND (t.status_at IS NULL OR date_trunc('second', t.status_at) <= %(at)s)
    RETURNING t.id, t.connection_id, t.name, t.language, t.status, t.reason, t.quality, t.category
), noted AS (
    INSERT INTO events (at, subject, type, company_id, kind, connection_id, state, data)
    SELECT %(at)s, 'template', 'template.updated', c.company_id, c.process_name, c.id, changed.status,
           jsonb_build_object('name', changed.name, 'language', changed.language, 'reason', changed.reason,
                              'quality', changed.quality, 'category', changed.category)
    FROM changed JOIN phone_configs c ON c.id = changed.connection_id ORDER BY changed.id
)
SELECT id FROM changed;
