-- depends: 0097.people-by-key
-- Searches and secrets of a company are requests in the tenant role. Conditions of a search are not leakproof, so that no
-- index serves them under policies; these functions have their owner's rights instead. They take no company: it is that
-- of the transaction, so that no argument leads to another company's ids, and without a company they fail.

-- Chats of the transaction's company that a search finds, the one that was written in last first: by the first digits of
-- a number, by names, by words of the newest 1,000 messages that have them. `before_…`: where the page begins.
CREATE FUNCTION find_chats(words text, digits text, before_at timestamptz, before_chat text, before_connection bigint,
                           only_connection bigint, most integer)
RETURNS TABLE (chat_id text, connection_id bigint, last_at timestamptz) LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50 AS $$
#variable_conflict use_column
DECLARE
    company text := own_company();
    wanted  tsquery := any_of_words(company, words);
BEGIN
    RETURN QUERY
        WITH hits AS MATERIALIZED (
            (SELECT h.chat_id FROM chats h WHERE h.company_id = company AND h.chat_id LIKE digits LIMIT 500)
            UNION
            (SELECT a.alias FROM contact_aliases a WHERE a.company_id = company AND a.alias LIKE digits LIMIT 500)
            UNION
            SELECT texts.chat_id FROM (
                SELECT i.chat_id FROM message_index i WHERE i.company_id = company AND i.words @@ wanted
                ORDER BY i.at DESC, i.message_id DESC LIMIT 1000) AS texts
            UNION
            (SELECT a.alias FROM people p
             JOIN contact_aliases a ON a.company_id = p.company_id AND a.person_id = p.id
             WHERE p.company_id = company AND p.words @@ wanted LIMIT 1000)
        )
        SELECT c.chat_id, c.connection_id, c.last_at FROM chats c
        WHERE c.company_id = company
          AND c.chat_id = ANY(ARRAY(SELECT unnest(chat_aliases(company, h.chat_id)) FROM hits h WHERE h.chat_id IS NOT NULL))
          AND (c.last_at, c.chat_id, c.connection_id) < (before_at, before_chat, before_connection)
          AND (only_connection IS NULL OR c.connection_id = only_connection)
          AND is_newest_of_person(c.company_id, c.chat_id, c.connection_id, c.last_at, only_connection)
        ORDER BY c.last_at DESC, c.chat_id DESC, c.connection_id DESC LIMIT most;
END
$$;

-- People of the transaction's company beyond `after`, with any of some words in a name or a number that begins with
-- `digits`, and with a tag; null: whatever they are.
CREATE FUNCTION find_people(words text, digits text, tag text, after bigint, most integer)
RETURNS TABLE (id bigint) LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50 AS $$
#variable_conflict use_column
DECLARE
    company text := own_company();
    wanted  tsquery := any_of_words(company, find_people.words);
    tagged  tsquery := (quoted_lexeme(chr(1) || company) || ' & ' || quoted_lexeme(chr(2) || lower(find_people.tag)))::tsquery;
BEGIN
    RETURN QUERY
        SELECT p.id FROM people p
        WHERE p.company_id = company AND p.id > after
          AND (find_people.tag IS NULL OR p.words @@ tagged)
          AND (find_people.words IS NULL
               OR p.id = ANY(ARRAY(
                   SELECT named.id FROM people named WHERE named.words @@ wanted AND named.company_id = company
                   UNION ALL
                   (SELECT a.person_id FROM contact_aliases a
                    WHERE a.company_id = company AND a.alias LIKE digits LIMIT 1000))))
        ORDER BY p.id LIMIT most;
END
$$;

-- Messages of the transaction's company with any of some words, newest first; null: whatever they are.
CREATE FUNCTION find_messages(words text, before_at timestamptz, before_id bigint, since timestamptz, only_connection bigint,
                              only_direction text, only_type text, only_state text, only_chat text, most integer)
RETURNS TABLE (message_id bigint, at timestamptz) LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50 AS $$
#variable_conflict use_column
DECLARE
    company text := own_company();
    wanted  tsquery := any_of_words(company, find_messages.words);
BEGIN
    RETURN QUERY
        SELECT i.message_id, i.at FROM message_index i
        WHERE i.company_id = company AND i.words @@ wanted
          AND (i.at, i.message_id) < (before_at, before_id) AND i.at >= since
          AND (only_connection IS NULL OR i.connection_id = only_connection)
          AND (only_direction IS NULL OR i.direction = only_direction)
          AND (only_type IS NULL OR i.type = only_type)
          AND (only_state IS NULL OR i.state = only_state)
          AND (only_chat IS NULL OR i.chat_id = ANY(chat_aliases(company, only_chat)))
        ORDER BY i.at DESC, i.message_id DESC LIMIT most;
END
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['find_chats', 'find_people', 'find_messages'] LOOP
        EXECUTE format('ALTER FUNCTION %I SET search_path TO %I, pg_temp', name, current_schema());
        PERFORM open_function(name);
    END LOOP;
    -- what is sealed is written and removed by requests, and read by none
    PERFORM protect_company_table('tenant_secrets', 'SELECT (company_id, name, created_at, updated_at), '
                                  'INSERT (company_id, name, sealed), UPDATE (sealed, updated_at), DELETE');
END
$$;
