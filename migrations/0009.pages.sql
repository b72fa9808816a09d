-- Up to when everything that the page of a browser session told stands in the database: what came later is asked for after a gap.

CREATE TABLE page_positions (
    connection_id bigint PRIMARY KEY REFERENCES phone_configs ON DELETE CASCADE,
    heard_until   timestamptz NOT NULL
) WITH (fillfactor = 70);
