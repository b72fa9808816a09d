ALTER TABLE media_files DROP COLUMN is_animated;
