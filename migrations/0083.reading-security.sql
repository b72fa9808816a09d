-- depends: 0090.reading
-- depends: 0082.composite-keys-valid
-- Requests of tenants read the copies under row-level security.

DO $$
BEGIN
    PERFORM protect_company_table('chats', 'SELECT');
    PERFORM protect_company_table('chat_reads', 'SELECT, INSERT, UPDATE');
    PERFORM protect_company_table('message_index', 'SELECT');
    PERFORM protect_company_table('message_rollups', 'SELECT');
    PERFORM protect_company_table('latency_rollups', 'SELECT');
    PERFORM protect_table('reading_positions', 'true', 'SELECT');
    PERFORM open_view('message_lines');
END
$$;
