-- Attempts of deliveries in one table again.
DROP TRIGGER hooks_forget_deliveries ON hooks;
DROP FUNCTION forget_hook_deliveries();
CREATE TABLE hook_deliveries_whole (
    id       bigint GENERATED ALWAYS AS IDENTITY,
    hook_id  bigint NOT NULL,
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
INSERT INTO hook_deliveries_whole OVERRIDING SYSTEM VALUE SELECT d.* FROM hook_deliveries d JOIN hooks h ON h.id = d.hook_id;
DO $$ BEGIN
    PERFORM setval('hook_deliveries_whole_id_seq', greatest(1, (SELECT max(id) FROM hook_deliveries_whole)));
END $$;
DROP TABLE hook_deliveries;
ALTER TABLE hook_deliveries_whole RENAME TO hook_deliveries;
ALTER SEQUENCE hook_deliveries_whole_id_seq RENAME TO hook_deliveries_id_seq;
ALTER TABLE hook_deliveries ADD CONSTRAINT hook_deliveries_pkey PRIMARY KEY (id),
    ADD CONSTRAINT hook_deliveries_hook_id_fkey FOREIGN KEY (hook_id) REFERENCES hooks ON DELETE CASCADE;
CREATE INDEX hook_deliveries_hook ON hook_deliveries (hook_id, id);
DO $$ BEGIN PERFORM protect_child_table('hook_deliveries', 'hook_id', 'hooks', 'SELECT'); END $$;
