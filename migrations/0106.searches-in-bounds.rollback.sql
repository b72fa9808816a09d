-- People of the transaction's company beyond `after`, with any of some words in a name or a number that begins with
-- `digits`, and with a tag; null: whatever they are.
CREATE OR REPLACE FUNCTION find_people(words text, digits text, tag text, after bigint, most integer)
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
CREATE OR REPLACE FUNCTION find_messages(words text, before_at timestamptz, before_id bigint, since timestamptz, only_connection bigint,
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
    FOREACH name IN ARRAY ARRAY['find_people', 'find_messages'] LOOP
        EXECUTE format('ALTER FUNCTION %I SET search_path TO %I, pg_temp', name, current_schema());
    END LOOP;
END
$$;
