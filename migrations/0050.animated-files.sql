-- Providers take larger files of animated stickers than of still ones.

-- is_animated: whether a WebP picture moves, by its first bytes; NULL: another type, or kept before this column.
ALTER TABLE media_files ADD COLUMN is_animated boolean;
