-- Back to messages that leave others alone; what was edited or deleted stays so.
DROP TRIGGER messages_apply_to_target ON messages;
DROP FUNCTION apply_to_target();
DROP INDEX inbound_messages_reactions, messages_reactions;
