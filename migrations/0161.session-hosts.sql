-- depends: 0160.hosts
-- Each browser session runs on one host, until that is dead; null: on none yet, and for connections without a session.
ALTER TABLE phone_configs ADD COLUMN session_host text;
