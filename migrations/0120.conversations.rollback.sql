DROP TABLE turns;
DROP TABLE conversations;
DELETE FROM row_security_rules WHERE name IN ('conversations', 'turns');
ALTER TABLE messages DROP COLUMN author;
DROP FUNCTION fold_conversations(bigint, text[], text[]), note_conversation_change(), count_conversation_change(),
    squeezed(text), setting_minutes(jsonb, text, integer), keeps_conversations(jsonb);
