-- Which request a message comes from: for the log lines of the process that sends it, and for its history. Null for
-- messages from before, and for those that no request asked for.
ALTER TABLE messages ADD COLUMN request_id text, ADD COLUMN traceparent text, ADD COLUMN key_id bigint;
