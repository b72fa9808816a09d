ALTER TABLE hook_retries DROP COLUMN message_id;
