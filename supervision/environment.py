"""Builds each child's environment from settings, stored secrets and embedded servers.

Order of precedence: the process environment, the file `BULKHEAD_HOME/settings.env` (which SIGHUP reads again), then
what is made here.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from shared import settings as settings_table
from shared.errors import SettingsInvalid
from shared.kinds import KINDS, ProcessKind
from shared.needs import uses_sandbox as needs_sandbox
from shared.process import runtime, tracing
from shared.settings import (
    ChildEnvironment,
    Settings,
    child_to_environ,
    default_home,
    environ_for,
    restart_relevant,
)
from supervision.decisions.plan import desired_slots

# In the home and not beside the code: an update leaves it, and each installation has its own.
SETTINGS_FILE: Final = "settings.env"
# Real providers: used only where the sandbox does not run, so that a trial can never reach them.
_REAL: Final = {
    "graph_base_url": "https://graph.facebook.com",
    "d360_base_url": "https://waba-v2.360dialog.io",
    "instagram_base_url": "https://graph.instagram.com",
    "whatsapp_web_url": "https://web.whatsapp.com/",
}
# Where the sandbox serves each provider below its one port.
_SANDBOX_PATHS: Final = {
    "graph_base_url": "/graph",
    "d360_base_url": "/d360",
    "instagram_base_url": "/instagram",
    "whatsapp_web_url": "/web/",
}
SANDBOX_APP_ID: Final = "300000000000001"
"""The Meta app that the sandbox knows."""
MACHINE: Final = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPYCACHEPREFIX",
        "PYTHONWARNINGS",
        "PYTHONDEVMODE",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "all_proxy",
        "DISPLAY",
        "DBUS_SESSION_BUS_ADDRESS",
        "FONTCONFIG_PATH",
        "FONTCONFIG_FILE",
    }
)
"""Variables of the machine that children receive; whatever else the operator's shell exports (other programs' secrets,
`PG*`) stays here."""
OF_A_CHAOS_RUN: Final = frozenset(
    {
        "LD_PRELOAD",
        "FAKETIME_TIMESTAMP_FILE",
        "FAKETIME_CACHE_DURATION",
        "FAKETIME_DONT_FAKE_MONOTONIC",
        "NO_FAKE_STAT",
    }
)
"""Variables that children receive with CHAOS=on alone: they set the clock of a whole host wrong (`chaos.clocks`)."""
# Locale categories and desktop directories; Chromium reads both.
_MACHINE_PREFIXES: Final = ("LC_", "XDG_")


def _token() -> str:
    return secrets.token_urlsafe(32)


# 32 bytes: AES-256.
def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


KEPT: Final[Mapping[str, tuple[str, Callable[[], str], bool]]] = {
    "api_key": ("api_key", _token, False),
    "secret_encryption_key": ("secret_key", _key, False),
    "meta_verify_token": ("meta_verify_token", _token, False),
    "meta_app_secret": ("meta_app_secret", _token, True),
    "sandbox_access_token": ("sandbox_access_token", _token, True),
    "sandbox_d360_api_key": ("sandbox_d360_api_key", _token, True),
    "sandbox_d360_webhook_secret": ("sandbox_d360_webhook_secret", _token, True),
}
"""Secrets that are made at first start and kept in a file of the home, mode 0600: setting, file, how it is made, only
for the sandbox."""


class EmbeddedAddresses(Protocol):
    """Where the embedded servers will listen (the entry file passes the room `embedded`'s)."""

    def is_prepared(self, settings: Settings) -> bool:
        """Whether PostgreSQL's address is known without making anything."""

    def database_url(self, settings: Settings) -> str:
        """Return PostgreSQL's address."""

    def redis_url(self, settings: Settings) -> str:
        """Return Redis's address."""

    def postgres_programs(self) -> Path | None:
        """Return the folder of PostgreSQL's programs, None when they are not installed."""


@dataclass(frozen=True, kw_only=True)
class ChildConfig:
    """The configuration from which the environments of all children are made.

    Attributes:
        settings: complete: every address and every secret that a child needs.
        counts: how many slots each kind may have.
        uses_sandbox: whether the sandbox runs here.
    """

    settings: Settings
    counts: Mapping[str, int]
    uses_sandbox: bool


def read_settings(environ: Mapping[str, str], rows: Sequence[ProcessKind], only: str = "") -> Settings:
    """Return the operator's settings.

    Args:
        environ: the process environment. rows: the registry.
        only: kinds named on the command line; wins over ONLY.
    Raises:
        SettingsInvalid: with one sentence for each wrong variable or line.
    """
    home = Path(environ.get("BULKHEAD_HOME", "").strip() or default_home(environ)).expanduser().absolute()
    variables = {
        # The environment takes precedence (ADR 16): service managers and containers set it, and the file holds what
        # they leave open. An empty variable counts as absent.
        **read_file(home / SETTINGS_FILE, rows),
        **{name: value for name, value in environ.items() if value.strip()},
    }
    if only:
        variables["ONLY"] = only
    return settings_table.load(variables, rows)


def read_file(path: Path, rows: Sequence[ProcessKind] = KINDS) -> dict[str, str]:
    """Return the `NAME=value` lines of `path`; none when there is no such file. Raises `SettingsInvalid` naming each
    wrong line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsInvalid([f"{path} cannot be read: {problem}"]) from None
    # BULKHEAD_HOME decides which file is read, so it cannot stand in it.
    known = {*settings_table.variables(rows), *settings_table.aliases(rows)} - {"BULKHEAD_HOME"}
    found: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, is_pair, value = text.partition("=")
        name = name.strip()
        # A typing mistake would otherwise leave a default in force without notice.
        if not is_pair or name not in known:
            problems.append(
                f"{path}:{number}: {name!r} is not a setting; lines are NAME=value, names as in docs/settings.md"
            )
        else:
            found[name] = value.strip().strip("\"'")
    if problems:
        raise SettingsInvalid(problems)
    return found


def prepare(operator: Settings, embedded: EmbeddedAddresses) -> ChildConfig:
    """Prepare the home and return the configuration of its children.

    Raises:
        SettingsInvalid: the home cannot be used.
        KindUnknown: ONLY names a kind that does not exist.
    """
    home = operator.bulkhead_home
    uses_sandbox = needs_sandbox(operator)
    counts = desired_slots(operator.kinds, operator)
    try:
        # Before secrets are written into it: its mode protects them.
        _make_home(home)
        complete = replace(
            operator, **_kept(operator, uses_sandbox=uses_sandbox), **_addresses(operator, uses_sandbox=uses_sandbox)
        )
        # Addresses of embedded servers are needed before these run: their sockets have fixed places.
        if not operator.database_url:
            complete = replace(complete, database_url=embedded.database_url(operator))
        if not operator.redis_url:
            complete = replace(complete, redis_url=embedded.redis_url(operator))
    # Reported as a wrong setting (exit code 78): a retry would fail in the same way.
    except (OSError, runtime.RuntimeDirectoryUnsafe) as problem:
        raise SettingsInvalid([f"BULKHEAD_HOME={home} cannot be used: {problem}"]) from None
    return ChildConfig(
        settings=complete,
        counts=counts,
        uses_sandbox=uses_sandbox,
    )


def complete(operator: Settings, embedded: EmbeddedAddresses) -> Settings:
    """Return the complete settings without creating anything: a secret that does not exist yet is empty.

    Raises:
        SettingsInvalid: a file of the home cannot be used.
    """
    sandbox = needs_sandbox(operator)
    kept = {
        setting: _read_secret(operator.path(name))
        for setting, (name, _, only_sandbox) in KEPT.items()
        if not getattr(operator, setting) and (sandbox or not only_sandbox) and operator.path(name).exists()
    }
    found = replace(operator, **kept, **_addresses(operator, uses_sandbox=sandbox))  # type: ignore[arg-type]  # secrets are texts
    if not operator.database_url and embedded.is_prepared(operator):
        found = replace(found, database_url=embedded.database_url(operator))
    return found if operator.redis_url else replace(found, redis_url=embedded.redis_url(operator))


def child_environ(
    config: ChildConfig, row: ProcessKind, identity: ChildEnvironment, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Return the whole environment of one child: the settings that its row lists, and what every program needs of the
    machine.

    Args:
        config: of all children. row: the child's kind. identity: the part about this child.
        inherited: the orchestrator's own environment.
    """
    names = MACHINE | OF_A_CHAOS_RUN if config.settings.chaos == "on" else MACHINE
    machine = {name: value for name, value in inherited.items() if name in names or name.startswith(_MACHINE_PREFIXES)}
    if row.traces:
        machine |= {name: value for name, value in inherited.items() if name.startswith(tracing.PREFIX)}
    # From the first instruction on: a traceback when it is aborted, and no line held back when it is killed.
    machine |= {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
    # In this order: nothing of the operator's shell can replace a setting or the identity of a child.
    return machine | environ_for(config.settings, row) | child_to_environ(identity)


def changed_for(settings: Settings, old: Mapping[str, str]) -> frozenset[str]:
    """Return the kinds whose processes run with outdated settings.

    Args:
        settings: present ones. old: variables of before; those that it lacks are not compared.
    """
    return frozenset(
        row.name
        for row in settings.kinds
        # A variable that is missing in `old` counts as unchanged: an adopted child of an older version does not have
        # settings that came later.
        if any(old.get(name, value) != value for name, value in restart_relevant(settings, row).items())
    )


def _make_home(home: Path) -> None:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = home.stat()
    # Another user's home: children could read its secrets as root, and would leave files that their owner cannot write.
    if facts.st_uid != os.geteuid():
        raise SettingsInvalid(
            [
                f"BULKHEAD_HOME={home} belongs to user {facts.st_uid}, not to us (user "
                f"{os.geteuid()}); run as that user or choose another"
            ]
        )
    if facts.st_mode & 0o066:
        # Search permission that was granted stays: as root, the embedded PostgreSQL runs under another user.
        home.chmod(facts.st_mode & 0o711)
    logs = home / "logs"
    logs.mkdir(mode=0o700, exist_ok=True)
    if logs.stat().st_mode & 0o066:
        # made by hand, with the operator's umask: it holds names of companies and what processes print
        logs.chmod(logs.stat().st_mode & 0o711)
    settings_file = home / SETTINGS_FILE
    if settings_file.exists() and settings_file.stat().st_mode & 0o077:
        # An editor created it with the operator's umask; it may hold secrets.
        settings_file.chmod(0o600)
    runtime.run_dir(home)
    runtime.runtime_dir(home)


def _kept(operator: Settings, *, uses_sandbox: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting, (name, make, only_sandbox) in KEPT.items():
        if not getattr(operator, setting) and (uses_sandbox or not only_sandbox):
            found[setting] = _keep(operator.path(name), make)
    return found


def _keep(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in `path`, made and written at once when there is none: two starters agree on the one that came
    first."""
    if not path.exists():
        # Complete before it has its name: a reader never sees half a secret.
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(make() + "\n")
        try:
            # link fails where rename would replace: a secret that another process has read already stays.
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    secret = _read_secret(path)
    # Put there by an operator with another umask.
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return secret


def _read_secret(path: Path) -> str:
    secret = path.read_text(encoding="utf-8").strip()
    if not secret:
        raise SettingsInvalid([f"{path} is empty; remove it (a new secret is then made) or put the secret back"])
    return secret


def _addresses(operator: Settings, *, uses_sandbox: bool) -> dict[str, Any]:
    # Compared, not bound. A wildcard is no address to connect to; an IPv6 address needs brackets in a URL.
    host = "127.0.0.1" if operator.bind_address in ("0.0.0.0", "::", "") else operator.bind_address  # noqa: S104
    sandbox = f"http://{f'[{host}]' if ':' in host else host}:{operator.port('sandbox')}"
    own = {
        "public_url": f"http://{f'[{host}]' if ':' in host else host}:{operator.port('meta')}",
        "meta_app_id": SANDBOX_APP_ID,
    }
    return {
        "sandbox_url": operator.sandbox_url or (sandbox if uses_sandbox else ""),
        **{
            setting: getattr(operator, setting) or (sandbox + path if uses_sandbox else _REAL[setting])
            for setting, path in _SANDBOX_PATHS.items()
        },
        # With a real provider both have to come from the operator: nothing here could guess them.
        **{setting: value for setting, value in own.items() if uses_sandbox and not getattr(operator, setting)},
    }
