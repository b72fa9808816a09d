-- Whether two ids name one person, and whether one line of a chat may change another: what a customer names counts in the customer's own chat only.

-- Whether two ids of a company's chats name one person, or one group.
CREATE FUNCTION is_one_chat(company text, one text, other text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT one = other OR EXISTS (
        SELECT FROM contact_aliases a JOIN contact_aliases b USING (company_id, person_id)
        WHERE a.company_id = company AND a.alias = one AND b.alias = other)
$$;

-- A sender as chats are named: pages of WhatsApp Web spell numbers as addresses, with a device behind a colon.
CREATE FUNCTION bare_number(sender text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT regexp_replace(sender, '(:[0-9]{1,3})?@(c\.us|s\.whatsapp\.net)$', '')
$$;

-- Whether an edit or a deletion (`its_…`) comes from the author of a message.
CREATE FUNCTION is_by_author(company text, chat text, sender text, from_me boolean,
                             its_chat text, its_sender text, its_from_me boolean) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT from_me = its_from_me AND is_one_chat(company, chat, its_chat)
       AND (from_me
            -- A chat with one person: every other sender there is that person, by any id.
            OR is_one_chat(company, chat, bare_number(sender))
            -- A group: the same member.
            OR is_one_chat(company, bare_number(sender), bare_number(its_sender)))
$$;
