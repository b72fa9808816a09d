-- A database as migration 0009 left it, with rows of every kind of event: pg_dump --no-owner --no-privileges --inserts.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE FUNCTION public.apply_to_target() RETURNS trigger
    LANGUAGE plpgsql
    AS $_$
DECLARE
    target   bigint := CASE WHEN NEW.content ->> 'target_id' ~ '^[0-9]{1,18}$' THEN (NEW.content ->> 'target_id')::bigint END;
    gone     boolean := NEW.type = 'delete' AND coalesce((NEW.content -> 'everyone')::text, 'true') = 'true';
    deletion jsonb := jsonb_build_object('deleted_at', now(), 'deleted_for', CASE WHEN gone THEN 'everyone' ELSE 'me' END);
    edition  jsonb := jsonb_build_object('edited_at', now());
BEGIN
    WITH changed AS (
        UPDATE messages m
        SET content = m.content || CASE WHEN NEW.type = 'delete' THEN deletion
                                        ELSE edition || jsonb_build_object(CASE WHEN m.type = 'text' THEN 'body' ELSE 'caption' END, NEW.content -> 'body') END,
            state = CASE WHEN gone THEN 'deleted' ELSE m.state END, updated_at = now()
        WHERE m.id = target AND m.connection_id = NEW.connection_id AND m.state IN ('sent', 'delivered', 'read')
        RETURNING m.id, m.state, m.attempt
    )
    -- without `extra`, which marks what the provider said
    INSERT INTO message_events (message_id, state, attempt, code, detail)
    SELECT id, state, attempt, CASE WHEN NEW.type = 'edit' THEN 'edited' WHEN gone THEN 'deleted' ELSE 'deleted_for_me' END, 'by message ' || NEW.id
    FROM changed;
    UPDATE inbound_messages i
    SET content = i.content || CASE WHEN NEW.type = 'delete' THEN deletion
                                    ELSE edition || jsonb_build_object(CASE WHEN i.type = 'text' THEN 'body' ELSE 'caption' END, NEW.content -> 'body') END,
        state = CASE WHEN gone THEN 'deleted' ELSE i.state END
    WHERE i.id = target AND i.connection_id = NEW.connection_id;
    RETURN NULL;
END
$_$;
CREATE FUNCTION public.heartbeat_status(last_heartbeat timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE
    AS $$
    SELECT CASE WHEN last_heartbeat > now() - interval '30 seconds' THEN 'healthy'
                WHEN last_heartbeat > now() - interval '60 seconds' THEN 'degraded'
                ELSE 'down' END
$$;
CREATE FUNCTION public.set_process_name_from_connection() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    SELECT process_name INTO NEW.process_name FROM phone_configs WHERE id = NEW.connection_id;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
CREATE FUNCTION public.set_process_name_from_connection_type() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    SELECT process_name INTO NEW.process_name FROM connection_types WHERE connection_type = NEW.connection_type;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
CREATE FUNCTION public.shown_detail(process_name text, status text, detail text, proved_at timestamp with time zone, seen_at timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE
    AS $$
    SELECT CASE WHEN shown_state(process_name, status, proved_at, seen_at) = status THEN detail
                ELSE format('was %s, and nothing proves it any more', replace(status, '_', ' ')) END
$$;
CREATE FUNCTION public.shown_state(process_name text, status text, proved_at timestamp with time zone, seen_at timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE
    AS $$
    SELECT CASE WHEN status IS NULL OR process_name <> 'webdriver' OR status IN ('absent', 'logged_out') THEN status
                WHEN seen_at > now() - interval '15 seconds' AND (status <> 'ready' OR proved_at > now() - interval '15 seconds') THEN status
                ELSE 'degraded' END
$$;
CREATE FUNCTION public.tokens_left(spent_until timestamp with time zone, every_s double precision, burst double precision) RETURNS double precision
    LANGUAGE sql STABLE
    AS $$
    SELECT CASE WHEN every_s > 0 THEN floor(burst - greatest(0, extract(epoch FROM spent_until - now())::double precision) / every_s + 1e-6) ELSE 1e9 END
$$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public._yoyo_log (
    id character varying(36) NOT NULL,
    migration_hash character varying(64),
    migration_id character varying(255),
    operation character varying(10),
    username character varying(255),
    hostname character varying(255),
    comment character varying(255),
    created_at_utc timestamp without time zone
);
CREATE TABLE public._yoyo_migration (
    migration_hash character varying(64) NOT NULL,
    migration_id character varying(255),
    applied_at_utc timestamp without time zone
);
CREATE TABLE public._yoyo_version (
    version integer NOT NULL,
    installed_at_utc timestamp without time zone
);
CREATE TABLE public.account_events (
    id bigint NOT NULL,
    process_name character varying(20) NOT NULL,
    account_id text NOT NULL,
    kind character varying(60) NOT NULL,
    value jsonb NOT NULL,
    at timestamp with time zone NOT NULL,
    name text NOT NULL,
    journal_id bigint,
    handled_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE public.account_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.account_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.companies (
    id text NOT NULL,
    name text DEFAULT ''::text NOT NULL,
    in_doubt_policy text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT companies_id_check CHECK ((id ~ '^[A-Za-z0-9_-]{1,64}$'::text)),
    CONSTRAINT companies_in_doubt_policy_check CHECK ((in_doubt_policy = ANY (ARRAY['auto'::text, 'resend'::text, 'hold'::text])))
);
CREATE TABLE public.phone_configs (
    id bigint NOT NULL,
    company_id text NOT NULL,
    phone_index integer NOT NULL,
    connection_type character varying(20) NOT NULL,
    process_name character varying(20) NOT NULL,
    status character varying(20) DEFAULT 'active'::character varying NOT NULL,
    status_reason text DEFAULT ''::text NOT NULL,
    desired_state character varying(20) DEFAULT 'linked'::character varying NOT NULL,
    account_id text DEFAULT ''::text NOT NULL,
    credentials text DEFAULT ''::text NOT NULL,
    options jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    waba_id text DEFAULT ''::text NOT NULL,
    templates_synced_at timestamp with time zone,
    CONSTRAINT phone_configs_desired_state_check CHECK (((desired_state)::text = ANY ((ARRAY['linked'::character varying, 'paused'::character varying, 'logged_out'::character varying])::text[]))),
    CONSTRAINT phone_configs_phone_index_check CHECK (((phone_index >= 0) AND (phone_index <= 9999))),
    CONSTRAINT phone_configs_status_check CHECK (((status)::text = ANY ((ARRAY['active'::character varying, 'paused'::character varying, 'removed'::character varying])::text[])))
);
CREATE TABLE public.phone_status (
    connection_id bigint NOT NULL,
    process_name character varying(20) NOT NULL,
    status character varying(20) NOT NULL,
    detail text DEFAULT ''::text NOT NULL,
    qr text DEFAULT ''::text NOT NULL,
    proved_at timestamp with time zone,
    last_event_at timestamp with time zone,
    incarnation text DEFAULT ''::text NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    facts jsonb DEFAULT '{}'::jsonb NOT NULL,
    warning text DEFAULT ''::text NOT NULL,
    checked_at timestamp with time zone,
    figures jsonb DEFAULT '{}'::jsonb NOT NULL
);
CREATE VIEW public.connection_overview AS
 SELECT c.company_id,
    c.phone_index,
    c.connection_type,
    c.process_name,
    c.status AS configured,
    c.status_reason,
    c.desired_state,
    COALESCE(public.shown_state((c.process_name)::text, (s.status)::text, s.proved_at, s.updated_at), 'absent'::text) AS observed,
    COALESCE(public.shown_detail((c.process_name)::text, (s.status)::text, s.detail, s.proved_at, s.updated_at), ''::text) AS detail,
    s.proved_at,
    s.updated_at,
    COALESCE(s.figures, '{}'::jsonb) AS figures,
    COALESCE(s.warning, ''::text) AS warning,
    COALESCE(s.facts, '{}'::jsonb) AS facts,
    s.checked_at
   FROM (public.phone_configs c
     LEFT JOIN public.phone_status s ON ((s.connection_id = c.id)))
  WHERE ((c.status)::text <> 'removed'::text);
CREATE TABLE public.connection_types (
    connection_type character varying(20) NOT NULL,
    process_name character varying(20) NOT NULL
);
CREATE TABLE public.contacts (
    connection_id bigint NOT NULL,
    user_id text NOT NULL,
    phone text,
    name text DEFAULT ''::text NOT NULL,
    username text DEFAULT ''::text NOT NULL,
    former_ids text[] DEFAULT '{}'::text[] NOT NULL,
    wants_marketing boolean,
    marketing_at timestamp with time zone,
    first_seen_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL
)
WITH (fillfactor='70');
CREATE TABLE public.inbound_journal (
    id bigint NOT NULL,
    process_name character varying(20) NOT NULL,
    source character varying(20) NOT NULL,
    connection_id bigint,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    body bytea NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    processed_at timestamp with time zone,
    outcome text DEFAULT ''::text NOT NULL
);
ALTER TABLE public.inbound_journal ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.inbound_journal_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.inbound_media (
    message_id bigint NOT NULL,
    company_id text NOT NULL,
    connection_id bigint NOT NULL,
    process_name character varying(20) NOT NULL,
    source jsonb NOT NULL,
    state character varying(20) DEFAULT 'pending'::character varying NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    not_before timestamp with time zone DEFAULT now() NOT NULL,
    incarnation text DEFAULT ''::text NOT NULL,
    sha256 text DEFAULT ''::text NOT NULL,
    mimetype text DEFAULT ''::text NOT NULL,
    size bigint DEFAULT 0 NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT inbound_media_state_check CHECK (((state)::text = ANY ((ARRAY['pending'::character varying, 'stored'::character varying, 'refused'::character varying, 'failed'::character varying])::text[])))
)
WITH (fillfactor='70');
CREATE SEQUENCE public.message_ids
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE public.inbound_messages (
    id bigint DEFAULT nextval('public.message_ids'::regclass) NOT NULL,
    company_id text NOT NULL,
    connection_id bigint NOT NULL,
    journal_id bigint,
    provider_id text NOT NULL,
    chat_id text NOT NULL,
    sender text NOT NULL,
    sender_name text DEFAULT ''::text NOT NULL,
    from_me boolean DEFAULT false NOT NULL,
    type character varying(20) NOT NULL,
    content jsonb NOT NULL,
    context jsonb DEFAULT '{}'::jsonb NOT NULL,
    at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    state character varying(20) DEFAULT 'received'::character varying NOT NULL,
    may_trigger boolean DEFAULT true NOT NULL,
    CONSTRAINT inbound_messages_state_check CHECK (((state)::text = ANY ((ARRAY['received'::character varying, 'deleted'::character varying])::text[])))
);
CREATE TABLE public.media_files (
    company_id text NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    mimetype text NOT NULL,
    filename text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    used_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT media_files_sha256_check CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT media_files_size_check CHECK ((size >= 0))
);
CREATE TABLE public.media_uploads (
    connection_id bigint NOT NULL,
    sha256 text NOT NULL,
    mimetype text NOT NULL,
    provider_id text NOT NULL,
    uploaded_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.message_events (
    id bigint NOT NULL,
    message_id bigint NOT NULL,
    state character varying(20) NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    attempt smallint DEFAULT 0 NOT NULL,
    incarnation text DEFAULT ''::text NOT NULL,
    code text DEFAULT ''::text NOT NULL,
    detail text DEFAULT ''::text NOT NULL,
    extra jsonb
);
ALTER TABLE public.message_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.message_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.messages (
    id bigint DEFAULT nextval('public.message_ids'::regclass) NOT NULL,
    company_id text NOT NULL,
    connection_id bigint NOT NULL,
    process_name character varying(20) NOT NULL,
    chat_id text NOT NULL,
    type character varying(20) NOT NULL,
    content jsonb NOT NULL,
    state character varying(20) DEFAULT 'queued'::character varying NOT NULL,
    attempt smallint DEFAULT 0 NOT NULL,
    not_before timestamp with time zone,
    incarnation text DEFAULT ''::text NOT NULL,
    claimed_at timestamp with time zone,
    token text DEFAULT ''::text NOT NULL,
    provider_id text DEFAULT ''::text NOT NULL,
    deaths smallint DEFAULT 0 NOT NULL,
    in_doubt_at timestamp with time zone,
    held_at timestamp with time zone,
    error_code text DEFAULT ''::text NOT NULL,
    error_detail text DEFAULT ''::text NOT NULL,
    idempotency_key text,
    fingerprint text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    sent_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    scheduled_for timestamp with time zone,
    forgiven smallint DEFAULT 0 NOT NULL,
    in_doubt_policy text,
    CONSTRAINT messages_in_doubt_policy_check CHECK ((in_doubt_policy = ANY (ARRAY['auto'::text, 'resend'::text, 'hold'::text]))),
    CONSTRAINT messages_state_check CHECK (((state)::text = ANY ((ARRAY['queued'::character varying, 'sending'::character varying, 'in_doubt'::character varying, 'sent'::character varying, 'delivered'::character varying, 'read'::character varying, 'failed'::character varying, 'deleted'::character varying])::text[])))
)
WITH (fillfactor='70');
CREATE VIEW public.messages_per_minute AS
 SELECT date_trunc('minute'::text, created_at) AS minute,
    process_name,
    state,
    count(*) AS messages
   FROM public.messages
  WHERE (created_at > (now() - '01:00:00'::interval))
  GROUP BY (date_trunc('minute'::text, created_at)), process_name, state;
CREATE TABLE public.pacing (
    connection_id bigint NOT NULL,
    every_s double precision DEFAULT 0 NOT NULL,
    burst double precision DEFAULT 1 NOT NULL,
    jitter double precision DEFAULT 0 NOT NULL,
    day_every_s double precision DEFAULT 0 NOT NULL,
    day_burst double precision DEFAULT 1 NOT NULL,
    pair_every_s double precision DEFAULT 0 NOT NULL,
    pair_burst double precision DEFAULT 1 NOT NULL,
    spent_until timestamp with time zone DEFAULT now() NOT NULL,
    day_spent_until timestamp with time zone DEFAULT now() NOT NULL
)
WITH (fillfactor='20');
CREATE TABLE public.page_positions (
    connection_id bigint NOT NULL,
    heard_until timestamp with time zone NOT NULL
)
WITH (fillfactor='70');
CREATE UNLOGGED TABLE public.pair_pacing (
    connection_id bigint NOT NULL,
    chat_id text NOT NULL,
    spent_until timestamp with time zone NOT NULL
)
WITH (fillfactor='70');
ALTER TABLE public.phone_configs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.phone_configs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.process_events (
    id bigint NOT NULL,
    boot_id text NOT NULL,
    seq bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    event character varying(40) NOT NULL,
    process_name character varying(20) DEFAULT ''::character varying NOT NULL,
    instance integer,
    incarnation text DEFAULT ''::text NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL
);
ALTER TABLE public.process_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.process_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.process_health (
    process_name character varying(20) NOT NULL,
    instance integer NOT NULL,
    status character varying(20) NOT NULL,
    last_heartbeat timestamp with time zone NOT NULL,
    error_count bigint DEFAULT 0 NOT NULL,
    last_error text DEFAULT ''::text NOT NULL,
    uptime_seconds double precision DEFAULT 0 NOT NULL,
    memory_usage_mb double precision DEFAULT 0 NOT NULL,
    active_connections integer DEFAULT 0 NOT NULL,
    pid integer DEFAULT 0 NOT NULL,
    host text DEFAULT ''::text NOT NULL,
    incarnation text DEFAULT ''::text NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL
);
CREATE TABLE public.process_metrics (
    id bigint NOT NULL,
    process_name character varying(20) NOT NULL,
    instance integer NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    metrics jsonb NOT NULL
);
ALTER TABLE public.process_metrics ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.process_metrics_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE VIEW public.process_status AS
 SELECT process_name,
    instance,
    public.heartbeat_status(last_heartbeat) AS status,
    status AS reported,
    last_heartbeat,
    EXTRACT(epoch FROM (now() - last_heartbeat)) AS silent_s,
    error_count,
    last_error,
    uptime_seconds,
    memory_usage_mb,
    active_connections,
    pid,
    host,
    incarnation,
    detail
   FROM public.process_health;
CREATE VIEW public.queue_depth AS
 SELECT process_name,
    state,
    count(*) AS messages,
    min(created_at) AS oldest_at
   FROM public.messages
  WHERE ((state)::text = ANY ((ARRAY['queued'::character varying, 'sending'::character varying, 'in_doubt'::character varying])::text[]))
  GROUP BY process_name, state;
CREATE VIEW public.recent_process_events AS
 SELECT at,
    process_name,
    instance,
    event,
    detail
   FROM public.process_events
  WHERE (at > (now() - '01:00:00'::interval))
  ORDER BY at DESC;
CREATE TABLE public.session_events (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    event character varying(30) NOT NULL,
    state character varying(20) DEFAULT ''::character varying NOT NULL,
    detail text DEFAULT ''::text NOT NULL,
    incarnation text DEFAULT ''::text NOT NULL
);
ALTER TABLE public.session_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.session_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.tasks (
    id bigint NOT NULL,
    company_id text NOT NULL,
    connection_id bigint,
    process_name character varying(20) NOT NULL,
    operation character varying(40) NOT NULL,
    arguments jsonb DEFAULT '{}'::jsonb NOT NULL,
    sealed text DEFAULT ''::text NOT NULL,
    repeatable boolean DEFAULT false NOT NULL,
    state character varying(20) DEFAULT 'queued'::character varying NOT NULL,
    attempt smallint DEFAULT 0 NOT NULL,
    incarnation text DEFAULT ''::text NOT NULL,
    result jsonb,
    problem_code character varying(40) DEFAULT ''::character varying NOT NULL,
    problem text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT tasks_state_check CHECK (((state)::text = ANY ((ARRAY['queued'::character varying, 'running'::character varying, 'done'::character varying, 'failed'::character varying])::text[])))
);
ALTER TABLE public.tasks ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.tasks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.templates (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    provider_id text DEFAULT ''::text NOT NULL,
    name text NOT NULL,
    language character varying(20) NOT NULL,
    category text DEFAULT ''::text NOT NULL,
    status text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    quality text DEFAULT ''::text NOT NULL,
    components jsonb DEFAULT '[]'::jsonb NOT NULL,
    status_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE public.templates ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.templates_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.timed_pauses (
    connection_id bigint NOT NULL,
    reason text NOT NULL,
    resume_at timestamp with time zone NOT NULL
);
CREATE TABLE public.yoyo_lock (
    locked integer DEFAULT 1 NOT NULL,
    ctime timestamp without time zone,
    pid integer NOT NULL
);
INSERT INTO public._yoyo_migration VALUES
	('86cf6e8c6754a2a37677db625a0b9e66e0234c76caa0cb481240ea25b91c2b60', '0001.schema', '2026-11-30 04:53:03.644321'),
	('983858c7c1eb8258d996784222724106907fe0c52704fa02efe1aa2fa0153033', '0002.pacing', '2026-11-30 04:53:03.71616'),
	('a39914baa7d10e1d43a3e3c746afac83df3c1b9c35ae783d8919b0cc97f72734', '0003.media', '2026-11-30 04:53:03.781762'),
	('7a7954f79fec2a595c82d2cd20389ffa55a65767be41e9f20321cd527bbfad1b', '0004.inbound', '2026-11-30 04:53:03.908407'),
	('2c15e7ab9b8d72afb22cac921fe5ec5957d03c1a58687515748862c5aee6221e', '0005.connections', '2026-11-30 04:53:04.017108'),
	('1886a3c2671a6346acaf457a6a6b19b5c71c1c03fc8dff3711a0edd9f01d96a4', '0006.sessions', '2026-11-30 04:53:04.063963'),
	('387c29270097ceb537aec031cc78e9c2f7aae1ede28fda82880fe86e0de4e7fa', '0007.retention', '2026-11-30 04:53:04.073173'),
	('b4166ce6c158a8d67104e6f1c25f50c283a22aa1139eb179b2956c9670223b82', '0008.acting', '2026-11-30 04:53:04.103784'),
	('e227031c1c76038569f506d095c49560c5b7c403cdc9b1b43a4236dc5d1cc0ed', '0009.pages', '2026-11-30 04:53:04.123243');
INSERT INTO public._yoyo_version VALUES
	(2, '2026-11-30 04:53:03.094691');
INSERT INTO public.account_events OVERRIDING SYSTEM VALUE VALUES
	(2, 'meta', '200', 'flows', '{"x": 1}', '2026-11-20 08:00:00+00', 'n2', 1, NULL, '2026-11-30 04:53:04.758824+00'),
	(1, 'meta', '200', 'account_update', '{"event": "VERIFIED"}', '2026-11-20 08:00:00+00', 'n1', 1, '2026-11-30 04:53:04.798599+00', '2026-11-30 04:53:04.758824+00');
INSERT INTO public.companies VALUES
	('acme', '', NULL, '2026-11-30 04:53:04.583974+00');
INSERT INTO public.connection_types VALUES
	('wwebjs', 'webdriver'),
	('meta_direct', 'meta'),
	('meta_embedded', 'meta'),
	('360dialog', 'meta'),
	('messenger', 'meta'),
	('instagram', 'meta');
INSERT INTO public.inbound_journal OVERRIDING SYSTEM VALUE VALUES
	(1, 'meta', 'meta', NULL, '2026-11-30 04:53:04.748306+00', '\x7b7d', 0, NULL, '');
INSERT INTO public.message_events OVERRIDING SYSTEM VALUE VALUES
	(1, 1, 'queued', '2026-11-30 04:53:04.618708+00', 0, '', '', '', NULL),
	(2, 2, 'queued', '2026-11-30 04:53:04.618708+00', 0, '', '', '', NULL),
	(3, 3, 'queued', '2026-11-30 04:53:04.618708+00', 0, '', '', '', NULL),
	(4, 4, 'queued', '2026-11-30 04:53:04.618708+00', 0, '', '', '', NULL),
	(5, 1, 'sending', '2026-11-30 04:53:04.627475+00', 1, 'meta-0.aaa', '', '', NULL),
	(6, 2, 'sending', '2026-11-30 04:53:04.627475+00', 1, 'meta-0.aaa', '', '', NULL),
	(7, 3, 'sending', '2026-11-30 04:53:04.627475+00', 1, 'meta-0.aaa', '', '', NULL),
	(8, 4, 'sending', '2026-11-30 04:53:04.627475+00', 1, 'meta-0.aaa', '', '', NULL),
	(9, 1, 'sent', '2026-11-30 04:53:04.658095+00', 1, 'meta-0.aaa', '', '', NULL),
	(10, 2, 'queued', '2026-11-30 04:53:04.658095+00', 1, 'meta-0.aaa', '130429', 'rate limit', NULL),
	(11, 3, 'in_doubt', '2026-11-30 04:53:04.658095+00', 1, 'meta-0.aaa', 'timeout', 'no answer', NULL),
	(12, 4, 'failed', '2026-11-30 04:53:04.658095+00', 1, 'meta-0.aaa', '131026', 'undeliverable', NULL),
	(13, 1, 'delivered', '2026-11-20 08:00:00+00', 1, '', '', '', '{"status": "delivered"}'),
	(14, 1, 'read', '2026-11-20 08:00:05+00', 1, '', '', '', '{"status": "read"}'),
	(15, 4, 'queued', '2026-11-30 04:53:04.680511+00', 1, '', 'redriven', '', NULL),
	(16, 5, 'queued', '2026-11-30 04:53:04.690709+00', 0, '', '', '', NULL),
	(17, 5, 'sending', '2026-11-30 04:53:04.694687+00', 1, 'meta-0.aaa', '', '', NULL),
	(18, 5, 'sent', '2026-11-30 04:53:04.69872+00', 1, 'meta-0.aaa', '', '', NULL),
	(19, 1, 'read', '2026-11-30 04:53:04.69872+00', 1, '', 'edited', 'by message 5', NULL);
INSERT INTO public.messages VALUES
	(2, 'acme', 1, 'meta', '4915100000002', 'text', '{"body": "hello"}', 'queued', 1, '2026-11-30 04:53:05.658095+00', 'meta-0.aaa', '2026-11-30 04:53:04.627475+00', 'bulkhead:2:1', '', 0, NULL, NULL, '130429', 'rate limit', NULL, '', '2026-11-30 04:53:04.618708+00', NULL, '2026-11-30 04:53:04.658095+00', NULL, 0, NULL),
	(3, 'acme', 1, 'meta', '4915100000003', 'text', '{"body": "hello"}', 'in_doubt', 1, NULL, 'meta-0.aaa', '2026-11-30 04:53:04.627475+00', 'bulkhead:3:1', '', 0, '2026-11-30 04:53:04.658095+00', NULL, 'timeout', 'no answer', NULL, '', '2026-11-30 04:53:04.618708+00', NULL, '2026-11-30 04:53:04.658095+00', NULL, 0, NULL),
	(4, 'acme', 1, 'meta', '4915100000004', 'text', '{"body": "hello"}', 'queued', 1, NULL, 'meta-0.aaa', '2026-11-30 04:53:04.627475+00', 'bulkhead:4:1', '', 0, NULL, NULL, '', '', NULL, '', '2026-11-30 04:53:04.618708+00', NULL, '2026-11-30 04:53:04.680511+00', NULL, 1, NULL),
	(5, 'acme', 1, 'meta', '4915100000001', 'edit', '{"body": "hello again", "target": 1, "target_id": "1"}', 'sent', 1, NULL, 'meta-0.aaa', '2026-11-30 04:53:04.694687+00', 'bulkhead:5:1', 'wamid.2', 0, NULL, NULL, '', '', NULL, '', '2026-11-30 04:53:04.690709+00', '2026-11-30 04:53:04.69872+00', '2026-11-30 04:53:04.69872+00', NULL, 0, NULL),
	(1, 'acme', 1, 'meta', '4915100000001', 'text', '{"body": "hello again", "edited_at": "2026-11-30T04:53:04.69872+00:00"}', 'read', 1, NULL, 'meta-0.aaa', '2026-11-30 04:53:04.627475+00', 'bulkhead:1:1', 'wamid.1', 0, NULL, NULL, '', '', NULL, '', '2026-11-30 04:53:04.618708+00', '2026-11-30 04:53:04.658095+00', '2026-11-30 04:53:04.69872+00', NULL, 0, NULL);
INSERT INTO public.phone_configs OVERRIDING SYSTEM VALUE VALUES
	(1, 'acme', 0, 'meta_direct', 'meta', 'active', '', 'linked', '', '', '{}', '2026-11-30 04:53:04.598876+00', '2026-11-30 04:53:04.598876+00', '', NULL);
INSERT INTO public.process_events OVERRIDING SYSTEM VALUE VALUES
	(1, 'boot-1', 1, '2026-11-20 08:00:01+00', 'orchestrator_started', '', NULL, '', '{"pid": 1}'),
	(2, 'boot-1', 2, '2026-11-20 08:00:02+00', 'started', 'meta', 0, 'meta-0.aaa', '{"pid": 2}'),
	(3, 'boot-1', 3, '2026-11-20 08:00:03+00', 'exited', 'meta', 0, 'meta-0.aaa', '{"signal": 9}'),
	(4, 'boot-1', 4, '2026-11-20 08:00:04+00', 'slot_free', 'meta', 0, 'meta-0.aaa', '{}'),
	(5, 'boot-2', 5, '2026-11-20 08:00:01+00', 'orchestrator_started', '', NULL, '', '{"pid": 1}');
INSERT INTO public.session_events OVERRIDING SYSTEM VALUE VALUES
	(1, 1, '2026-11-20 08:00:00+00', 'started', 'starting', '', 'webdriver-0.bbb'),
	(2, 1, '2026-11-20 08:00:00+00', 'state', 'ready', 'linked', 'webdriver-0.bbb');
SELECT pg_catalog.setval('public.account_events_id_seq', 2, true);
SELECT pg_catalog.setval('public.inbound_journal_id_seq', 1, true);
SELECT pg_catalog.setval('public.message_events_id_seq', 19, true);
SELECT pg_catalog.setval('public.message_ids', 5, true);
SELECT pg_catalog.setval('public.phone_configs_id_seq', 1, true);
SELECT pg_catalog.setval('public.process_events_id_seq', 5, true);
SELECT pg_catalog.setval('public.process_metrics_id_seq', 1, false);
SELECT pg_catalog.setval('public.session_events_id_seq', 2, true);
SELECT pg_catalog.setval('public.tasks_id_seq', 1, false);
SELECT pg_catalog.setval('public.templates_id_seq', 1, false);
ALTER TABLE ONLY public._yoyo_log
    ADD CONSTRAINT _yoyo_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public._yoyo_migration
    ADD CONSTRAINT _yoyo_migration_pkey PRIMARY KEY (migration_hash);
ALTER TABLE ONLY public._yoyo_version
    ADD CONSTRAINT _yoyo_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.account_events
    ADD CONSTRAINT account_events_name_key UNIQUE (name);
ALTER TABLE ONLY public.account_events
    ADD CONSTRAINT account_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.companies
    ADD CONSTRAINT companies_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.connection_types
    ADD CONSTRAINT connection_types_pkey PRIMARY KEY (connection_type);
ALTER TABLE ONLY public.contacts
    ADD CONSTRAINT contacts_pkey PRIMARY KEY (connection_id, user_id);
ALTER TABLE ONLY public.inbound_journal
    ADD CONSTRAINT inbound_journal_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.inbound_media
    ADD CONSTRAINT inbound_media_pkey PRIMARY KEY (message_id);
ALTER TABLE ONLY public.inbound_messages
    ADD CONSTRAINT inbound_messages_connection_id_provider_id_key UNIQUE (connection_id, provider_id);
ALTER TABLE ONLY public.inbound_messages
    ADD CONSTRAINT inbound_messages_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.media_files
    ADD CONSTRAINT media_files_pkey PRIMARY KEY (company_id, sha256);
ALTER TABLE ONLY public.media_uploads
    ADD CONSTRAINT media_uploads_pkey PRIMARY KEY (connection_id, sha256, mimetype);
ALTER TABLE ONLY public.message_events
    ADD CONSTRAINT message_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.pacing
    ADD CONSTRAINT pacing_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY public.page_positions
    ADD CONSTRAINT page_positions_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY public.pair_pacing
    ADD CONSTRAINT pair_pacing_pkey PRIMARY KEY (connection_id, chat_id);
ALTER TABLE ONLY public.phone_configs
    ADD CONSTRAINT phone_configs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.phone_status
    ADD CONSTRAINT phone_status_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY public.process_events
    ADD CONSTRAINT process_events_boot_id_seq_key UNIQUE (boot_id, seq);
ALTER TABLE ONLY public.process_events
    ADD CONSTRAINT process_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.process_health
    ADD CONSTRAINT process_health_pkey PRIMARY KEY (process_name, instance);
ALTER TABLE ONLY public.process_metrics
    ADD CONSTRAINT process_metrics_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.session_events
    ADD CONSTRAINT session_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.templates
    ADD CONSTRAINT templates_connection_id_name_language_key UNIQUE (connection_id, name, language);
ALTER TABLE ONLY public.templates
    ADD CONSTRAINT templates_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.timed_pauses
    ADD CONSTRAINT timed_pauses_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY public.yoyo_lock
    ADD CONSTRAINT yoyo_lock_pkey PRIMARY KEY (locked);
CREATE INDEX account_events_account ON public.account_events USING btree (account_id, id);
CREATE INDEX account_events_open ON public.account_events USING btree (process_name, id) WHERE (handled_at IS NULL);
CREATE INDEX contacts_phone ON public.contacts USING btree (connection_id, phone) WHERE (phone IS NOT NULL);
CREATE INDEX inbound_journal_named ON public.inbound_journal USING btree (id) WHERE (outcome <> ''::text);
CREATE INDEX inbound_journal_open ON public.inbound_journal USING btree (process_name, id) WHERE (processed_at IS NULL);
CREATE INDEX inbound_journal_received_at ON public.inbound_journal USING btree (source, received_at);
CREATE INDEX inbound_media_named ON public.inbound_media USING btree (message_id) WHERE ((state)::text = ANY ((ARRAY['refused'::character varying, 'failed'::character varying])::text[]));
CREATE INDEX inbound_media_pending ON public.inbound_media USING btree (process_name, not_before) WHERE ((state)::text = 'pending'::text);
CREATE INDEX inbound_messages_by_chat ON public.inbound_messages USING btree (company_id, chat_id, created_at DESC, id DESC);
CREATE INDEX inbound_messages_changes ON public.inbound_messages USING btree (connection_id, ((content ->> 'target'::text))) WHERE ((type)::text = ANY ((ARRAY['edit'::character varying, 'revoke'::character varying])::text[]));
CREATE INDEX inbound_messages_journal_id ON public.inbound_messages USING btree (journal_id) WHERE (journal_id IS NOT NULL);
CREATE INDEX inbound_messages_reactions ON public.inbound_messages USING btree (((content ->> 'target'::text))) WHERE ((type)::text = 'reaction'::text);
CREATE INDEX media_files_used_at ON public.media_files USING btree (used_at);
CREATE INDEX message_events_message_id ON public.message_events USING btree (message_id, id);
CREATE INDEX messages_by_chat ON public.messages USING btree (company_id, chat_id, created_at DESC, id DESC);
CREATE INDEX messages_for_humans ON public.messages USING btree (company_id, id) WHERE (((state)::text = 'failed'::text) OR (held_at IS NOT NULL));
CREATE UNIQUE INDEX messages_idempotency_key ON public.messages USING btree (company_id, idempotency_key) WHERE (idempotency_key IS NOT NULL);
CREATE INDEX messages_in_doubt ON public.messages USING btree (process_name, in_doubt_at) WHERE ((state)::text = 'in_doubt'::text);
CREATE INDEX messages_open_by_chat ON public.messages USING btree (connection_id, chat_id, id) WHERE ((state)::text = ANY ((ARRAY['queued'::character varying, 'sending'::character varying, 'in_doubt'::character varying])::text[]));
CREATE INDEX messages_provider_id ON public.messages USING btree (provider_id, connection_id) WHERE (provider_id <> ''::text);
CREATE INDEX messages_queued ON public.messages USING btree (connection_id, id) WHERE (((state)::text = 'queued'::text) AND (scheduled_for IS NULL));
CREATE INDEX messages_reactions ON public.messages USING btree (((content ->> 'target'::text))) WHERE ((type)::text = 'reaction'::text);
CREATE INDEX messages_scheduled ON public.messages USING btree (connection_id, scheduled_for) WHERE (((state)::text = 'queued'::text) AND (scheduled_for IS NOT NULL));
CREATE INDEX messages_sending ON public.messages USING btree (incarnation) WHERE ((state)::text = 'sending'::text);
CREATE INDEX messages_token ON public.messages USING btree (token) WHERE (token <> ''::text);
CREATE INDEX phone_configs_account_id ON public.phone_configs USING btree (account_id) WHERE (account_id <> ''::text);
CREATE UNIQUE INDEX phone_configs_phone_index ON public.phone_configs USING btree (company_id, phone_index) WHERE ((status)::text <> 'removed'::text);
CREATE INDEX phone_configs_process_name_status ON public.phone_configs USING btree (process_name, status);
CREATE INDEX phone_configs_waba_id ON public.phone_configs USING btree (waba_id) WHERE (waba_id <> ''::text);
CREATE INDEX phone_status_process_name_status ON public.phone_status USING btree (process_name, status);
CREATE INDEX process_events_by_process ON public.process_events USING btree (process_name, at DESC);
CREATE INDEX process_events_slot_free ON public.process_events USING btree (incarnation) WHERE ((event)::text = 'slot_free'::text);
CREATE INDEX process_health_process_name_status ON public.process_health USING btree (process_name, status);
CREATE INDEX process_metrics_by_process ON public.process_metrics USING btree (process_name, instance, at DESC);
CREATE INDEX session_events_by_connection ON public.session_events USING btree (connection_id, id DESC);
CREATE INDEX tasks_by_connection ON public.tasks USING btree (connection_id);
CREATE INDEX tasks_finished ON public.tasks USING btree (finished_at) WHERE (finished_at IS NOT NULL);
CREATE INDEX tasks_queued ON public.tasks USING btree (process_name, id) WHERE ((state)::text = 'queued'::text);
CREATE INDEX tasks_running ON public.tasks USING btree (incarnation) WHERE ((state)::text = 'running'::text);
CREATE INDEX templates_provider_id ON public.templates USING btree (provider_id) WHERE (provider_id <> ''::text);
CREATE TRIGGER messages_apply_to_target AFTER UPDATE OF state ON public.messages FOR EACH ROW WHEN ((((new.type)::text = ANY ((ARRAY['edit'::character varying, 'delete'::character varying])::text[])) AND ((new.state)::text = ANY ((ARRAY['sent'::character varying, 'delivered'::character varying, 'read'::character varying])::text[])) AND ((old.state)::text <> ALL ((ARRAY['sent'::character varying, 'delivered'::character varying, 'read'::character varying])::text[])))) EXECUTE FUNCTION public.apply_to_target();
CREATE TRIGGER phone_configs_process_name BEFORE INSERT OR UPDATE ON public.phone_configs FOR EACH ROW EXECUTE FUNCTION public.set_process_name_from_connection_type();
CREATE TRIGGER phone_status_process_name BEFORE INSERT OR UPDATE ON public.phone_status FOR EACH ROW EXECUTE FUNCTION public.set_process_name_from_connection();
ALTER TABLE ONLY public.account_events
    ADD CONSTRAINT account_events_journal_id_fkey FOREIGN KEY (journal_id) REFERENCES public.inbound_journal(id) ON DELETE SET NULL;
ALTER TABLE ONLY public.contacts
    ADD CONSTRAINT contacts_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.inbound_journal
    ADD CONSTRAINT inbound_journal_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.inbound_media
    ADD CONSTRAINT inbound_media_company_id_fkey FOREIGN KEY (company_id) REFERENCES public.companies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.inbound_media
    ADD CONSTRAINT inbound_media_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.inbound_media
    ADD CONSTRAINT inbound_media_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.inbound_messages(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.inbound_messages
    ADD CONSTRAINT inbound_messages_company_id_fkey FOREIGN KEY (company_id) REFERENCES public.companies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.inbound_messages
    ADD CONSTRAINT inbound_messages_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.inbound_messages
    ADD CONSTRAINT inbound_messages_journal_id_fkey FOREIGN KEY (journal_id) REFERENCES public.inbound_journal(id) ON DELETE SET NULL;
ALTER TABLE ONLY public.media_files
    ADD CONSTRAINT media_files_company_id_fkey FOREIGN KEY (company_id) REFERENCES public.companies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.media_uploads
    ADD CONSTRAINT media_uploads_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.message_events
    ADD CONSTRAINT message_events_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.messages(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_company_id_fkey FOREIGN KEY (company_id) REFERENCES public.companies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.pacing
    ADD CONSTRAINT pacing_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.page_positions
    ADD CONSTRAINT page_positions_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.phone_configs
    ADD CONSTRAINT phone_configs_company_id_fkey FOREIGN KEY (company_id) REFERENCES public.companies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.phone_configs
    ADD CONSTRAINT phone_configs_connection_type_fkey FOREIGN KEY (connection_type) REFERENCES public.connection_types(connection_type);
ALTER TABLE ONLY public.phone_status
    ADD CONSTRAINT phone_status_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.session_events
    ADD CONSTRAINT session_events_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_company_id_fkey FOREIGN KEY (company_id) REFERENCES public.companies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE SET NULL;
ALTER TABLE ONLY public.templates
    ADD CONSTRAINT templates_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.timed_pauses
    ADD CONSTRAINT timed_pauses_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.phone_configs(id) ON DELETE CASCADE;
