-- The content that was removed does not come back.
DROP TABLE journal_copies;
DROP INDEX inbound_messages_look_again, messages_edits;
ALTER TABLE inbound_messages DROP COLUMN look_again_at;
DROP FUNCTION erased_content(jsonb);
