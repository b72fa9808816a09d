-- functions_of_company --
-- Functions that a company's assistant may call.
SELECT name, description, parameters, url, has_effects, secret, created_at, updated_at FROM functions
WHERE company_id = %(company_id)s ORDER BY name;

-- put_function --
-- Define a function, or replace it; no row: the company has too many others.
INSERT INTO functions (company_id, name, description, parameters, url, has_effects, secret)
SELECT %(company_id)s, %(name)s, %(description)s, %(parameters)s, %(url)s, %(has_effects)s, %(secret)s
WHERE (SELECT count(*) FROM functions WHERE company_id = %(company_id)s AND name <> %(name)s) < %(most)s
ON CONFLICT (company_id, name) DO UPDATE
SET description = excluded.description, parameters = excluded.parameters, url = excluded.url,
    has_effects = excluded.has_effects, secret = excluded.secret, updated_at = now()
RETURNING name, description, parameters, url, has_effects, secret, created_at, updated_at;

-- remove_function --
-- Remove a function.
DELETE FROM functions WHERE company_id = %(company_id)s AND name = %(name)s
RETURNING name, description, parameters, url, has_effects, secret, created_at, updated_at;

-- services_of_company --
-- Services of a company, and how many free slots lie ahead.
SELECT v.id, v.name, v.created_at,
       (SELECT count(*) FROM slots s WHERE s.service_id = v.id AND s.starts_at > now()
        AND NOT EXISTS (SELECT FROM bookings b WHERE b.slot_id = s.id
                        AND (b.state = 'confirmed' OR b.state = 'held' AND b.held_until > now()))) AS free_slots
FROM services v WHERE v.company_id = %(company_id)s ORDER BY v.name;

-- add_service --
-- Add a service, or find it; no row: the company has too many others.
INSERT INTO services (company_id, name)
SELECT %(company_id)s, %(name)s
WHERE (SELECT count(*) FROM services WHERE company_id = %(company_id)s AND name <> %(name)s) < %(most)s
ON CONFLICT (company_id, name) DO UPDATE SET name = excluded.name
RETURNING id, name, created_at, 0 AS free_slots;

-- service_by_id --
-- A service of a company.
SELECT id FROM services WHERE company_id = %(company_id)s AND id = %(id)s;

-- add_slots --
-- Add slots of a service; one that begins like another of it is there already.
INSERT INTO slots (company_id, service_id, starts_at, ends_at)
SELECT %(company_id)s, %(service_id)s, s.starts_at, s.ends_at
FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS s(starts_at, ends_at)
ON CONFLICT (service_id, starts_at) DO NOTHING
RETURNING id, starts_at, ends_at;

-- spending_of_company --
-- What a company's assistant has cost, by month.
SELECT month, spent_micros, reserved_micros, calls, tokens_in, tokens_out FROM model_spend
WHERE company_id = %(company_id)s ORDER BY month DESC LIMIT %(most)s;

-- bookings_of_company --
-- Bookings of a company by number.
SELECT b.id, v.name AS service, s.id AS slot_id, s.starts_at, s.ends_at, b.state, b.held_until, b.customer, b.created_at
FROM bookings b JOIN slots s ON s.id = b.slot_id JOIN services v ON v.id = s.service_id
WHERE b.company_id = %(company_id)s AND b.id > %(after)s ORDER BY b.id LIMIT %(most)s;
