-- The tables of a single-process server, as it made them, with data.
CREATE TABLE companies (id serial PRIMARY KEY, name varchar(100) NOT NULL);
CREATE TABLE phone_configs (
    id serial PRIMARY KEY,
    company_id varchar(50) NOT NULL,
    phone_index integer NOT NULL,
    phone_number varchar(30),
    connection_type varchar(20) NOT NULL DEFAULT 'wwebjs',
    status varchar(20) NOT NULL DEFAULT 'inactive',
    meta_phone_number_id varchar(50),
    meta_business_account_id varchar(50),
    meta_access_token text,
    d360_api_key text,
    created_at timestamp DEFAULT now(),
    updated_at timestamp DEFAULT now(),
    UNIQUE (company_id, phone_index)
);
CREATE TABLE phone_status (
    id serial PRIMARY KEY,
    company_id varchar(50) NOT NULL,
    phone_index integer NOT NULL,
    status varchar(20) NOT NULL DEFAULT 'disconnected',
    qr_code text,
    last_seen timestamp DEFAULT now(),
    UNIQUE (company_id, phone_index)
);
CREATE TABLE contacts (id serial PRIMARY KEY, company_id varchar(50) NOT NULL, phone varchar(30) NOT NULL, name varchar(100));
CREATE TABLE messages (
    id serial PRIMARY KEY, company_id varchar(50) NOT NULL, phone_index integer NOT NULL, message_id varchar(200),
    chat_id varchar(60) NOT NULL, from_me boolean NOT NULL DEFAULT false, type varchar(20) NOT NULL DEFAULT 'text',
    body text, timestamp timestamptz NOT NULL
);
INSERT INTO companies (name) VALUES ('Acme'), ('Globex');
INSERT INTO phone_configs (company_id, phone_index, phone_number, connection_type, status, meta_phone_number_id, meta_business_account_id,
                           meta_access_token, d360_api_key)
VALUES ('acme', 0, '15550100100', 'meta_direct', 'active', '100000000000001', '200000000000001', 'token-of-acme', NULL),
       ('acme', 1, '15550100101', 'wwebjs', 'active', NULL, NULL, NULL, NULL),
       ('acme', 2, '15550100102', '360dialog', 'inactive', NULL, NULL, NULL, 'key-of-acme'),
       ('globex', 0, '15550100103', 'meta_embedded', 'active', '100000000000002', NULL, 'token-of-globex', NULL),
       ('globex', 1, '15550100104', 'pigeon', 'inactive', NULL, NULL, NULL, NULL);
INSERT INTO phone_status (company_id, phone_index, status)
VALUES ('acme', 0, 'connected'), ('acme', 1, 'qr'), ('globex', 0, 'disconnected');
INSERT INTO contacts (company_id, phone, name)
VALUES ('acme', '+1 555 010 0200', 'Ann'), ('acme', '15550100201', NULL), ('globex', '15550100200', 'Ann of Globex');
INSERT INTO messages (company_id, phone_index, message_id, chat_id, from_me, type, body, timestamp)
VALUES ('acme', 0, 'wamid.old.1', '15550100200', false, 'text', 'Is the boat watertight?', '2024-05-01 10:00Z'),
       ('acme', 0, 'wamid.old.2', '15550100200', true, 'text', 'It has bulkheads.', '2024-05-01 10:01Z'),
       ('acme', 1, 'true_15550100201@c.us_AAA', '15550100201@c.us', true, 'chat', 'Hello', '2024-05-01 11:00Z'),
       ('acme', 7, 'lost', '15550100201', false, 'text', 'of a number that is gone', '2024-05-01 12:00Z');
