-- What lists, searches and figures are read from: copies that the recorder makes by following the events, so that no
-- sender waits for them (docs/adr/0090-reads-are-served-from-copies.md).

-- `messages`: up to which transaction (not included) the events are in the copies; `backfill`: the id below which older
-- messages are not.
CREATE TABLE reading_positions (
    name    text PRIMARY KEY,
    xid     bigint NOT NULL,
    -- an instant at which everything below `xid` was final, by the database's clock
    read_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Both directions in one shape.
CREATE VIEW message_lines WITH (security_invoker = true) AS
    SELECT id, company_id, connection_id, chat_id, 'out' AS direction, false AS came_in, type, state, content,
           created_at AS at, created_at, sent_at, scheduled_for
    FROM messages
    UNION ALL
    SELECT id, company_id, connection_id, chat_id, CASE WHEN from_me THEN 'out' ELSE 'in' END, true, type, state,
           content, at, created_at, NULL, NULL
    FROM inbound_messages;

-- What a search finds of a company's message. The company is a word of its own, which no text can hold: the index
-- then finds the words of one company, however many others have them.
CREATE FUNCTION message_words(company text, content jsonb) RETURNS tsvector LANGUAGE sql IMMUTABLE AS $$
    SELECT array_to_tsvector(ARRAY[chr(1) || company])
        || to_tsvector('simple', left(concat_ws(' ', content ->> 'body', content ->> 'caption', content ->> 'text',
                                                content ->> 'title', content ->> 'name', content ->> 'filename',
                                                content #>> '{media,filename}'), 100000))
$$;

-- A word as it stands in the text of a tsquery.
CREATE FUNCTION quoted_lexeme(lexeme text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT '''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || ''''
$$;

-- The query for a company's texts with any of the words; the last word may go on. Null when there is no word.
CREATE FUNCTION any_of_words(company text, words text) RETURNS tsquery LANGUAGE sql IMMUTABLE AS $$
    SELECT (quoted_lexeme(chr(1) || company) || ' & ('
            || string_agg(quoted_lexeme(lexeme) || CASE WHEN position = last THEN ':*' ELSE '' END, ' | ')
            || ')')::tsquery
    FROM (SELECT lexeme, positions[cardinality(positions)] AS position,
                 max(positions[cardinality(positions)]) OVER () AS last
          FROM unnest(to_tsvector('simple', words))) AS found
$$;

-- One row for each message in either direction, written by the recorder alone: what lists are filtered by, the words
-- that a search finds, and how the message is counted in the figures.
CREATE TABLE message_index (
    message_id      bigint PRIMARY KEY,
    company_id      text NOT NULL REFERENCES companies ON DELETE CASCADE,
    connection_id   bigint NOT NULL,
    chat_id         text NOT NULL,
    direction       text NOT NULL,
    type            text NOT NULL,
    state           text NOT NULL,
    at              timestamptz NOT NULL,
    -- null: deleted, or without words
    words           tsvector,
    -- where it is counted: a status that comes late takes it from there
    day             date NOT NULL,
    phone_index     integer NOT NULL,
    connection_type text NOT NULL,
    outcome         text NOT NULL,
    -- whether its time until then is in `latency_rollups`
    sent_timed      boolean NOT NULL DEFAULT false,
    delivered_timed boolean NOT NULL DEFAULT false
) WITH (fillfactor = 80);

-- When each chat was written in last, by the provider's time, for each of its ids and connections.
CREATE TABLE chats (
    company_id    text NOT NULL REFERENCES companies ON DELETE CASCADE,
    chat_id       text NOT NULL,
    connection_id bigint NOT NULL,
    last_at       timestamptz NOT NULL,
    PRIMARY KEY (company_id, chat_id, connection_id)
) WITH (fillfactor = 80);

-- Until when a client has read a chat.
CREATE TABLE chat_reads (
    company_id text NOT NULL REFERENCES companies ON DELETE CASCADE,
    chat_id    text NOT NULL,
    read_at    timestamptz NOT NULL,
    PRIMARY KEY (company_id, chat_id)
);

-- Messages by the day (UTC) on which they were accepted or came in, and by what has become of them. They outlive the
-- messages, so that no figure of the past changes when those are deleted.
CREATE TABLE message_rollups (
    company_id      text NOT NULL REFERENCES companies ON DELETE CASCADE,
    day             date NOT NULL,
    phone_index     integer NOT NULL,
    connection_type text NOT NULL,
    direction       text NOT NULL,
    type            text NOT NULL,
    outcome         text NOT NULL,
    messages        bigint NOT NULL,
    PRIMARY KEY (company_id, day, phone_index, connection_type, direction, type, outcome)
) WITH (fillfactor = 70);

-- How long messages took from the moment when they were due until they were sent and delivered: how many in each bucket.
CREATE TABLE latency_rollups (
    company_id      text NOT NULL REFERENCES companies ON DELETE CASCADE,
    day             date NOT NULL,
    phone_index     integer NOT NULL,
    connection_type text NOT NULL,
    type            text NOT NULL,
    step            text NOT NULL CHECK (step IN ('sent', 'delivered')),
    bucket          smallint NOT NULL,
    messages        bigint NOT NULL,
    PRIMARY KEY (company_id, day, phone_index, connection_type, type, step, bucket)
) WITH (fillfactor = 70);

-- Eight buckets for each doubling of the milliseconds: the middle of one is wrong by 4.5 % at most.
CREATE FUNCTION latency_bucket(took interval) RETURNS smallint LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT floor(8 * log(2, greatest(1, extract(epoch FROM took) * 1000)))::smallint
$$;

-- How far a state or outcome is on the way to `read`.
CREATE FUNCTION step_number(state text) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE state WHEN 'sent' THEN 1 WHEN 'delivered' THEN 2 WHEN 'read' THEN 3 ELSE 0 END
$$;

-- What has become of a message; `furthest`: 1 sent, 2 delivered, 3 read, where more is known than the state says,
-- which a deletion hides.
CREATE FUNCTION message_outcome(came_in boolean, direction text, state text, sent_at timestamptz, furthest integer)
RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN came_in THEN CASE direction WHEN 'in' THEN 'received' ELSE 'echoed' END
                WHEN state = 'failed' THEN 'failed'
                WHEN state IN ('queued', 'sending', 'in_doubt') THEN 'open'
                WHEN state = 'deleted' AND sent_at IS NULL THEN 'cancelled'
                ELSE (ARRAY['sent', 'delivered', 'read'])[greatest(1, furthest, step_number(state))] END
$$;

-- The messages of a company that the copies lack so far, at most 2,000: those of about the last second, more while no
-- recorder runs.
CREATE FUNCTION messages_not_indexed(company text) RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    SELECT e.message_id FROM events_messages e
    WHERE e.xid >= (SELECT xid FROM reading_positions WHERE name = 'messages')
      -- leaves out the partitions of earlier days: no transaction lasts ten minutes
      AND e.written_at >= (SELECT read_at - interval '10 minutes' FROM reading_positions WHERE name = 'messages')
      AND e.company_id = company AND e.type IN ('message.queued', 'message.received', 'message.echoed')
    LIMIT 2000
$$;

-- Whether no other row of this chat's person is newer (`only_on`: of one connection; null: of all).
CREATE FUNCTION is_newest_of_person(company text, chat text, connection bigint, written_at timestamptz, only_on bigint)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT NOT EXISTS (
        SELECT FROM chats o
        WHERE o.company_id = company AND o.chat_id = ANY(chat_aliases(company, chat))
          AND (only_on IS NULL OR o.connection_id = only_on)
          AND (o.last_at, o.chat_id, o.connection_id) > (written_at, chat, connection))
$$;

-- From here on. What is there already is indexed by the recorder, newest first, below the id that `backfill` holds.
INSERT INTO reading_positions (name, xid)
VALUES ('messages', pg_snapshot_xmin(pg_current_snapshot())::text::bigint),
       ('backfill', (SELECT last_value + 1 FROM message_ids));

CREATE INDEX message_index_newest ON message_index (company_id, at DESC, message_id DESC);
CREATE INDEX message_index_words ON message_index USING gin (words);
CREATE INDEX chats_newest ON chats (company_id, last_at DESC, chat_id DESC, connection_id DESC);
CREATE INDEX chats_newest_of_connection ON chats (company_id, connection_id, last_at DESC, chat_id DESC);
-- For a search by the first digits of a number.
CREATE INDEX chats_number ON chats (company_id, chat_id text_pattern_ops);
CREATE INDEX contact_aliases_number ON contact_aliases (company_id, alias text_pattern_ops);
