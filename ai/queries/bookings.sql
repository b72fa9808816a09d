-- free_slots --
-- Slots that are free, the earliest first. A hold whose time is over holds nothing.
SELECT s.id, v.name AS service, s.starts_at, s.ends_at
FROM slots s JOIN services v ON v.id = s.service_id
WHERE s.company_id = %(company_id)s AND s.starts_at > now()
  AND (%(service)s = '' OR lower(v.name) = lower(%(service)s))
  AND (%(day)s::date IS NULL OR s.starts_at >= %(day)s::date AND s.starts_at < %(day)s::date + 1)
  AND NOT EXISTS (SELECT FROM bookings b WHERE b.slot_id = s.id
                  AND (b.state = 'confirmed' OR b.state = 'held' AND b.held_until > now()))
ORDER BY s.starts_at, s.id LIMIT %(most)s;

-- slot_to_book --
-- A slot that lies ahead.
SELECT s.id, v.name AS service, s.starts_at,
       int8range(s.service_id * 8589934592 + extract(epoch FROM s.starts_at)::bigint,
                 s.service_id * 8589934592 + extract(epoch FROM s.ends_at)::bigint) AS place
FROM slots s JOIN services v ON v.id = s.service_id
WHERE s.company_id = %(company_id)s AND s.id = %(slot_id)s AND s.starts_at > now();

-- expire_holds --
-- End holds of a place whose time is over.
UPDATE bookings SET state = 'expired', updated_at = now()
WHERE company_id = %(company_id)s AND place && %(place)s::int8range AND state = 'held' AND held_until <= now()
RETURNING id;

-- hold_slot --
-- Hold a place; no row: another customer has it. Of two at once the second waits for the first.
INSERT INTO bookings (company_id, slot_id, place, state, held_until, connection_id, customer)
VALUES (%(company_id)s, %(slot_id)s, %(place)s::int8range, 'held', now() + make_interval(secs => %(hold_s)s),
        %(connection_id)s, %(customer)s)
ON CONFLICT DO NOTHING RETURNING id, held_until;

-- own_hold --
-- What a customer holds or has of a slot already.
SELECT id, state, held_until FROM bookings
WHERE company_id = %(company_id)s AND slot_id = %(slot_id)s AND customer = %(customer)s
  AND connection_id IS NOT DISTINCT FROM %(connection_id)s
  AND (state = 'confirmed' OR state = 'held' AND held_until > now());

-- confirm_booking --
-- Make a customer's own hold a booking, while it lasts; done before it stays done.
UPDATE bookings b SET state = 'confirmed', updated_at = now()
FROM slots s JOIN services v ON v.id = s.service_id
WHERE b.company_id = %(company_id)s AND b.id = %(booking_id)s AND b.customer = %(customer)s
  AND b.connection_id IS NOT DISTINCT FROM %(connection_id)s AND s.id = b.slot_id
  AND (b.state = 'confirmed' OR b.state = 'held' AND b.held_until > now())
RETURNING b.id, v.name AS service, s.starts_at;

-- cancel_booking --
-- End a customer's own hold or booking.
UPDATE bookings SET state = 'cancelled', updated_at = now()
WHERE company_id = %(company_id)s AND id = %(booking_id)s AND customer = %(customer)s
  AND connection_id IS NOT DISTINCT FROM %(connection_id)s AND state IN ('held', 'confirmed')
RETURNING id;

-- assistant_functions --
-- Functions of a company, by name.
SELECT name, description, parameters, url, has_effects, secret FROM functions
WHERE company_id = %(company_id)s ORDER BY name;

-- has_services --
-- Whether a company has appointments at all.
SELECT 1 AS found FROM services WHERE company_id = %(company_id)s LIMIT 1;
