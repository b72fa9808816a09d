-- What webhooks prove about a connection's own door: that the provider posted an event about this number (Page, account), when it came, and when the
-- event happened by the provider's clock. One row for each second in which something came; kept for an hour.

CREATE TABLE webhook_evidence (
    connection_id bigint NOT NULL REFERENCES phone_configs ON DELETE CASCADE,
    second        timestamptz NOT NULL,
    -- the latest of the second: a row never looks older than what it stands for
    received_at   timestamptz NOT NULL,
    happened_at   timestamptz NOT NULL,
    PRIMARY KEY (connection_id, second)
) WITH (fillfactor = 80);
CREATE INDEX webhook_evidence_old ON webhook_evidence (second);
