-- Outgoing webhooks: who gets which events, what is to be tried again, and what was delivered.

-- One subscriber. It is a cursor over the stream of events: nothing is written for an event that it takes at once.
CREATE TABLE hooks (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id    varchar(64) NOT NULL REFERENCES companies ON DELETE CASCADE,
    url           text NOT NULL,
    -- names of public types and patterns; empty: all
    types         text[] NOT NULL DEFAULT '{}',
    -- connections whose events it gets; empty: all
    phone_indexes integer[] NOT NULL DEFAULT '{}',
    -- secrets and headers, sealed
    sealed        text NOT NULL,
    header_names  text[] NOT NULL DEFAULT '{}',
    -- until then the secret before the last also signs
    former_until  timestamptz,
    state         text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'disabled')),
    state_reason  text NOT NULL DEFAULT '',
    -- everything up to here was delivered, or is a row of `hook_retries`
    xid           bigint NOT NULL,
    event_id      bigint NOT NULL,
    -- since when nothing was taken; null while something is
    failing_since timestamptz,
    -- changes with everything but the position: the process that serves it then reads it again
    version       integer NOT NULL DEFAULT 1,
    incarnation   text NOT NULL DEFAULT '',
    leased_until  timestamptz NOT NULL DEFAULT now(),
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE INDEX hooks_company ON hooks (company_id, id);

-- Events that a subscriber did not take, and those that wait behind one of the same conversation.
CREATE TABLE hook_retries (
    hook_id      bigint NOT NULL REFERENCES hooks ON DELETE CASCADE,
    xid          bigint NOT NULL,
    event_id     bigint NOT NULL,
    conversation text NOT NULL,
    state        text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'dead')),
    attempts     integer NOT NULL DEFAULT 0,
    -- of the first attempt; null: none yet
    first_at     timestamptz,
    next_at      timestamptz NOT NULL DEFAULT now(),
    status       integer,
    error        text NOT NULL DEFAULT '',
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (hook_id, xid, event_id)
);
CREATE INDEX hook_retries_waiting ON hook_retries (hook_id, conversation, xid, event_id) WHERE state = 'waiting';
CREATE INDEX hook_retries_updated_at ON hook_retries (updated_at) WHERE state = 'dead';

-- Attempts of deliveries, for the operator of the subscriber.
CREATE TABLE hook_deliveries (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hook_id  bigint NOT NULL REFERENCES hooks ON DELETE CASCADE,
    xid      bigint NOT NULL,
    event_id bigint NOT NULL,
    type     text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    attempt  integer NOT NULL,
    outcome  text NOT NULL,
    status   integer,
    error    text NOT NULL DEFAULT '',
    took_ms  integer NOT NULL
);
CREATE INDEX hook_deliveries_hook ON hook_deliveries (hook_id, id);
