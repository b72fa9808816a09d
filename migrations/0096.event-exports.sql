-- depends: 0095.hook-delivery-days
-- Exports of the stream of events to message brokers: a cursor each, served by one process at a time.
CREATE TABLE event_exports (
    name         text PRIMARY KEY,
    -- everything up to here was confirmed
    xid          bigint NOT NULL,
    event_id     bigint NOT NULL,
    incarnation  text NOT NULL DEFAULT '',
    leased_until timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
