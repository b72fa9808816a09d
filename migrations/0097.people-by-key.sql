-- depends: 0096.event-exports
-- What links and folds people looks rows up by whole keys. An array in a condition, as in `alias IN (first, second)`, was
-- planned as a filter while a company had few people; that plan then read all of them for each link.

-- As before: make one row of several people's; what the kept one has counts first.
CREATE OR REPLACE FUNCTION fold_people(company text, kept bigint, others bigint[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    folded bigint;
    other  people;
BEGIN
    FOR folded IN SELECT DISTINCT o FROM unnest(others) AS o WHERE o <> kept ORDER BY o LOOP
        SELECT * INTO other FROM people WHERE company_id = company AND id = folded FOR UPDATE;
        IF FOUND THEN
            UPDATE people p
            SET name = coalesce(nullif(p.name, ''), other.name),
                profile_name = coalesce(nullif(p.profile_name, ''), other.profile_name),
                username = coalesce(nullif(p.username, ''), other.username),
                tags = p.tags || ARRAY(SELECT tag FROM unnest(other.tags) AS tag WHERE tag <> ALL(p.tags)),
                fields = other.fields || p.fields, first_seen_at = least(p.first_seen_at, other.first_seen_at),
                last_seen_at = greatest(p.last_seen_at, other.last_seen_at), updated_at = now()
            WHERE p.company_id = company AND p.id = kept;
            IF FOUND THEN
                DELETE FROM people WHERE company_id = company AND id = folded;
            ELSE
                UPDATE people SET id = kept WHERE company_id = company AND id = folded;
            END IF;
        END IF;
        UPDATE contact_merges SET kept_id = kept WHERE company_id = company AND kept_id = folded;
    END LOOP;
    RETURN true;
END
$$;

-- As before: make two aliases those of one person; each other alias of either becomes that person's too, unless some of
-- them contradict each other. Then a user id or lid leaves the number that it named before, if `moves` and nothing newer
-- than `seen_at` is known of it. Returns `known`, `linked`, `moved`, or `refused`: nothing was changed.
CREATE OR REPLACE FUNCTION link_aliases(company text, first text, second text, seen_at timestamptz DEFAULT now(),
                                        moves boolean DEFAULT false)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    of_first  bigint;
    of_second bigint;
    kept      bigint;
    folded    bigint;
    mover     text;
    stays     text;
BEGIN
    -- one at a time for a company: two that link a-b and b-c at once would make two persons of b
    PERFORM pg_advisory_xact_lock(hashtext('link_aliases'), hashtext(company));
    SELECT person_id INTO of_first FROM contact_aliases WHERE company_id = company AND alias = first;
    SELECT person_id INTO of_second FROM contact_aliases WHERE company_id = company AND alias = second;
    -- Both are known, as one person: nothing to write, and no row version for a link that each webhook repeats.
    IF of_first = of_second THEN
        RETURN 'known';
    END IF;
    IF EXISTS (
        WITH everyone AS (
            SELECT alias FROM contact_aliases WHERE company_id = company AND person_id = of_first
            UNION SELECT alias FROM contact_aliases WHERE company_id = company AND person_id = of_second
            UNION SELECT first UNION SELECT second)
        SELECT FROM everyone a JOIN everyone b ON a.alias < b.alias AND contradict(a.alias, b.alias)
    ) THEN
        -- Only an id that is no number moves: a chat with a number stays that number's.
        IF first ~ '^[0-9]+$' THEN
            mover := second; stays := first; kept := of_first;
        ELSE
            mover := first; stays := second; kept := of_second;
        END IF;
        IF NOT moves OR mover ~ '^[0-9]+$' OR stays !~ '^[0-9]+$'
           OR EXISTS (SELECT FROM contact_aliases WHERE company_id = company AND alias = mover AND learned_at > seen_at)
           OR EXISTS (SELECT FROM contact_aliases WHERE company_id = company AND person_id = kept
                                                    AND contradict(alias, mover)) THEN
            RETURN 'refused';
        END IF;
        kept := coalesce(kept, nextval('person_ids'));
        INSERT INTO contact_aliases (company_id, alias, person_id, learned_at)
        VALUES (company, stays, kept, least(seen_at, now())), (company, mover, kept, least(seen_at, now()))
        ON CONFLICT (company_id, alias) DO UPDATE SET person_id = excluded.person_id, learned_at = excluded.learned_at
        WHERE contact_aliases.person_id <> excluded.person_id;
        RETURN 'moved';
    END IF;
    -- The smaller number stays, so that the same links in any order give the same person.
    kept := coalesce(least(of_first, of_second), nextval('person_ids'));
    IF of_first IS NOT NULL AND of_second IS NOT NULL THEN
        folded := greatest(of_first, of_second);
        UPDATE contact_aliases SET person_id = kept WHERE company_id = company AND person_id = folded;
        IF EXISTS (SELECT FROM people WHERE company_id = company AND id = kept)
           AND EXISTS (SELECT FROM people WHERE company_id = company AND id = folded) THEN
            INSERT INTO events (subject, type, company_id, code, data)
            SELECT 'contact', 'contact.merged', company, 'provider',
                   jsonb_build_object('contactId', 'p' || kept, 'otherContactId', 'p' || folded, 'aliases',
                                      (SELECT jsonb_agg(alias ORDER BY alias) FROM contact_aliases
                                       WHERE company_id = company AND person_id = kept));
        END IF;
        PERFORM fold_people(company, kept, ARRAY[folded]);
    END IF;
    INSERT INTO contact_aliases (company_id, alias, person_id, learned_at)
    VALUES (company, first, kept, least(seen_at, now())), (company, second, kept, least(seen_at, now()))
    ON CONFLICT (company_id, alias) DO NOTHING;
    RETURN 'linked';
END
$$;

-- As before, by logarithms of floating-point numbers: those of numbers of any length take ten times as long.
CREATE OR REPLACE FUNCTION latency_bucket(took interval) RETURNS smallint LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT floor(8 * ln(greatest(1, extract(epoch FROM took) * 1000)::double precision) / ln(2::double precision))::smallint
$$;
