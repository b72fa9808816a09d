-- depends: 0125.model-calls
-- What assistants can do: functions that companies serve themselves, and appointments.

-- A function of a company: a POST to an address of its own. `parameters`: a list of {name, type, description, required,
-- choices}; has_effects: carried out twice it would do harm.
CREATE TABLE functions (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id  text NOT NULL,
    name        text NOT NULL,
    description text NOT NULL,
    parameters  jsonb NOT NULL DEFAULT '[]',
    url         text NOT NULL,
    has_effects boolean NOT NULL DEFAULT true,
    -- name of the company's secret that is sent as bearer token
    secret      text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (company_id, name)
);

CREATE TABLE services (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id text NOT NULL,
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (company_id, name),
    UNIQUE (company_id, id)
);

CREATE TABLE slots (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id text NOT NULL,
    service_id bigint NOT NULL,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL CHECK (ends_at > starts_at),
    UNIQUE (service_id, starts_at),
    UNIQUE (company_id, id),
    FOREIGN KEY (company_id, service_id) REFERENCES services (company_id, id) ON DELETE CASCADE
);
CREATE INDEX slots_of_company ON slots (company_id, starts_at);

CREATE TABLE bookings (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id    text NOT NULL,
    slot_id       bigint NOT NULL,
    -- service and seconds since 1970 in one number, for `int8range` alone has an index without an extension: seconds have
    -- 33 bits until the year 2242
    place         int8range NOT NULL,
    state         text NOT NULL CHECK (state IN ('held', 'confirmed', 'cancelled', 'expired')),
    -- a hold ends by itself; it counts until another customer wants the place
    held_until    timestamptz NOT NULL,
    connection_id bigint,
    customer      text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (company_id, slot_id) REFERENCES slots (company_id, id) ON DELETE CASCADE,
    -- two customers, one place: one of them gets it
    EXCLUDE USING gist (place WITH &&) WHERE (state IN ('held', 'confirmed'))
);
CREATE INDEX bookings_of_customer ON bookings (company_id, customer, id);
CREATE INDEX bookings_slot ON bookings (slot_id);

DO $$
BEGIN
    PERFORM protect_company_table('functions');
    PERFORM protect_company_table('services');
    PERFORM protect_company_table('slots');
    PERFORM protect_company_table('bookings', 'SELECT');
END
$$;
