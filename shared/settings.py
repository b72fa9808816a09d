"""Every setting in one table (name, default, help), and the only reader of the process environment.

`Settings` holds what an operator sets; `ChildEnvironment` holds what the orchestrator tells one child about itself. A field's
environment variable is its name in capitals. Nothing is read at import: call `load` once, in the entry file, and pass the result on.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from shared.errors import SettingsInvalid

_COMPANY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


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
    metadata = {"help": purpose, "choices": choices, "low": low, "high": high, "schemes": schemes, "secret": secret}
    return field(default=default, repr=not secret, metadata=metadata)


def _port(default: int, purpose: str) -> Any:
    return _setting(default, purpose, low=1, high=65535)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator can set. The table in docs/settings.md is made from these fields and tested against them."""

    bulkhead_home: Path = _setting(Path("var"), "Directory for data, logs, sockets, keys and browser profiles.")
    bind_address: str = _setting(
        "127.0.0.1", "Address that the public ports listen on; put a TLS proxy in front before you open it."
    )
    api_port: int = _port(3000, "Public port of the HTTP API.")
    webdriver_port: int = _port(3001, "Public port of the browser-session process.")
    meta_port: int = _port(3002, "Public port for Meta's webhooks.")
    sandbox_port: int = _port(3100, "Port of the sandbox.")
    admin_port: int = _setting(
        3200, "First of the loopback ports for each slot's /livez, /readyz and /metrics.", low=1, high=65435
    )
    only: str = _setting("", "Comma-separated kinds to run, for example 'api,meta'; empty: all that are needed.")
    api_instances: int = _setting(2, "Processes of kind api.", low=1, high=10)
    meta_instances: int = _setting(2, "Processes of kind meta.", low=1, high=10)
    webdriver_instances: int = _setting(1, "Processes of kind webdriver; a session has one owner, so 1.", low=1, high=1)

    database_url: str = _setting(
        "",
        "PostgreSQL 15+ address; empty: an embedded server under BULKHEAD_HOME.",
        schemes=("postgresql", "postgres"),
        secret=True,
    )
    database_pool_api_max: int = _setting(20, "Connections of one api process.", low=1, high=500)
    database_pool_webdriver_max: int = _setting(10, "Connections of one webdriver process.", low=1, high=500)
    database_pool_meta_max: int = _setting(20, "Connections of one meta process.", low=1, high=500)
    database_pool_recorder_max: int = _setting(4, "Connections of the recorder process.", low=1, high=500)
    database_idle_s: float = _setting(30.0, "Seconds after which an idle database connection is closed.", low=1)
    database_connect_s: float = _setting(5.0, "Longest wait for a database connection, new or from the pool.", low=0.1)
    database_query_s: float = _setting(5.0, "Longest time for one database transaction.", low=0.1)
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
    secret_key_id: str = _setting("k1", "Name of the key that new secrets are encrypted with.")
    secret_encryption_key: str = _setting(
        "", "Base64 of 32 bytes; empty: made at first start and kept in BULKHEAD_HOME/secret_key.", secret=True
    )
    secret_old_keys: str = _setting(
        "",
        "Earlier keys, as NAME=BASE64 separated by commas: they open what they sealed until `bulkhead connections reseal` has run.",
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
    retry_base_meta_s: float = _setting(
        1.0, "Wait before the second attempt on Meta's channels; doubles from there.", low=0
    )
    retry_base_webdriver_s: float = _setting(
        2.0, "Wait before the second attempt through a browser session; doubles from there.", low=0
    )
    meta_send_s: float = _setting(10.0, "Longest time for one send call to Meta.", low=0.1)
    webdriver_send_s: float = _setting(
        120.0, "Longest time for one send through a page; a file may need it, all else has less of its own.", low=0.1
    )
    meta_in_flight: int = _setting(200, "Sends in flight at once in one meta process.", low=1, high=5000)
    webdriver_in_flight: int = _setting(20, "Sends in flight at once in the webdriver process.", low=1, high=500)
    webdriver_session_in_flight: int = _setting(
        2, "Sends in flight at once of one browser session: one in its page, the next ones ready.", low=1, high=500
    )
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
    in_doubt_policy: str = _setting(
        "auto", "What to do with a message that may have been sent.", choices=("auto", "resend", "hold")
    )
    in_doubt_window_s: float = _setting(10.0, "How long reconciliation waits before the policy decides.", low=0)
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
    media_retention_days: float = _setting(
        0.0, "Days after which a file that nobody asked for is deleted; 0: never.", low=0
    )
    media_fetch_s: float = _setting(60.0, "Longest time for fetching one file of a message from its provider.", low=1)
    media_fetches: int = _setting(8, "Files of messages that one process fetches at once.", low=1, high=100)
    media_inbound_most_mb: int = _setting(100, "Largest file of a message that is fetched, in MB.", low=1, high=2000)
    media_fetch_private: str = _setting(
        "off", "Whether files may be fetched from addresses in private networks.", choices=("off", "on")
    )

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
    chaos: str = _setting(
        "off", "Whether this copy may be broken on purpose; a precondition of CRASH_POINTS.", choices=("off", "on")
    )
    crash_points: str = _setting("", "Places at which processes shall die, see docs/chaos.md; only with CHAOS=on.")
    log_level: str = _setting("info", "Least severe log lines to write.", choices=("debug", "info", "warning", "error"))
    log_max_mb: float = _setting(20.0, "Size at which a slot's log file is rotated.", low=0.01)
    log_keep: int = _setting(5, "Rotated log files kept of each.", low=1, high=100)

    def path(self, *parts: str) -> Path:
        """Return a path below BULKHEAD_HOME, absolute."""
        return self.bulkhead_home.joinpath(*parts)


@dataclass(frozen=True, kw_only=True)
class ChildEnvironment:
    """What the orchestrator tells a child about itself. A process that is started by hand gets values from its entry file."""

    process_name: str = _setting("", "Kind of this process.")
    process_instance: int = _setting(0, "Number of this slot within its kind.", low=0)
    process_incarnation: str = _setting("", "Name of this life of the slot, written into every claim.")
    port: int = _setting(0, "The kind's public port; 0: none.", low=0, high=65535)
    process_admin_port: int = _setting(0, "This slot's own loopback port.", low=0, high=65535)
    listen_fd: int = _setting(-1, "Inherited descriptor of the kind's listening socket; -1: bind PORT yourself.")
    slot_lock_fd: int = _setting(-1, "Inherited descriptor of the slot's lock; -1: take the lock yourself.")
    notify_socket: str = _setting("", "Datagram socket of the orchestrator (sd_notify protocol).")
    watchdog_usec: int = _setting(
        0, "Longest silence that the orchestrator accepts, in microseconds; 0: nobody listens.", low=0
    )

    @property
    def slot(self) -> str:
        """Name of the slot, for example `meta-0`."""
        return f"{self.process_name}-{self.process_instance}"


_Table = TypeVar("_Table", Settings, ChildEnvironment)


def _is_address(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.netloc or parts.path)


def _parse(name: str, text: str, default: Any, metadata: Mapping[str, Any]) -> Any:
    value: Any = text
    try:
        if isinstance(default, int | float | Path):
            value = type(default)(text) if not isinstance(default, Path) else Path(text)
    except ValueError:
        raise ValueError(
            f"{name}={text!r} is not {'a whole number' if isinstance(default, int) else 'a number'}"
        ) from None
    if metadata["choices"] and value not in metadata["choices"]:
        raise ValueError(f"{name}={text!r} is not one of {', '.join(metadata['choices'])}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}={text!r} is not a finite number")
    if metadata["schemes"] and not _is_address(text, metadata["schemes"]):
        raise ValueError(
            f"{name} is not an address that begins with {' or '.join(f'{scheme}://' for scheme in metadata['schemes'])}"
        )
    low, high = metadata["low"], metadata["high"]
    if low is not None and value < low:
        raise ValueError(f"{name}={text} is out of range: at least {low:g}")
    if high is not None and value > high:
        raise ValueError(f"{name}={text} is out of range: at most {high:g}")
    return value


def _read(table: type[_Table], environ: Mapping[str, str]) -> _Table:
    values: dict[str, Any] = {}
    problems: list[str] = []
    for row in fields(table):
        name = row.name.upper()
        text = environ.get(name, "").strip()
        if not text:
            continue
        try:
            values[row.name] = _parse(name, text, row.default, row.metadata)
        except ValueError as problem:
            problems.append(str(problem))
    if problems:
        raise SettingsInvalid(problems)
    return table(**values)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check every setting.

    Args:
        environ: variables to read; the process environment when None.
    Raises:
        SettingsInvalid: with one line for each variable that is wrong.
    """
    settings = _read(Settings, os.environ if environ is None else environ)
    problems = []
    if not _COMPANY_ID.fullmatch(settings.company_id):
        problems.append(f"COMPANY_ID={settings.company_id!r} is not 1 to 64 letters, digits, - and _")
    if bool(settings.meta_access_token) != bool(settings.meta_phone_number_id):
        problems.append("META_ACCESS_TOKEN and META_PHONE_NUMBER_ID are set together or not at all")
    if settings.meta_access_token and not settings.meta_app_secret:
        problems.append("META_APP_SECRET is missing: without it no webhook of the real number could be trusted")
    if bool(settings.media_s3_key_id) != bool(settings.media_s3_secret):
        problems.append("MEDIA_S3_KEY_ID and MEDIA_S3_SECRET are set together or not at all")
    if settings.crash_points and settings.chaos != "on":
        problems.append("CRASH_POINTS is set but CHAOS is not on; crash points are for chaos runs alone")
    ports = {name: getattr(settings, name) for name in ("api_port", "webdriver_port", "meta_port", "sandbox_port")}
    for name, port in ports.items():
        twin = next((other for other, used in ports.items() if used == port and other < name), None)
        if twin:
            problems.append(f"{name.upper()}={port} is also {twin.upper()}; give each its own port")
        if settings.admin_port <= port < settings.admin_port + 100:
            problems.append(
                f"{name.upper()}={port} lies in the 100 ports from ADMIN_PORT={settings.admin_port}; move one of them"
            )
    if problems:
        raise SettingsInvalid(problems)
    return replace(settings, bulkhead_home=settings.bulkhead_home.expanduser().absolute())


def load_child(environ: Mapping[str, str] | None = None) -> ChildEnvironment:
    """Read what the orchestrator told this process about itself. Arguments and errors as for `load`."""
    return _read(ChildEnvironment, os.environ if environ is None else environ)


def to_environ(table: Settings | ChildEnvironment) -> dict[str, str]:
    """Return `table` as environment variables: what `load` or `load_child` in a child reads back."""
    return {row.name.upper(): str(getattr(table, row.name)) for row in fields(table)}
