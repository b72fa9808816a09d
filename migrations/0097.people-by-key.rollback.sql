-- Make one row of several people's: what the kept one has counts first.
CREATE OR REPLACE FUNCTION fold_people(company text, kept bigint, others bigint[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    other people;
BEGIN
    FOR other IN SELECT * FROM people WHERE company_id = company AND id = ANY(others) AND id <> kept ORDER BY id FOR UPDATE LOOP
        UPDATE people p
        SET name = coalesce(nullif(p.name, ''), other.name),
            profile_name = coalesce(nullif(p.profile_name, ''), other.profile_name),
            username = coalesce(nullif(p.username, ''), other.username),
            tags = p.tags || ARRAY(SELECT tag FROM unnest(other.tags) AS tag WHERE tag <> ALL(p.tags)),
            fields = other.fields || p.fields, first_seen_at = least(p.first_seen_at, other.first_seen_at),
            last_seen_at = greatest(p.last_seen_at, other.last_seen_at), updated_at = now()
        WHERE p.company_id = company AND p.id = kept;
        IF FOUND THEN
            DELETE FROM people WHERE company_id = company AND id = other.id;
        ELSE
            UPDATE people SET id = kept WHERE company_id = company AND id = other.id;
        END IF;
    END LOOP;
    UPDATE contact_merges SET kept_id = kept WHERE company_id = company AND kept_id = ANY(others) AND kept_id <> kept;
    RETURN true;
END
$$;

-- As before, and makes one row of the people's. Make two aliases those of one person; each other alias of either becomes that person's too, unless some of them contradict each other. Then a user id
-- or lid leaves the number that it named before, if `moves` and nothing newer than `seen_at` is known of it. Returns `known`, `linked`, `moved`, or
-- `refused`: nothing was changed.
CREATE OR REPLACE FUNCTION link_aliases(company text, first text, second text, seen_at timestamptz DEFAULT now(), moves boolean DEFAULT false)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    persons bigint[];
    one     bigint;
    mover   text;
    stays   text;
BEGIN
    -- one at a time for a company: two that link a-b and b-c at once would make two persons of b
    PERFORM pg_advisory_xact_lock(hashtext('link_aliases'), hashtext(company));
    SELECT array_agg(DISTINCT person_id) INTO persons FROM contact_aliases WHERE company_id = company AND alias IN (first, second);
    -- Both are known, as one person: nothing to write, and no row version for a link that each webhook repeats.
    IF cardinality(persons) = 1 AND (SELECT count(*) FROM contact_aliases WHERE company_id = company AND alias IN (first, second)) = 2 THEN
        RETURN 'known';
    END IF;
    IF EXISTS (
        WITH everyone AS (SELECT alias FROM contact_aliases WHERE company_id = company AND person_id = ANY(persons)
                          UNION SELECT first UNION SELECT second)
        SELECT FROM everyone a JOIN everyone b ON a.alias < b.alias AND contradict(a.alias, b.alias)
    ) THEN
        -- Only an id that is no number moves: a chat with a number stays that number's.
        IF first ~ '^[0-9]+$' THEN mover := second; stays := first; ELSE mover := first; stays := second; END IF;
        IF NOT moves OR mover ~ '^[0-9]+$' OR stays !~ '^[0-9]+$'
           OR EXISTS (SELECT FROM contact_aliases WHERE company_id = company AND alias = mover AND learned_at > seen_at)
           OR EXISTS (SELECT FROM contact_aliases o JOIN contact_aliases s USING (company_id, person_id)
                      WHERE company_id = company AND s.alias = stays AND contradict(o.alias, mover)) THEN
            RETURN 'refused';
        END IF;
        SELECT coalesce((SELECT person_id FROM contact_aliases WHERE company_id = company AND alias = stays), nextval('person_ids')) INTO one;
        INSERT INTO contact_aliases (company_id, alias, person_id, learned_at)
        VALUES (company, stays, one, least(seen_at, now())), (company, mover, one, least(seen_at, now()))
        ON CONFLICT (company_id, alias) DO UPDATE SET person_id = excluded.person_id, learned_at = excluded.learned_at
        WHERE contact_aliases.person_id <> excluded.person_id;
        RETURN 'moved';
    END IF;
    -- The smaller number stays, so that the same links in any order give the same person.
    one := coalesce((SELECT min(person) FROM unnest(persons) AS person), nextval('person_ids'));
    UPDATE contact_aliases SET person_id = one WHERE company_id = company AND person_id = ANY(persons) AND person_id <> one;
    IF (SELECT count(*) FROM people WHERE company_id = company AND id = ANY(persons)) > 1 THEN
        INSERT INTO events (subject, type, company_id, code, data)
        SELECT 'contact', 'contact.merged', company, 'provider',
               jsonb_build_object('contactId', 'p' || one, 'otherContactId', 'p' || other, 'aliases',
                                  (SELECT jsonb_agg(alias ORDER BY alias) FROM contact_aliases
                                   WHERE company_id = company AND person_id = one))
        FROM unnest(persons) AS other WHERE other <> one;
    END IF;
    PERFORM fold_people(company, one, persons);
    INSERT INTO contact_aliases (company_id, alias, person_id, learned_at)
    VALUES (company, first, one, least(seen_at, now())), (company, second, one, least(seen_at, now()))
    ON CONFLICT (company_id, alias) DO NOTHING;
    RETURN 'linked';
END
$$;

CREATE OR REPLACE FUNCTION latency_bucket(took interval) RETURNS smallint LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT floor(8 * log(2, greatest(1, extract(epoch FROM took) * 1000)))::smallint
$$;
