-- depends: 0102.searches-of-tenants
-- Searches whose time does not grow with the product of what two of their conditions find.

-- As before. The ids that words or digits find were compared with each person of the company, one by one: a word that
-- all have, with a tag that none has, took longer than a statement may.
CREATE OR REPLACE FUNCTION find_people(words text, digits text, tag text, after bigint, most integer)
RETURNS TABLE (id bigint) LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50 AS $$
#variable_conflict use_column
DECLARE
    company text := own_company();
    named   tsquery := any_of_words(company, find_people.words);
    tagged  tsquery := (quoted_lexeme(chr(1) || company) || ' & ' || quoted_lexeme(chr(2) || lower(find_people.tag)))::tsquery;
    -- null where there is nothing to look for: no word is in the text
    wanted  tsquery := CASE WHEN find_people.tag IS NULL THEN named WHEN find_people.words IS NULL THEN tagged
                            ELSE named && tagged END;
BEGIN
    RETURN QUERY
        SELECT found.id FROM (
            SELECT p.id FROM people p WHERE p.company_id = company AND p.id > after AND p.words @@ wanted
            UNION
            SELECT p.id
            FROM (SELECT a.person_id FROM contact_aliases a
                  WHERE a.company_id = company AND a.alias LIKE digits LIMIT 1000) AS numbered
            -- a look by the whole key for each
            CROSS JOIN LATERAL (SELECT q.id, q.words FROM people q
                                WHERE q.company_id = company AND q.id = numbered.person_id OFFSET 0) AS p
            WHERE p.id > after AND (find_people.tag IS NULL OR p.words @@ tagged)
        ) AS found
        ORDER BY found.id LIMIT most;
END
$$;

-- As before. The ids of a chat were looked up for each message that has the words.
CREATE OR REPLACE FUNCTION find_messages(words text, before_at timestamptz, before_id bigint, since timestamptz, only_connection bigint,
                                         only_direction text, only_type text, only_state text, only_chat text, most integer)
RETURNS TABLE (message_id bigint, at timestamptz) LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50 AS $$
#variable_conflict use_column
DECLARE
    company text := own_company();
    wanted  tsquery := any_of_words(company, find_messages.words);
    chat    text[] := chat_aliases(company, only_chat);
BEGIN
    RETURN QUERY
        SELECT i.message_id, i.at FROM message_index i
        WHERE i.company_id = company AND i.words @@ wanted
          AND (i.at, i.message_id) < (before_at, before_id) AND i.at >= since
          AND (only_connection IS NULL OR i.connection_id = only_connection)
          AND (only_direction IS NULL OR i.direction = only_direction)
          AND (only_type IS NULL OR i.type = only_type)
          AND (only_state IS NULL OR i.state = only_state)
          AND (only_chat IS NULL OR i.chat_id = ANY(chat))
        ORDER BY i.at DESC, i.message_id DESC LIMIT most;
END
$$;

DO $$
DECLARE
    name text;
BEGIN
    -- a replaced function has lost it
    FOREACH name IN ARRAY ARRAY['find_people', 'find_messages'] LOOP
        EXECUTE format('ALTER FUNCTION %I SET search_path TO %I, pg_temp', name, current_schema());
    END LOOP;
END
$$;
