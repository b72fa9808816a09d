-- What is kept for a time only (RETENTION_DAYS).

-- A raw event that goes takes its mark off the message that was read from it: without this each one would read the whole table.
CREATE INDEX inbound_messages_journal_id ON inbound_messages (journal_id) WHERE journal_id IS NOT NULL;
