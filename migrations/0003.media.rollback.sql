-- Back to messages without files; the files themselves stay where they are stored.
DROP TABLE media_uploads, media_files;
