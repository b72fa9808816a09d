-- What is known of a received message beside its content: the world it came from, and its sender's username.

ALTER TABLE inbound_messages
    -- The provider of the other one does not know it, and nothing can quote it there. sandbox, live; null: received
    -- before this was stored.
    ADD COLUMN world varchar(20),
    ADD COLUMN sender_username text NOT NULL DEFAULT '';
