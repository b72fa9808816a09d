"""Every setting (name, default, help), and the only reader of the process environment.

`Settings` holds what an operator sets; `ChildEnvironment` holds what the orchestrator sets for one child. A field's
environment variable is its name in capitals. Settings of the kinds are made from the rows of `shared.kinds`. Nothing is
read at import: call `load` once, in the entry file, and pass the result on.
"""

from __future__ import annotations

import copy
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shared.errors import SettingsInvalid
from shared.kinds import COMMON_SETTINGS, KINDS, ProcessKind, Variable, kind_settings
from shared.variables import VariableReader, made_by, port_problems

_API_KEY_LEAST: Final = 8
"""Characters of the shortest API key: a guard against placeholders; the key that is made at first start has 43."""
_HOME_MOST: Final = 900
"""Bytes of the longest BULKHEAD_HOME: PostgreSQL takes paths of at most 1,023 bytes, and ours lie below it."""
_COMPANY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""A host's name: it becomes part of names of files, rows and series."""
_CHECKOUT: Final = Path(__file__).resolve().parents[1]


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return BULKHEAD_HOME's default: `var` of the checkout that this file belongs to, else the user's state
    directory."""
    # an installed package has no script/run; its files may lie where nothing can be written
    if (_CHECKOUT / "script" / "run").is_file():
        return _CHECKOUT / "var"
    state = environ.get("XDG_STATE_HOME", "").strip()
    # the XDG specification: a relative path is to be ignored
    return (Path(state) if state.startswith("/") else Path("~/.local/state").expanduser()) / "bulkhead"


def _setting(
    default: Any,
    purpose: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    schemes: tuple[str, ...] = (),
    secret: bool = False,
) -> Any:
    variable = Variable(
        name="", default=default, purpose=purpose, choices=choices, low=low, high=high, schemes=schemes, secret=secret
    )
    # a factory, so that the class itself has no value: a setting that a process may not see is then really absent
    return field(default_factory=lambda: default, repr=not secret, metadata={"variable": variable})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator can set. The table in docs/settings.md is made from these fields and tested against them."""

    bulkhead_home: Path = field(
        default_factory=default_home,
        metadata={
            "variable": Variable(
                name="",
                default="",
                purpose="Directory for data, logs, sockets, keys and browser profiles; "
                "empty: `var` of the checkout, else `~/.local/state/bulkhead`.",
            )
        },
    )
    bulkhead_host: str = _setting(
        "", "Name of this host among those that share one PostgreSQL; empty: the machine's host name."
    )
    bind_address: str = _setting(
        "127.0.0.1", "Address that the public ports listen on; put a TLS proxy in front before you open it."
    )
    admin_address: str = _setting(
        "127.0.0.1",
        "Address that each slot's own endpoint listens on, which has no authentication: another one only where a "
        "network policy closes it, as in Kubernetes.",
    )
    admin_port: int = _setting(
        3200, "First of the loopback ports for each slot's /livez, /readyz and /metrics.", low=1, high=65435
    )
    only: str = _setting("", "Comma-separated kinds to run, for example 'api,meta'; empty: all that are needed.")

    database_url: str = _setting(
        "",
        "PostgreSQL 15+ address; empty: an embedded server under BULKHEAD_HOME.",
        schemes=("postgresql", "postgres"),
        secret=True,
    )
    database_idle_s: float = _setting(30.0, "Seconds after which an idle database connection is closed.", low=1)
    database_connect_s: float = _setting(5.0, "Longest wait for a database connection, new or from the pool.", low=0.1)
    database_query_s: float = _setting(5.0, "Longest time for one database transaction.", low=0.1)
    row_security: str = _setting(
        "available",
        "required: do not start on a PostgreSQL in which the roles of row-level security cannot be made.",
        choices=("available", "required"),
    )
    redis_url: str = _setting(
        "",
        "Redis 6.2+ address; empty: an embedded server under BULKHEAD_HOME.",
        schemes=("redis", "rediss", "unix"),
        secret=True,
    )
    redis_timeout_s: float = _setting(2.0, "Longest wait for one answer of Redis.", low=0.5, high=30)

    api_key: str = _setting(
        "", "Key of API clients; empty: made at first start and kept in BULKHEAD_HOME/api_key.", secret=True
    )
    trusted_proxies: str = _setting(
        "", "Networks of proxies whose `X-Forwarded-For` the API believes: `10.0.0.0/8,::1`; empty: none."
    )
    cors_origins: str = _setting(
        "", "Origins of pages that may use the API: `https://app.example.com`, or `*` for any; empty: none."
    )
    # the first key, API_KEY, has no limits
    limit_requests_per_second: float = _setting(0.0, "Requests a second of one API key; 0: no limit.", low=0)
    limit_messages_per_second: float = _setting(0.0, "Messages a second by one API key; 0: no limit.", low=0)
    limit_file_mb_per_hour: float = _setting(0.0, "Megabytes of files an hour by one API key; 0: no limit.", low=0)
    limit_open_waits: int = _setting(0, "Waiting requests of one API key in one API process; 0: no limit.", low=0)
    company_limit_requests_per_second: float = _setting(0.0, "The same for all keys of one company.", low=0)
    company_limit_messages_per_second: float = _setting(0.0, "The same for all keys of one company.", low=0)
    company_limit_file_mb_per_hour: float = _setting(0.0, "The same for all keys of one company.", low=0)
    company_limit_open_waits: int = _setting(0, "The same for all keys of one company.", low=0)
    secret_key_id: str = _setting("k1", "Name of the key that new secrets are encrypted with.")
    secret_encryption_key: str = _setting(
        "", "Base64 of 32 bytes; empty: made at first start and kept in BULKHEAD_HOME/secret_key.", secret=True
    )
    secret_old_keys: str = _setting(
        "",
        "Earlier keys, as NAME=BASE64 separated by commas: they open what they sealed until `bulkhead reseal` has run.",
        secret=True,
    )

    graph_base_url: str = _setting(
        "", "Graph API; empty: the sandbox when it runs, else https://graph.facebook.com.", schemes=("https", "http")
    )
    graph_version: str = _setting("v23.0", "Version in Graph API addresses.")
    d360_base_url: str = _setting(
        "", "360dialog; empty: the sandbox when it runs, else https://waba-v2.360dialog.io.", schemes=("https", "http")
    )
    instagram_base_url: str = _setting(
        "",
        "Instagram API with Instagram Login; empty: the sandbox when it runs, else https://graph.instagram.com.",
        schemes=("https", "http"),
    )
    sandbox_url: str = _setting(
        "", "Where our own sandbox listens; the orchestrator sets it.", schemes=("https", "http")
    )
    whatsapp_web_url: str = _setting(
        "", "WhatsApp Web; empty: the sandbox when it runs, else https://web.whatsapp.com/.", schemes=("https", "http")
    )
    public_url: str = _setting(
        "",
        "Address at which the providers reach META_PORT, without a path; for setting up 360dialog's webhooks.",
        schemes=("https", "http"),
    )
    meta_app_id: str = _setting("", "Meta app's id; needed for embedded signup and for looking at tokens.")
    meta_app_secret: str = _setting("", "Meta app's secret: webhooks that it did not sign are refused.", secret=True)
    meta_verify_token: str = _setting("", "Token that Meta repeats when it verifies the webhook address.", secret=True)
    meta_sha1_signatures: str = _setting(
        "off",
        "Whether webhooks of pages and Instagram accounts may be signed by SHA-1 alone, as old ones are.",
        choices=("off", "on"),
    )
    meta_access_token: str = _setting(
        "", "Access token of a real Meta number; set together with META_PHONE_NUMBER_ID.", secret=True
    )
    meta_phone_number_id: str = _setting("", "Id of a real Meta number; served as phoneIndex 0 of COMPANY_ID.")
    company_id: str = _setting("demo", "Company that the first connections belong to.")
    sandbox: str = _setting(
        "auto",
        "Local stand-ins for Meta and WhatsApp Web; auto: when there are no Meta credentials.",
        choices=("auto", "on", "off"),
    )
    sandbox_access_token: str = _setting(
        "", "Access token that the sandbox's Graph API takes; made at first start by the orchestrator.", secret=True
    )
    sandbox_d360_api_key: str = _setting(
        "", "API key that the sandbox's 360dialog takes; made at first start by the orchestrator.", secret=True
    )
    sandbox_d360_webhook_secret: str = _setting(
        "", "Secret header's value on the sandbox's 360dialog webhooks; made at first start.", secret=True
    )

    send_attempts: int = _setting(3, "Attempts before a message is a dead letter.", low=1, high=100)
    webdriver_session_in_flight: int = _setting(
        2, "Sends in flight at once of one browser session: one in its page, the next ones ready.", low=1, high=500
    )
    # 80: what Meta grants a number from the start; a number with the higher throughput has it in its options
    meta_messages_per_second: float = _setting(80.0, "Rate limit for one number; 0: no limit.", low=0)
    meta_pair_limit: str = _setting(
        "on", "Whether one number sends one user at most 1 message each 6 s, 45 at once.", choices=("on", "off")
    )
    webdriver_pacing: str = _setting(
        "auto",
        "Human pace and breaker for browser sessions; auto: only at WhatsApp itself.",
        choices=("auto", "on", "off"),
    )
    webdriver_messages_per_minute: float = _setting(
        8.0, "Rate of one browser session beyond its burst; 0: no limit.", low=0
    )
    webdriver_burst: int = _setting(30, "Messages that a browser session may send at once after a pause.", low=1)
    webdriver_messages_per_day: int = _setting(
        1000, "Most messages of one browser session in any 24 hours; 0: no ceiling.", low=0
    )
    webdriver_breaker: int = _setting(
        10, "Failed sends in a row after which a browser session's connection is paused; 0: never.", low=0
    )
    # `auto` by default: the one policy that neither repeats a message without evidence nor leaves all to a human
    in_doubt_policy: str = _setting(
        "auto", "What to do with a message that may have been sent.", choices=("auto", "resend", "hold")
    )
    in_doubt_window_s: float = _setting(10.0, "How long reconciliation waits before the policy decides.", low=0)
    # 70 s: Meta repeats a POST whose connection broke within a minute (docs/adr/0035-whose-webhooks-prove-what.md)
    webhook_repeat_s: float = _setting(
        70.0,
        "How long after a process's death a provider may still repeat a webhook that the process had in hand.",
        low=0,
    )

    media_storage: str = _setting(
        "", "Where files are kept: s3://bucket/prefix; empty: BULKHEAD_HOME/media.", schemes=("s3",)
    )
    media_s3_url: str = _setting("", "Address of an S3 service other than Amazon's.", schemes=("https", "http"))
    media_s3_region: str = _setting("us-east-1", "Region of the bucket.")
    media_s3_key_id: str = _setting("", "Access key id for the bucket; empty: what the machine itself is allowed.")
    media_s3_secret: str = _setting("", "Secret access key for the bucket.", secret=True)
    media_retention_days: float = _setting(0.0, "Days after which an unused file is deleted; 0: never.", low=0)
    media_fetch_s: float = _setting(60.0, "Longest time for fetching one file of a message from its provider.", low=1)
    media_fetches: int = _setting(8, "Files of messages that one process fetches at once.", low=1, high=100)
    media_inbound_most_mb: int = _setting(100, "Largest file of a message that is fetched, in MB.", low=1, high=2000)
    media_fetch_private: str = _setting(
        "off", "Whether files may be fetched from addresses in private networks.", choices=("off", "on")
    )

    # six hours: often enough to warn of a token's end days before it (`EXPIRY_WARNING_DAYS`)
    connection_check_s: float = _setting(
        21600.0, "Interval at which each connection's number and token are looked at; 0: never by itself.", low=0
    )
    expiry_warning_days: float = _setting(7.0, "How long before its end an access token is warned of.", low=0)

    chromium_path: str = _setting(
        "", "Chromium's executable; empty: chromium, chromium-browser or google-chrome on PATH."
    )
    session_starts: int = _setting(
        0, "Browser sessions that start at the same time; 0: one for each processor, 2 to 8.", low=0, high=50
    )
    # proportional set size: the plain sum counts the pages that Chromium's processes share several times
    # (docs/adr/0013-memory-by-proportional-set.md). A fresh browser has some 200 MB; two limits, so that most are
    # replaced at a quiet moment and few in the middle of a send
    # (docs/adr/0023-browsers-are-replaced-before-they-burst.md)
    session_memory_soft_mb: float = _setting(
        800.0, "Memory (PSS) of one browser above which it is replaced at a quiet moment; 0: no limit.", low=0
    )
    session_memory_hard_mb: float = _setting(
        1400.0, "Memory (PSS) of one browser above which it is killed and restarted; 0: no limit.", low=0
    )
    session_max_age_h: float = _setting(
        24.0, "Hours after which a browser is replaced at a quiet moment; 0: never.", low=0
    )
    session_cpu_most: float = _setting(
        0.8, "Processors that one browser may use for a minute before it is replaced; 0: no limit.", low=0
    )
    # every replacement of a browser is a connect, and an account that connects all the time is banned
    session_connects_per_hour: int = _setting(
        20, "Connects of one session within an hour after which it is quarantined: ban protection.", low=2
    )
    web_build_file: str = _setting(
        "", "File with a stored build (HTML) of WhatsApp Web to use in place of the newest; empty: the newest."
    )
    wa_js_path: str = _setting(
        "", "The page library for real WhatsApp Web; empty: fetched from npm at a pinned version on first use."
    )
    heartbeat_s: float = _setting(10.0, "Interval of the heartbeat row.", low=0.1, high=60)
    retention_days: float = _setting(
        30.0, "Days that processes' figures and events and raw inbound events are kept; 0: for ever.", low=0
    )
    metrics_retention_days: float = _setting(
        7.0, "Days that processes' metrics are kept, about 100 MB a day; 0: as long as RETENTION_DAYS.", low=0
    )
    message_retention_days: float = _setting(
        0.0, "Days that finished messages, received messages and their histories are kept; 0: for ever.", low=0
    )
    chaos: str = _setting(
        "off", "Whether this copy may be broken on purpose; a precondition of CRASH_POINTS.", choices=("off", "on")
    )
    crash_points: str = _setting("", "Places at which processes shall die, see docs/chaos.md; only with CHAOS=on.")
    log_level: str = _setting("info", "Least severe log lines to write.", choices=("debug", "info", "warning", "error"))
    log_max_mb: float = _setting(20.0, "Size at which a slot's log file is rotated.", low=0.01)
    log_keep: int = _setting(5, "Rotated log files kept of each.", low=1, high=100)

    kinds: tuple[ProcessKind, ...] = KINDS
    """The registry with the operator's values."""
    values: Mapping[str, str | int | float] = field(default_factory=dict, repr=False)
    """Variables of single kinds (`ProcessKind.variables`) that are set, by name."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Explain why a field is missing."""
            raise AttributeError(
                f"this process may not see the setting {name!r}; add it to the settings (or secrets) of its kind's row"
                if name in _FIELDS
                else f"no setting {name!r}"
            )

    @property
    def host(self) -> str:
        """Name of this host among those that share one PostgreSQL."""
        return self.bulkhead_host or socket.gethostname()

    def path(self, *parts: str) -> Path:
        """Return a path below BULKHEAD_HOME, absolute."""
        return self.bulkhead_home.joinpath(*parts)

    def kind(self, name: str) -> ProcessKind:
        """Return a kind's row with the operator's values. Raises `KeyError` when there is no such kind."""
        return self._by_name[name]

    def port(self, kind: str) -> int:
        """Return a kind's public port; 0: it has none, or this registry lacks the kind."""
        row = self._by_name.get(kind)
        return row.port if row else 0

    @cached_property
    def _by_name(self) -> Mapping[str, ProcessKind]:
        return {row.name: row for row in self.kinds}

    def own(self, name: str) -> str | int | float:
        """Return the value of a variable that one kind's row declares. Raises `KeyError` when none of this process
        does."""
        for row in self.kinds:
            for variable in row.variables:
                if variable.name == name:
                    return self.values.get(name, variable.default)
        raise KeyError(f"no kind declares the variable {name}")

    def seen_by(self, row: ProcessKind) -> Settings:
        """Return these settings without what processes of a kind may not see: reading that raises `AttributeError`."""
        # a copy whose fields are removed, not emptied: a default in place of a secret would go unnoticed
        seen = copy.copy(self)
        # frozen dataclass: only `object` itself may remove a field
        for name in _FIELDS.keys() - visible_fields(row):
            object.__delattr__(seen, name)
        return seen


@dataclass(frozen=True, kw_only=True)
class ChildEnvironment:
    """What the orchestrator passes to a child about itself. A process that is started by hand gets values from its
    entry file.
    """

    process_name: str = _setting("", "Kind of this process.")
    process_instance: int = _setting(0, "Number of this slot within its kind.", low=0)
    process_incarnation: str = _setting("", "Name of this life of the slot, written into every claim.")
    port: int = _setting(0, "The kind's public port; 0: none.", low=0, high=65535)
    process_admin_port: int = _setting(0, "This slot's own loopback port.", low=0, high=65535)
    listen_fd: int = _setting(-1, "Inherited descriptor of the kind's listening socket; -1: bind PORT yourself.")
    slot_lock_fd: int = _setting(-1, "Inherited descriptor of the slot's lock; -1: take the lock yourself.")
    notify_socket: str = _setting("", "Datagram socket of the orchestrator (sd_notify protocol).")
    watchdog_usec: int = _setting(
        0, "Longest silence that the orchestrator accepts, in microseconds; 0: nothing listens.", low=0
    )

    @property
    def slot(self) -> str:
        """Name of the slot, for example `meta-0`."""
        return f"{self.process_name}-{self.process_instance}"


_FIELDS: Final[Mapping[str, Variable]] = {
    row.name: replace(row.metadata["variable"], name=row.name.upper())
    for row in fields(Settings)
    if "variable" in row.metadata
}
"""The settings that no kind's row makes, by field."""
_CHILD_FIELDS: Final[Mapping[str, Variable]] = {
    row.name: replace(row.metadata["variable"], name=row.name.upper()) for row in fields(ChildEnvironment)
}


def visible_fields(row: ProcessKind) -> frozenset[str]:
    """Return the fields of `Settings` that processes of a kind receive. Raises `ValueError` for a name that is no
    setting."""
    names = COMMON_SETTINGS | {*row.settings, *row.secrets}
    if unknown := names - _FIELDS.keys():
        raise ValueError(f"kind {row.name} lists settings that do not exist: {', '.join(sorted(unknown))}")
    return names


def variables(rows: Sequence[ProcessKind] = KINDS) -> dict[str, Variable]:
    """Return every variable that an operator can set, by name: those of the program, then those that the rows make."""
    return (
        {variable.name: variable for variable in _FIELDS.values()}
        | {variable.name: variable for row in rows for variable in made_by(row)}
        | {variable.name: variable for row in rows for variable in row.variables}
    )


def child_variables() -> dict[str, Variable]:
    """Return every variable that the orchestrator sets for a child, by name."""
    return {variable.name: variable for variable in _CHILD_FIELDS.values()}


def aliases(rows: Sequence[ProcessKind] = KINDS) -> dict[str, str]:
    """Return the other spellings of variables that are accepted, each with the variable's name."""
    return {
        setting.variable(alias): name for row in rows for setting, name in kind_settings(row) for alias in row.aliases
    }


def load(environ: Mapping[str, str] | None = None, rows: Sequence[ProcessKind] = KINDS) -> Settings:
    """Read and check every setting.

    Args:
        environ: variables to read; the process environment when None. rows: the registry.
    Raises:
        SettingsInvalid: with one line for each variable that is wrong.
    """
    environ = os.environ if environ is None else environ
    reader = VariableReader(environ)
    # everything is read before anything is refused, so that one start reports every mistake
    values = reader.fields(_FIELDS)
    home = Path(values.pop("bulkhead_home")) if "bulkhead_home" in values else default_home(environ)
    kinds = tuple(reader.row(row) for row in rows)
    # some kinds have a variable in common: read once, so that a mistake is reported once
    declared = {variable.name: variable for row in rows for variable in row.variables}
    own = {name: value for name, variable in declared.items() if (value := reader.read(variable)) is not None}
    if reader.problems:
        raise SettingsInvalid(reader.problems)
    kinds = tuple(replace(row, needed="always") if own.get(row.needed_by) else row for row in kinds)
    # absolute from here on: children must not depend on the working directory of the shell that started the program
    settings = Settings(**values, bulkhead_home=home.expanduser().absolute(), kinds=kinds, values=own)
    # a child sees only some of the settings; its orchestrator has checked what they must fulfil together
    if not environ.get(_CHILD_FIELDS["process_incarnation"].name) and (
        problems := [*_rules(settings), *port_problems(settings.kinds, settings.admin_port)]
    ):
        raise SettingsInvalid(problems)
    return settings


def _rules(settings: Settings) -> list[str]:
    problems = []
    if not _COMPANY_ID.fullmatch(settings.company_id):
        problems.append(f"COMPANY_ID={settings.company_id!r} is not 1 to 64 letters, digits, - and _")
    home = str(settings.bulkhead_home)
    if not home.isprintable():
        problems.append(
            f"BULKHEAD_HOME={home!r} holds a line break or another character that cannot be shown; choose another"
        )
    if len(os.fsencode(home)) > _HOME_MOST:
        problems.append(
            f"BULKHEAD_HOME is {len(os.fsencode(home))} bytes long; at most {_HOME_MOST} leave room for PostgreSQL's "
            f"files"
        )
    if not _HOST.fullmatch(settings.host):
        problems.append(
            f"BULKHEAD_HOST={settings.host!r} (by default the machine's host name) is not 1 to 63 letters, "
            f"digits, dots, - and _; set another"
        )
    if 0 < len(settings.api_key) < _API_KEY_LEAST:
        problems.append(f"API_KEY is shorter than {_API_KEY_LEAST} characters; leave it empty to have one made")
    if bool(settings.meta_access_token) != bool(settings.meta_phone_number_id):
        problems.append("META_ACCESS_TOKEN and META_PHONE_NUMBER_ID are set together or not at all")
    # the orchestrator makes a secret for the sandbox, but Meta's own cannot be made
    if settings.meta_access_token and not settings.meta_app_secret:
        problems.append("META_APP_SECRET is missing: without it no webhook of the real number could be trusted")
    if bool(settings.media_s3_key_id) != bool(settings.media_s3_secret):
        problems.append("MEDIA_S3_KEY_ID and MEDIA_S3_SECRET are set together or not at all")
    if settings.crash_points and settings.chaos != "on":
        problems.append("CRASH_POINTS is set but CHAOS is not on; crash points are for chaos runs alone")
    return problems


def load_child(environ: Mapping[str, str] | None = None) -> ChildEnvironment:
    """Read what the orchestrator set for this process. Arguments and errors as for `load`."""
    reader = VariableReader(os.environ if environ is None else environ)
    values = reader.fields(_CHILD_FIELDS)
    if reader.problems:
        raise SettingsInvalid(reader.problems)
    return ChildEnvironment(**values)


def to_environ(settings: Settings) -> dict[str, str]:
    """Return every setting as environment variables: what `load` reads back."""
    return (
        {variable.name: str(getattr(settings, name)) for name, variable in _FIELDS.items()}
        | {name: str(getattr(row, setting.field)) for row in settings.kinds for setting, name in kind_settings(row)}
        | {name: str(value) for name, value in settings.values.items()}
    )


def environ_for(settings: Settings, row: ProcessKind) -> dict[str, str]:
    """Return the settings that processes of a kind receive, as environment variables."""
    kinds = {
        name: str(getattr(other, setting.field))
        for other in settings.kinds
        for setting, name in kind_settings(other)
        # ports and numbers of other kinds are needed to call them; nothing else of another kind is a child's business
        if setting.everywhere or other.name == row.name
    }
    own = {variable.name: str(settings.values.get(variable.name, variable.default)) for variable in row.variables}
    return {_FIELDS[name].name: str(getattr(settings, name)) for name in visible_fields(row)} | kinds | own


def restart_relevant(settings: Settings, row: ProcessKind) -> dict[str, str]:
    """Return those of `environ_for` that processes of the kind read themselves: they are replaced when one changes."""
    read_by_orchestrator = {
        name
        for other in settings.kinds
        for setting, name in kind_settings(other)
        # what only the orchestrator reads takes effect without replacing a process
        if not setting.read_by_child or other.name != row.name
    }
    return {name: value for name, value in environ_for(settings, row).items() if name not in read_by_orchestrator}


def child_to_environ(child: ChildEnvironment) -> dict[str, str]:
    """Return what `load_child` reads back."""
    return {variable.name: str(getattr(child, name)) for name, variable in _CHILD_FIELDS.items()}
