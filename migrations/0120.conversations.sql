-- depends: 0115.alerts
-- Conversations: who answers in a chat, the assistant or a human, and the turns of the assistant.

-- Whether conversations are kept for a company with these settings: it has an assistant, or customers can reach a human.
-- Both are off unless they are set (`shared.tenancy.company_settings`).
CREATE FUNCTION keeps_conversations(settings jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT settings @> '{"enableAssistant": true}' OR settings @> '{"enableHumanHandoff": true}'
$$;

-- A duration of a company's settings, given in minutes, or else the usual one; null for 0, which means never.
CREATE FUNCTION setting_minutes(settings jsonb, name text, usual integer) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT make_interval(mins => nullif(coalesce((settings ->> name)::integer, usual), 0))
$$;

-- A text without the spaces that a provider may change; null for none.
CREATE FUNCTION squeezed(body text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT btrim(regexp_replace(body, '\s+', ' ', 'g'))
$$;

-- One chat with one person through one connection. States and what may follow what: `shared/conversations/states.py`.
CREATE TABLE conversations (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id      text NOT NULL,
    connection_id   bigint NOT NULL,
    -- one of the ids of its person; messages under any other one (`chat_aliases`) belong here too
    chat_id         text NOT NULL,
    state           text NOT NULL CHECK (state IN ('bot', 'waiting', 'human', 'closed')),
    -- since when it has the state: who waits is listed by it
    state_at        timestamptz NOT NULL DEFAULT now(),
    -- why it has the state, as a code
    reason          text NOT NULL DEFAULT '',
    -- who looks after it: any name that the company's people use; null: no one in particular
    assignee        text,
    -- of the last message that the customer wrote
    last_inbound_at timestamptz,
    -- in `human`: when it goes back if no human writes until then; null: never
    human_until     timestamptz,
    -- a message that was written by hand, or is the echo of ours, whose id at the provider is not known yet
    echo_id         bigint,
    -- conversations of the same person that were merged into this one
    former_ids      bigint[] NOT NULL DEFAULT '{}',
    -- changes with each change that a client sees
    version         bigint NOT NULL DEFAULT 1,
    -- the highest transaction of its events. Transactions are numbered when they begin to write, and this row is locked
    -- later: an event of an older one than the last is written under the last one's number, or readers would see the two
    -- in the wrong order. Nobody reads it too late: they stop below the oldest running transaction, and that of the
    -- last event had ended when this row was locked.
    event_xid       bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (connection_id, chat_id),
    UNIQUE (company_id, id),
    FOREIGN KEY (company_id, connection_id) REFERENCES phone_configs (company_id, id) ON DELETE CASCADE
) WITH (fillfactor = 80);
-- Lists: of one state by how long it has it, of one person's work, and of all.
CREATE INDEX conversations_state ON conversations (company_id, state, state_at, id);
CREATE INDEX conversations_all ON conversations (company_id, state_at, id);
CREATE INDEX conversations_assignee ON conversations (company_id, assignee, state_at, id) WHERE assignee IS NOT NULL;
CREATE INDEX conversations_merged ON conversations USING gin (former_ids) WHERE former_ids <> '{}';
-- What the recorder looks at: timeouts, and echoes whose author is not known yet.
CREATE INDEX conversations_human_until ON conversations (human_until) WHERE state = 'human';
CREATE INDEX conversations_waiting ON conversations (state_at) WHERE state = 'waiting';
CREATE INDEX conversations_idle ON conversations (company_id, last_inbound_at) WHERE state = 'bot';
CREATE INDEX conversations_closed ON conversations (state_at) WHERE state = 'closed';
CREATE INDEX conversations_echo ON conversations (id) WHERE echo_id IS NOT NULL;

-- One answer of the assistant: what the customer wrote since the last one, and what became of it.
CREATE TABLE turns (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id       text NOT NULL,
    conversation_id  bigint NOT NULL,
    -- open: waits for `due_at`, and further messages join it; running: `incarnation_id` answers it
    state            text NOT NULL DEFAULT 'open'
                     CHECK (state IN ('open', 'running', 'answered', 'handed_off', 'dropped', 'failed')),
    opened_at        timestamptz NOT NULL DEFAULT now(),
    -- not answered before: the customer may go on writing
    due_at           timestamptz NOT NULL DEFAULT now(),
    -- rows of `inbound_messages`, which retention may have deleted
    first_inbound_id bigint NOT NULL,
    last_inbound_id  bigint NOT NULL,
    incarnation_id   text,
    claimed_at       timestamptz,
    attempts         integer NOT NULL DEFAULT 0,
    reason           text NOT NULL DEFAULT '',
    -- the answer, a row of `messages`
    message_id       bigint,
    model            text,
    tokens_in        integer NOT NULL DEFAULT 0,
    tokens_out       integer NOT NULL DEFAULT 0,
    -- millionths of the currency of the price table
    cost_micros      bigint NOT NULL DEFAULT 0,
    ended_at         timestamptz,
    UNIQUE (company_id, id),
    FOREIGN KEY (company_id, conversation_id) REFERENCES conversations (company_id, id) ON DELETE CASCADE
) WITH (fillfactor = 80);
-- One answer at a time: what comes in while one is open joins it, and while one runs it opens the next.
CREATE UNIQUE INDEX turns_one_open ON turns (conversation_id) WHERE state = 'open';
CREATE UNIQUE INDEX turns_one_running ON turns (conversation_id) WHERE state = 'running';
CREATE INDEX turns_due ON turns (due_at, id) WHERE state = 'open';
CREATE INDEX turns_running ON turns (incarnation_id) WHERE state = 'running';
CREATE INDEX turns_of_conversation ON turns (conversation_id, id);
CREATE INDEX turns_ended_at ON turns (ended_at) WHERE ended_at IS NOT NULL;

-- Who wrote a message of ours; null: a client of the API. What the assistant wrote is no human's reply.
ALTER TABLE messages ADD COLUMN author text CHECK (author IN ('assistant'));

-- By triggers and not by each statement: whatever changes a conversation, the change is counted and has an event, and
-- no turn is open unless the assistant answers.
CREATE FUNCTION count_conversation_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.state, NEW.reason, NEW.assignee, NEW.former_ids)
       IS DISTINCT FROM (OLD.state, OLD.reason, OLD.assignee, OLD.former_ids) THEN
        -- one that is merged brings its own instant
        IF NEW.state <> OLD.state AND NEW.state_at = OLD.state_at THEN
            NEW.state_at := now();
        END IF;
        NEW.version := OLD.version + 1;
        NEW.updated_at := now();
        NEW.event_xid := greatest(NEW.event_xid, pg_current_xact_id()::text::bigint);
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION note_conversation_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    facts jsonb := jsonb_build_object('conversationId', NEW.id, 'chatId', NEW.chat_id, 'assignee', NEW.assignee,
                                      'stateAt', NEW.state_at, 'formerIds', NEW.former_ids, 'version', NEW.version);
BEGIN
    INSERT INTO events (xid, subject, type, company_id, connection_id, state, code, data)
    VALUES (NEW.event_xid, 'conversation', CASE TG_OP WHEN 'INSERT' THEN 'conversation.created' ELSE 'conversation.updated' END,
            NEW.company_id, NEW.connection_id, NEW.state, nullif(NEW.reason, ''), facts);
    IF NEW.state = 'waiting' AND (TG_OP = 'INSERT' OR OLD.state <> 'waiting') THEN
        INSERT INTO events (xid, subject, type, company_id, connection_id, state, code, data)
        VALUES (NEW.event_xid, 'human_handoff', 'human_handoff.requested', NEW.company_id, NEW.connection_id, NEW.state,
                nullif(NEW.reason, ''), facts);
    END IF;
    IF NEW.state <> 'bot' THEN
        UPDATE turns SET state = 'dropped', reason = NEW.state, ended_at = now()
        WHERE conversation_id = NEW.id AND state = 'open';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER conversations_count BEFORE UPDATE ON conversations
    FOR EACH ROW EXECUTE FUNCTION count_conversation_change();
CREATE TRIGGER conversations_note_new AFTER INSERT ON conversations
    FOR EACH ROW EXECUTE FUNCTION note_conversation_change();
CREATE TRIGGER conversations_note AFTER UPDATE ON conversations
    FOR EACH ROW WHEN (NEW.version <> OLD.version) EXECUTE FUNCTION note_conversation_change();

-- Make one conversation of those of a person with one connection: that which began first, in the state that comes first
-- in `precedence`. Returns its id, locked; null when there is none.
CREATE FUNCTION fold_conversations(connection bigint, chats text[], precedence text[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    kept  conversations;
    best  conversations;
    other conversations;
BEGIN
    -- in the order of ids, as every statement that locks several
    PERFORM FROM conversations WHERE connection_id = connection AND chat_id = ANY(chats) ORDER BY id FOR UPDATE;
    SELECT * INTO kept FROM conversations WHERE connection_id = connection AND chat_id = ANY(chats) ORDER BY id LIMIT 1;
    SELECT * INTO best FROM conversations WHERE connection_id = connection AND chat_id = ANY(chats)
    ORDER BY array_position(precedence, state), state_at, id LIMIT 1;
    FOR other IN SELECT * FROM conversations
                 WHERE connection_id = connection AND chat_id = ANY(chats) AND id <> kept.id ORDER BY id LOOP
        -- An answer at a time: of two that run, what the second should answer is answered after the first.
        UPDATE turns SET state = 'open', due_at = now(), incarnation_id = NULL, claimed_at = NULL
        WHERE conversation_id = other.id AND state = 'running'
          AND EXISTS (SELECT FROM turns WHERE conversation_id = kept.id AND state = 'running')
          AND NOT EXISTS (SELECT FROM turns WHERE conversation_id = other.id AND state = 'open');
        UPDATE turns o SET first_inbound_id = least(o.first_inbound_id, s.first_inbound_id),
            last_inbound_id = greatest(o.last_inbound_id, s.last_inbound_id)
        FROM turns s
        WHERE o.conversation_id = other.id AND o.state = 'open' AND s.conversation_id = other.id AND s.state = 'running'
          AND EXISTS (SELECT FROM turns WHERE conversation_id = kept.id AND state = 'running');
        UPDATE turns SET state = 'dropped', reason = 'merged', ended_at = now()
        WHERE conversation_id = other.id AND state = 'running'
          AND EXISTS (SELECT FROM turns WHERE conversation_id = kept.id AND state = 'running');
        UPDATE turns o SET first_inbound_id = least(o.first_inbound_id, s.first_inbound_id),
            last_inbound_id = greatest(o.last_inbound_id, s.last_inbound_id), due_at = greatest(o.due_at, s.due_at)
        FROM turns s
        WHERE o.conversation_id = kept.id AND o.state = 'open' AND s.conversation_id = other.id AND s.state = 'open';
        UPDATE turns SET state = 'dropped', reason = 'merged', ended_at = now()
        WHERE conversation_id = other.id AND state = 'open'
          AND EXISTS (SELECT FROM turns WHERE conversation_id = kept.id AND state = 'open');
        UPDATE turns SET conversation_id = kept.id WHERE conversation_id = other.id;
        DELETE FROM conversations WHERE id = other.id;
        UPDATE conversations c SET state = best.state, state_at = best.state_at, reason = best.reason,
            assignee = best.assignee, human_until = best.human_until, echo_id = coalesce(c.echo_id, other.echo_id),
            last_inbound_at = greatest(c.last_inbound_at, other.last_inbound_at),
            former_ids = c.former_ids || other.id || other.former_ids,
            event_xid = greatest(c.event_xid, other.event_xid)
        WHERE c.id = kept.id;
    END LOOP;
    RETURN kept.id;
END
$$;

DO $$
BEGIN
    -- requests assign, hand back and close; people that are merged have one conversation
    PERFORM protect_company_table('conversations', 'SELECT, UPDATE, DELETE');
    PERFORM protect_company_table('turns', 'SELECT, UPDATE');
END
$$;
