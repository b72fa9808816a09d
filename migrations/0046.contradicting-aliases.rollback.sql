DROP FUNCTION link_aliases(text, text, text, timestamptz, boolean);
DROP FUNCTION contradict(text, text);

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
