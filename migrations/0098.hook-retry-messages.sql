-- depends: 0110.health
-- What an event that waits is about: events of messages are found by it. It is not filled in for what waits already,
-- which is found more slowly, by its transaction.
ALTER TABLE hook_retries ADD COLUMN message_id bigint;
