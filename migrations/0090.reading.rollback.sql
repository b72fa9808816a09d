DROP INDEX contact_aliases_number;
DROP TABLE latency_rollups, message_rollups, chat_reads, chats, message_index, reading_positions CASCADE;
DROP VIEW message_lines;
DROP FUNCTION is_newest_of_person(text, text, bigint, timestamptz, bigint), messages_not_indexed(text), message_outcome(boolean, text, text, timestamptz, integer), step_number(text),
    latency_bucket(interval), any_of_words(text, text), quoted_lexeme(text), message_words(text, jsonb);
