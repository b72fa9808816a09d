-- Files of messages: what is in storage, and what providers call it. And pauses that end by themselves.

-- One row for each file of a company; the bytes lie in storage under the same two names.
CREATE TABLE media_files (
    company_id text NOT NULL REFERENCES companies ON DELETE CASCADE,
    sha256     text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size       bigint NOT NULL CHECK (size >= 0),
    mimetype   text NOT NULL,
    filename   text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    -- last asked for: files that nobody asks for are deleted after MEDIA_RETENTION_DAYS
    used_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (company_id, sha256)
);
CREATE INDEX media_files_used_at ON media_files (used_at);

-- What was uploaded to a provider and is kept there for a while. A row that is wrong costs one upload more.
CREATE TABLE media_uploads (
    connection_id bigint NOT NULL REFERENCES phone_configs ON DELETE CASCADE,
    sha256        text NOT NULL,
    mimetype      text NOT NULL,
    provider_id   text NOT NULL,
    uploaded_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connection_id, sha256, mimetype)
);

-- Pauses that end by themselves: of a connection that its provider holds for hours. The reason says which pause it is: another one is left alone.
CREATE TABLE timed_pauses (
    connection_id bigint PRIMARY KEY REFERENCES phone_configs ON DELETE CASCADE,
    reason        text NOT NULL,
    resume_at     timestamptz NOT NULL
);
