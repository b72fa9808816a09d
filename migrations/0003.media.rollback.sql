-- Back to messages without files; the files themselves stay where they are stored. Pauses then end by hand only.
DROP TABLE timed_pauses, media_uploads, media_files;
