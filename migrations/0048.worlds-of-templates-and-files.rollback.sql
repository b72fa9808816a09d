ALTER TABLE inbound_media DROP COLUMN world;

DELETE FROM media_uploads u USING phone_configs c WHERE c.id = u.connection_id AND c.world IS DISTINCT FROM u.world;
ALTER TABLE media_uploads DROP CONSTRAINT media_uploads_pkey, DROP COLUMN world, ADD PRIMARY KEY (connection_id, sha256, mimetype);

DELETE FROM templates t USING phone_configs c WHERE c.id = t.connection_id AND c.world IS DISTINCT FROM t.world;
ALTER TABLE templates DROP CONSTRAINT templates_connection_id_world_name_language_key, DROP COLUMN world, ADD UNIQUE (connection_id, name, language);
