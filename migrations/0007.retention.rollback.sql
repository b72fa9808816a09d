-- Back to keeping everything.
DROP INDEX inbound_messages_journal_id;
