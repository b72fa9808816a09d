-- Back to messages that are never changed, people without names, and files that stay at the provider.
DROP TABLE account_events, inbound_media, contacts;
DROP INDEX inbound_messages_changes, inbound_journal_named;
ALTER TABLE inbound_messages DROP COLUMN state, DROP COLUMN may_trigger;
