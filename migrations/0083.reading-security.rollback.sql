-- Closed to the tenant role, and protected nevertheless.
DO $$
BEGIN
    PERFORM protect_company_table(name, '') FROM unnest(ARRAY['chats', 'chat_reads', 'message_index', 'message_rollups', 'latency_rollups']) AS name;
    PERFORM protect_table('reading_positions', 'true', '');
    IF tenant_role() <> 'none' THEN
        EXECUTE format('REVOKE ALL ON message_lines FROM %I', tenant_role());
    END IF;
    DELETE FROM row_security_rules WHERE name = 'message_lines';
END
$$;
