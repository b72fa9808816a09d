-- remember_file --
-- Note a file in storage; it counts as used now.
INSERT INTO media_files (company_id, sha256, size, mimetype, filename, is_animated)
VALUES (%(company_id)s, %(sha256)s, %(size)s, %(mimetype)s, %(filename)s, %(is_animated)s)
ON CONFLICT (company_id, sha256) DO UPDATE
SET used_at = now(), mimetype = excluded.mimetype, is_received = false, released_at = NULL,
    is_animated = coalesce(excluded.is_animated, media_files.is_animated),
    filename = coalesce(nullif(excluded.filename, ''), media_files.filename);

-- remember_received --
-- Note a file in storage that came with a message. A digest names bytes: what the company calls its own file is not the
-- sender's to change, and each message keeps the name that came with it.
INSERT INTO media_files (company_id, sha256, size, mimetype, filename, is_animated, is_received)
VALUES (%(company_id)s, %(sha256)s, %(size)s, %(mimetype)s, '', %(is_animated)s, true)
ON CONFLICT (company_id, sha256) DO UPDATE
SET used_at = now(), is_animated = coalesce(excluded.is_animated, media_files.is_animated);

-- find_file --
-- One file of a company; it counts as used now.
UPDATE media_files SET used_at = now() WHERE company_id = %(company_id)s AND sha256 = %(sha256)s
RETURNING sha256, size, mimetype, filename, is_animated, created_at, used_at;

-- expire_files --
-- Forget files that were not used for so long and that no open message needs.
DELETE FROM media_files f
USING (SELECT company_id, sha256 FROM media_files
       WHERE used_at < now() - make_interval(secs => %(days)s * 86400)
         -- An open message names its files by digest somewhere in its content, whose shape depends on the type: 64
         -- hexadecimal digits are found in it by chance only when they are meant.
         AND NOT EXISTS (SELECT FROM messages m
                         WHERE m.company_id = media_files.company_id AND m.state IN ('queued', 'sending', 'in_doubt')
                                                  AND strpos(m.content::text, media_files.sha256) > 0)
         AND NOT is_document(company_id, sha256)
       ORDER BY used_at LIMIT %(most)s FOR UPDATE SKIP LOCKED) AS old
WHERE f.company_id = old.company_id AND f.sha256 = old.sha256
RETURNING f.company_id, f.sha256, f.size, f.mimetype, f.filename, f.is_animated, f.used_at, f.released_at;

-- release_file --
-- Let a file be removed, unless something else refers to it: the message that it came with is gone.
UPDATE media_files SET released_at = now()
WHERE company_id = %(company_id)s AND sha256 = %(sha256)s AND is_received;

-- drop_files_of_deleted --
-- Cancel the fetches of deleted messages' files, and let those that are stored be removed.
WITH gone AS (
    UPDATE inbound_media f SET state = 'refused', reason = 'message_deleted', updated_at = now()
    FROM inbound_messages i
    WHERE f.message_id = ANY(%(ids)s::bigint[]) AND i.id = f.message_id AND i.state = 'deleted'
      AND f.state IN ('pending', 'stored')
    RETURNING f.company_id, f.sha256
)
UPDATE media_files m SET released_at = now()
FROM gone WHERE m.company_id = gone.company_id AND m.sha256 = gone.sha256 AND m.is_received;

-- keep_released_files --
-- Keep released files that another message came with too; its own deletion releases them again.
UPDATE media_files m SET released_at = NULL
WHERE m.released_at IS NOT NULL
  AND (NOT m.is_received
       OR EXISTS (SELECT FROM inbound_media f
                  WHERE f.company_id = m.company_id AND f.sha256 = m.sha256 AND f.state = 'stored'));

-- remove_released_files --
-- Forget released files that no message refers to. Not those that were stored or read just now: their bytes may be in
-- another message's hands whose row is not written yet.
DELETE FROM media_files f
USING (SELECT company_id, sha256 FROM media_files
       WHERE released_at IS NOT NULL AND used_at < now() - make_interval(secs => %(grace_s)s) AND is_received
         AND NOT EXISTS (SELECT FROM inbound_media i
                         WHERE i.company_id = media_files.company_id AND i.sha256 = media_files.sha256
                           AND i.state = 'stored')
         AND NOT EXISTS (SELECT FROM messages m
                         WHERE m.company_id = media_files.company_id AND m.state IN ('queued', 'sending', 'in_doubt')
                           AND strpos(m.content::text, media_files.sha256) > 0)
         AND NOT is_document(company_id, sha256)
       ORDER BY released_at LIMIT %(most)s FOR UPDATE SKIP LOCKED) AS old
WHERE f.company_id = old.company_id AND f.sha256 = old.sha256
RETURNING f.company_id, f.sha256, f.size, f.mimetype, f.filename, f.is_animated, f.used_at, f.released_at;

-- find_upload --
-- The provider's id of a file that was uploaded for a connection within so many days.
SELECT provider_id, extract(epoch FROM now() - uploaded_at)::double precision AS age_s FROM media_uploads
WHERE connection_id = %(connection_id)s AND world = %(world)s AND sha256 = %(sha256)s AND mimetype = %(mimetype)s
  AND uploaded_at > now() - make_interval(days => %(days)s);

-- remember_upload --
-- Note under what id a provider keeps a file.
INSERT INTO media_uploads (connection_id, world, sha256, mimetype, provider_id)
VALUES (%(connection_id)s, %(world)s, %(sha256)s, %(mimetype)s, %(provider_id)s)
ON CONFLICT (connection_id, world, sha256, mimetype)
DO UPDATE SET provider_id = excluded.provider_id, uploaded_at = now();

-- forget_upload --
-- Forget an id that a provider does not know any more.
-- By the provider's id, not the digest: another process may have uploaded the file again by now.
DELETE FROM media_uploads WHERE connection_id = %(connection_id)s AND provider_id = %(provider_id)s;
