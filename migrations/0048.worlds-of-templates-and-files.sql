-- Templates, ids of uploaded files, and files that wait to be fetched belong to a world, `sandbox` or `live`, and are used in it alone.

-- What was known before the world of its connection was: it is read, or uploaded, again.
UPDATE phone_configs SET templates_synced_at = NULL WHERE world IS NULL;
DELETE FROM templates t USING phone_configs c WHERE c.id = t.connection_id AND c.world IS NULL;
DELETE FROM media_uploads u USING phone_configs c WHERE c.id = u.connection_id AND c.world IS NULL;

ALTER TABLE templates ADD COLUMN world text CHECK (world IN ('sandbox', 'live'));
UPDATE templates t SET world = c.world FROM phone_configs c WHERE c.id = t.connection_id;
ALTER TABLE templates ALTER COLUMN world SET NOT NULL, DROP CONSTRAINT templates_connection_id_name_language_key,
    ADD UNIQUE (connection_id, world, name, language);

ALTER TABLE media_uploads ADD COLUMN world text CHECK (world IN ('sandbox', 'live'));
UPDATE media_uploads u SET world = c.world FROM phone_configs c WHERE c.id = u.connection_id;
ALTER TABLE media_uploads ALTER COLUMN world SET NOT NULL, DROP CONSTRAINT media_uploads_pkey,
    ADD PRIMARY KEY (connection_id, world, sha256, mimetype);

-- null: not known, or a session's, whose files are in its page.
ALTER TABLE inbound_media ADD COLUMN world text CHECK (world IN ('sandbox', 'live'));
UPDATE inbound_media m SET world = c.world FROM phone_configs c WHERE c.id = m.connection_id AND m.state = 'pending';
