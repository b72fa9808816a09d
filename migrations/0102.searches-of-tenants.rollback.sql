DO $$
BEGIN
    PERFORM protect_company_table('tenant_secrets');
    DELETE FROM row_security_rules WHERE name IN ('find_chats', 'find_people', 'find_messages');
END
$$;
DROP FUNCTION find_chats(text, text, timestamptz, text, bigint, bigint, integer), find_people(text, text, text, bigint, integer),
    find_messages(text, timestamptz, bigint, timestamptz, bigint, text, text, text, text, integer);
