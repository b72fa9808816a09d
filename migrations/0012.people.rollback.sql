-- Back to chats that are known by one name each, in the order of arrival.
CREATE INDEX inbound_messages_by_chat ON inbound_messages (company_id, chat_id, created_at DESC, id DESC);
DROP INDEX inbound_messages_by_chat_at;
DROP FUNCTION wamid_token(text);
DROP FUNCTION link_aliases(text, text, text);
DROP FUNCTION chat_aliases(text, text);
DROP SEQUENCE person_ids;
DROP TABLE contact_aliases;
