-- People have aliases: a chat is found by any of them and is one chat. Messages are ordered by the provider's time.

-- Ids by which a company's customers are known: spellings of a phone number, the provider's id of it, user ids, lids,
-- page-scoped ids. Those with the same person_id are one person. An alias that stands alone has no row.
CREATE TABLE contact_aliases (
    company_id text NOT NULL REFERENCES companies ON DELETE CASCADE,
    alias      text NOT NULL,
    -- a number without meaning of its own: joining two people changes the rows of one of them
    person_id  bigint NOT NULL,
    learned_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (company_id, alias)
);
CREATE INDEX contact_aliases_person ON contact_aliases (company_id, person_id);
CREATE SEQUENCE person_ids AS bigint;

-- Every chat id of the person whose chat this is, the given one included.
CREATE FUNCTION chat_aliases(company text, chat text) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT array_agg(alias) FROM (
        -- Also when it has no row: an alias that stands alone is still a chat.
        SELECT chat AS alias
        UNION
        SELECT other.alias FROM contact_aliases known JOIN contact_aliases other USING (company_id, person_id)
        WHERE known.company_id = company AND known.alias = chat
    ) AS all_of_them
$$;

-- Make two aliases those of one person; each other alias of either becomes that person's too. Returns whether anything
-- changed.
CREATE FUNCTION link_aliases(company text, first text, second text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    persons bigint[];
    one     bigint;
BEGIN
    -- one at a time for a company: two that link a-b and b-c at once would make two persons of b
    PERFORM pg_advisory_xact_lock(hashtext('link_aliases'), hashtext(company));
    SELECT array_agg(DISTINCT person_id) INTO persons FROM contact_aliases WHERE company_id = company AND alias IN (first, second);
    -- Both are known, as one person: nothing to write, and no row version for a link that each webhook repeats.
    IF cardinality(persons) = 1 AND (SELECT count(*) FROM contact_aliases WHERE company_id = company AND alias IN (first, second)) = 2 THEN
        RETURN false;
    END IF;
    -- The smaller number stays, so that the same links in any order give the same person.
    one := coalesce((SELECT min(person) FROM unnest(persons) AS person), nextval('person_ids'));
    UPDATE contact_aliases SET person_id = one WHERE company_id = company AND person_id = ANY(persons) AND person_id <> one;
    INSERT INTO contact_aliases (company_id, alias, person_id) VALUES (company, first, one), (company, second, one)
    ON CONFLICT (company_id, alias) DO NOTHING;
    RETURN true;
END
$$;

-- The part of a WhatsApp message id that is the message's own, without the chat's name, which differs with how the
-- customer is named; null when there is none.
CREATE FUNCTION wamid_token(provider_id text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    -- WhatsApp's ids are `wamid.` and base64 of a chat's name, a direction and the message's own token.
    IF provider_id NOT LIKE 'wamid.%' THEN
        RETURN NULL;
    END IF;
    -- the last run of capital hexadecimal digits: user ids and numbers stand before it
    RETURN substring(encode(decode(rpad(substr(provider_id, 7), (length(provider_id) - 6 + 3) / 4 * 4, '='), 'base64'), 'escape') FROM '.*[^0-9A-F]([0-9A-F]{16,})');
-- Not base64, though it has the prefix: the id comes from outside, and must not fail the statement for all others.
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

-- In the order of the provider's time, which is also what windows and the newest message are counted by.
CREATE INDEX inbound_messages_by_chat_at ON inbound_messages (company_id, chat_id, at DESC, id DESC);
DROP INDEX inbound_messages_by_chat;

-- People who are known by two names already.
DO $$
BEGIN
    PERFORM link_aliases(p.company_id, c.user_id, c.phone)
    FROM contacts c JOIN phone_configs p ON p.id = c.connection_id WHERE c.phone IS NOT NULL AND c.phone <> c.user_id;
END
$$;
