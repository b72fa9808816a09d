CREATE TABLE example_sends (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id varchar(64) NOT NULL,
    token text NOT NULL,
    body text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now()
);
