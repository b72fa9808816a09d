-- see_people --
-- Record the people of some messages: who wrote one, and to whom one was written. Every id gets a person, and each new
-- person is an event.
WITH lines AS (
    SELECT company_id, chat_id AS alias, '' AS name, '' AS username, created_at, created_at AS at
    FROM messages WHERE id = ANY(%(ids)s::bigint[])
    UNION ALL
    SELECT i.company_id, i.chat_id, '', '', i.created_at, i.at
    FROM inbound_messages i WHERE i.id = ANY(%(ids)s::bigint[]) AND i.from_me
    UNION ALL
    SELECT i.company_id, bare_number(i.sender), coalesce(nullif(i.sender_name, ''), c.name, ''),
           coalesce(c.username, ''), i.created_at, i.at
    FROM inbound_messages i
    -- OFFSET 0, here and below: a look by the whole key for each row, not a join with all that a connection knows
    LEFT JOIN LATERAL (SELECT name, username FROM contacts
                       WHERE connection_id = i.connection_id AND user_id = bare_number(i.sender) OFFSET 0) AS c ON true
    WHERE i.id = ANY(%(ids)s::bigint[]) AND NOT i.from_me
), given AS MATERIALIZED (
    SELECT l.company_id, l.alias, min(l.created_at) AS first_at, max(l.created_at) AS last_at,
           coalesce((array_agg(l.name ORDER BY l.at DESC) FILTER (WHERE l.name <> ''))[1], '') AS name,
           coalesce((array_agg(l.username ORDER BY l.at DESC) FILTER (WHERE l.username <> ''))[1], '') AS username
    FROM lines l
    -- A phone number, an id of the provider's for a person; no group, and no short code. The length apart: {6,31} takes
    -- ten times as long.
    WHERE (l.alias ~ '^[1-9][0-9]+$' AND length(l.alias) BETWEEN 7 AND 32
           OR l.alias ~ '^([0-9]+@lid|[A-Z]{2}[.](ENT[.])?[A-Za-z0-9]+)$')
      AND EXISTS (SELECT FROM companies WHERE id = l.company_id)
    GROUP BY l.company_id, l.alias
), found AS MATERIALIZED (
    SELECT given.*, k.person_id FROM given
    LEFT JOIN LATERAL (SELECT person_id FROM contact_aliases k
                       WHERE k.company_id = given.company_id AND k.alias = given.alias OFFSET 0) AS k ON true
), written AS (
    INSERT INTO contact_aliases (company_id, alias, person_id)
    SELECT company_id, alias, nextval('person_ids') FROM found WHERE person_id IS NULL ORDER BY company_id, alias
    -- of another transaction, meanwhile: an update without a change, which returns its row
    ON CONFLICT (company_id, alias) DO UPDATE SET alias = excluded.alias
    RETURNING company_id, alias, person_id
), due AS MATERIALIZED (
    -- Only those of whom there is something to write: a conflict would lock its row for nothing. A minute: not one row
    -- version for each message.
    SELECT found.*, written.person_id AS new_id
    FROM found
    LEFT JOIN written USING (company_id, alias)
    LEFT JOIN LATERAL (SELECT * FROM people
                       WHERE company_id = found.company_id AND id = found.person_id OFFSET 0) AS before ON true
    WHERE before.id IS NULL OR found.name NOT IN ('', before.profile_name)
       OR found.username NOT IN ('', before.username) OR found.last_at > before.last_seen_at + interval '1 minute'
       OR found.first_at < before.first_seen_at
), known AS MATERIALIZED (
    -- Whose each id is now, and until the commit: a merge may have given it to another person since this statement
    -- began, and the one that it named then is gone.
    SELECT due.company_id, coalesce(new_id, now.person_id) AS person_id, alias, name, username, first_at, last_at
    FROM (SELECT * FROM due ORDER BY company_id, alias) AS due
    LEFT JOIN LATERAL (SELECT person_id FROM contact_aliases k
                       WHERE new_id IS NULL AND k.company_id = due.company_id AND k.alias = due.alias
                       OFFSET 0 FOR SHARE) AS now ON true
), seen AS (
    INSERT INTO people AS p (company_id, id, profile_name, username, first_seen_at, last_seen_at)
    SELECT company_id, person_id, coalesce(max(nullif(name, '')), ''), coalesce(max(nullif(username, '')), ''),
           min(first_at), max(last_at)
    FROM known GROUP BY company_id, person_id ORDER BY company_id, person_id
    ON CONFLICT (company_id, id) DO UPDATE
    SET profile_name = coalesce(nullif(excluded.profile_name, ''), p.profile_name),
        username = coalesce(nullif(excluded.username, ''), p.username),
        first_seen_at = least(p.first_seen_at, excluded.first_seen_at),
        last_seen_at = greatest(p.last_seen_at, excluded.last_seen_at)
    RETURNING p.company_id, p.id, p.xmax = 0 AS is_new
)
INSERT INTO events (subject, type, company_id, data)
SELECT 'contact', 'contact.created', seen.company_id,
       jsonb_build_object('contactId', 'p' || seen.id, 'aliases', jsonb_agg(known.alias ORDER BY known.alias))
FROM seen JOIN known ON known.company_id = seen.company_id AND known.person_id = seen.id
WHERE is_new GROUP BY seen.company_id, seen.id ORDER BY seen.company_id, seen.id;

-- person_of --
-- The person of a company that an id or an alias names.
SELECT id FROM people
WHERE company_id = %(company_id)s
  AND id = coalesce(%(id)s::bigint, (SELECT person_id FROM contact_aliases
                                     WHERE company_id = %(company_id)s AND alias = %(alias)s));

-- people_page --
-- People of a company by id.
SELECT p.id FROM people p WHERE p.company_id = %(company_id)s AND p.id > %(after)s ORDER BY p.id LIMIT %(most)s;

-- people_found --
-- As people_page, of those with any of some words in a name or a number that begins so, and with a tag.
SELECT id FROM find_people(%(words)s::text, %(number)s::text, %(tag)s::text, %(after)s::bigint, %(most)s::integer);

-- people_by_id --
-- People of a company.
SELECT p.* FROM people p WHERE p.company_id = %(company_id)s AND p.id = ANY(%(ids)s::bigint[]) ORDER BY p.id;

-- lock_people --
-- People of a company, locked, one change at a time for a company: as linking their ids is.
SELECT p.* FROM people p
WHERE p.company_id = %(company_id)s AND p.id = ANY(%(ids)s::bigint[]) ORDER BY p.id FOR UPDATE;

-- lock_aliases --
-- Let no other transaction link ids of the company's people: the lock of `link_aliases`.
SELECT pg_advisory_xact_lock(hashtext('link_aliases'), hashtext(%(company_id)s));

-- lock_aliases_of --
-- Every id of some people, locked: who writes of them waits, and sees whose they are then.
SELECT alias FROM contact_aliases
WHERE company_id = %(company_id)s AND person_id = ANY(%(ids)s::bigint[]) ORDER BY alias FOR UPDATE;

-- aliases_of --
-- Every id of some people.
SELECT person_id, alias FROM contact_aliases
WHERE company_id = %(company_id)s AND person_id = ANY(%(ids)s::bigint[]) ORDER BY person_id, alias;

-- marketing_of --
-- What people said about marketing messages, to which connection.
SELECT a.person_id, p.phone_index, c.wants_marketing, c.marketing_at
FROM contact_aliases a
JOIN phone_configs p ON p.company_id = a.company_id
JOIN contacts c ON c.connection_id = p.id AND c.user_id = a.alias
WHERE a.company_id = %(company_id)s AND a.person_id = ANY(%(ids)s::bigint[]) AND c.wants_marketing IS NOT NULL
ORDER BY a.person_id, p.phone_index, c.marketing_at DESC;

-- merges_of --
-- Merges of some people that can be undone, the newest first.
SELECT m.id, m.kept_id, m.other_id, m.aliases, m.merged_at FROM contact_merges m
WHERE m.company_id = %(company_id)s AND m.kept_id = ANY(%(ids)s::bigint[]) AND m.split_at IS NULL
  -- ids that it brought may be others' since, all of them: a contact without any cannot be made again
  AND EXISTS (SELECT FROM contact_aliases a
              WHERE a.company_id = m.company_id AND a.person_id = m.kept_id AND a.alias = ANY(m.aliases))
ORDER BY m.id DESC;

-- change_person --
-- Change what the company noted about a person.
UPDATE people SET name = %(name)s, profile_name = %(profile_name)s, username = %(username)s, tags = %(tags)s,
    fields = %(fields)s, updated_at = now()
WHERE company_id = %(company_id)s AND id = %(id)s
RETURNING id;

-- add_merge --
-- Note who is merged into whom.
INSERT INTO contact_merges (company_id, kept_id, other_id, aliases, kept_before, other_before)
SELECT %(company_id)s, %(kept_id)s, %(other_id)s,
       ARRAY(SELECT alias FROM contact_aliases
             WHERE company_id = %(company_id)s AND person_id = %(other_id)s ORDER BY alias),
       %(kept)s, %(other)s
RETURNING id;

-- move_aliases --
-- Give ids of one person to another: all, or those that are named.
UPDATE contact_aliases SET person_id = %(to_id)s
WHERE company_id = %(company_id)s AND person_id = %(from_id)s
  AND (%(aliases)s::text[] IS NULL OR alias = ANY(%(aliases)s::text[]))
RETURNING alias;

-- fold_people --
-- Make one row of two people's.
SELECT fold_people(%(company_id)s, %(kept_id)s, ARRAY[%(other_id)s::bigint]);

-- take_merge --
-- End a merge of a person, by its id. No row: there is none, it was ended, or none of its ids are the person's.
UPDATE contact_merges m SET split_at = now()
WHERE m.company_id = %(company_id)s AND m.kept_id = %(kept_id)s AND m.id = %(merge_id)s AND m.split_at IS NULL
  AND EXISTS (SELECT FROM contact_aliases a
              WHERE a.company_id = m.company_id AND a.person_id = m.kept_id AND a.alias = ANY(m.aliases))
RETURNING other_id, aliases, kept_before AS kept, other_before AS other;

-- keep_merges --
-- Leave merges to the person that they were made for, which is itself merged now: they can be undone when it is itself
-- again.
UPDATE contact_merges SET kept_id = %(kept_id)s WHERE company_id = %(company_id)s AND id = ANY(%(ids)s::bigint[]);

-- add_person --
-- Make a person anew; under an id that it had before, or a new one. No row: there is one with this id.
INSERT INTO people (company_id, id, name, profile_name, username, tags, fields, first_seen_at, last_seen_at)
SELECT %(company_id)s, coalesce(%(id)s::bigint, nextval('person_ids')), %(name)s, %(profile_name)s, %(username)s,
       %(tags)s, %(fields)s, coalesce(%(first_seen_at)s::timestamptz, now()),
       coalesce(%(last_seen_at)s::timestamptz, now())
ON CONFLICT (company_id, id) DO NOTHING
RETURNING id;

-- people_of_aliases --
-- Whose some ids are.
SELECT alias, person_id FROM contact_aliases
WHERE company_id = %(company_id)s AND alias = ANY(%(aliases)s::text[]);

-- claim_aliases --
-- The people that ids name; new ones where they name none so far. In one order, as in see_people.
INSERT INTO contact_aliases (company_id, alias, person_id)
SELECT %(company_id)s, alias, nextval('person_ids')
FROM (SELECT DISTINCT alias FROM unnest(%(aliases)s::text[]) AS alias ORDER BY alias) AS given
-- an update without a change, which returns its row
ON CONFLICT (company_id, alias) DO UPDATE SET alias = excluded.alias
RETURNING alias, person_id;

-- add_people --
-- Make people, and lock those that are there already, in one order as in see_people: who reads them next sees what
-- nothing else changes. A row for each that is new.
INSERT INTO people (company_id, id, name, tags, fields, first_seen_at, last_seen_at)
SELECT %(company_id)s, g.id, g.name, g.tags, g.fields, now(), now()
FROM jsonb_to_recordset(%(people)s::jsonb) AS g(id bigint, name text, tags text[], fields jsonb) ORDER BY g.id
-- a condition that no row fulfils: it locks and changes nothing
ON CONFLICT (company_id, id) DO UPDATE SET id = excluded.id WHERE people.id IS NULL
RETURNING id;

-- change_people --
-- Change what the company noted about some people. The ids apart: the rows are found by them, whatever is known about
-- the size of the table.
UPDATE people p SET name = g.name, tags = g.tags, fields = g.fields, updated_at = now()
FROM jsonb_to_recordset(%(people)s::jsonb) AS g(id bigint, name text, tags text[], fields jsonb)
WHERE p.company_id = %(company_id)s AND p.id = ANY(%(ids)s::bigint[]) AND p.id = g.id;

-- note_contacts --
-- Events about people, in the transaction that changes them and in the order in which they are given.
INSERT INTO events (subject, type, company_id, code, data)
SELECT 'contact', g.type, %(company_id)s, g.code, g.data || jsonb_build_object(
           'contactId', 'p' || g.id, 'aliases', coalesce(
           (SELECT jsonb_agg(alias ORDER BY alias) FROM contact_aliases
            WHERE company_id = %(company_id)s AND person_id = g.id), '[]'))
FROM jsonb_to_recordset(%(notes)s::jsonb) AS g(place integer, type text, id bigint, code text, data jsonb)
ORDER BY g.place;
