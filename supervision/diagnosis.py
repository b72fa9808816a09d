"""The checks of `bulkhead doctor` that need no server: this machine, the home, ports, Chromium, and what the settings
say together.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import os
import platform
import secrets
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from shared.chromium_path import ChromiumMissing, find
from shared.diagnosis import Diagnosis, fail, ok, warn
from shared.kinds import admin_port
from shared.needs import uses_sandbox
from shared.observations import DISK_LOW_MB
from shared.process.supervised import bind_listener
from shared.settings import Settings
from shared.spelling import misspelt
from supervision.commands.context import is_running
from supervision.environment import KEPT, SETTINGS_FILE
from supervision.ipc.listeners import explain, setting_of

_OLDEST_PYTHON: Final = (3, 11)
_DISK_FULL_MB: Final = 64.0
"""Below it not even a segment of PostgreSQL's log (16 MB) is sure to fit beside everything else."""
_KEY_BYTES: Final = 32
_ANSWER_S: Final = 5.0
_UNSYNCHRONISED: Final = 0x0040
"""`STA_UNSYNC` of adjtimex(2): nothing sets this clock."""
_STATUS_AT: Final = 10
"""Index of `status` in `struct timex`, taken as ints: behind an int with padding and four longs."""


def check_machine(settings: Settings, environ: Iterable[str]) -> Iterator[Diagnosis]:
    """Yield the finding of each check of this machine, in the order in which they matter."""
    yield _python()
    for name, meant in misspelt(environ, settings.kinds).items():
        yield warn("settings", f"{name} is no setting", f"Set {meant}, if that is what it should be.")
    yield from _home(settings.bulkhead_home)
    yield from _disk(settings.bulkhead_home)
    yield from _ports(settings)
    yield from _chromium(settings)
    yield _clock()
    yield from _keys(settings)
    yield _world(settings)


def check_webhooks(settings: Settings) -> Diagnosis:
    """Ask our own public address as Meta does when it verifies a webhook."""
    check = "webhooks"
    if uses_sandbox(settings):
        return ok(check, "come from the sandbox on this machine")
    if not settings.public_url:
        return warn(check, "PUBLIC_URL is empty", "Set it to the https address that leads to META_PORT.")
    if not settings.public_url.startswith("https://"):
        return warn(check, f"PUBLIC_URL={settings.public_url} is not https", "Meta delivers to https alone.")
    if not is_running(settings.bulkhead_home):
        return warn(check, "nothing runs here that could answer", "Start Bulkhead, then ask again.")
    return _as_meta(settings, check)


def _as_meta(settings: Settings, check: str) -> Diagnosis:
    challenge = secrets.token_hex(8)
    query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": settings.meta_verify_token}
    address = f"{settings.public_url.rstrip('/')}/api/meta/webhook"
    try:
        with urlopen(f"{address}?{urlencode(query)}", timeout=_ANSWER_S) as answer:  # noqa: S310 - https, see above
            said = answer.read(100).decode("utf-8", "replace")
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        return warn(
            check, f"{address} does not answer as it should: {reason}", "Let the proxy pass it to META_PORT unchanged."
        )
    if said != challenge:
        return warn(check, f"{address} is answered by something else", "Let the proxy pass it to META_PORT unchanged.")
    return ok(check, f"{address} answers as Meta expects")


def _python() -> Diagnosis:
    version = platform.python_version()
    if sys.platform != "linux":
        return fail("system", f"{sys.platform} is not supported", "Run it on Linux.")
    if sys.version_info < _OLDEST_PYTHON:
        return fail("python", f"Python {version} is too old", "Use Python 3.11 or newer.")
    return ok("python", f"Python {version} on {platform.system()} {platform.release()}")


def _home(home: Path) -> Iterator[Diagnosis]:
    if not home.exists():
        above = next(parent for parent in home.parents if parent.exists())
        if os.access(above, os.W_OK | os.X_OK):
            yield ok("home", f"{home} will be made at the first start")
        else:
            yield fail("home", f"{home} cannot be made in {above}", "Set BULKHEAD_HOME to a directory of your own.")
        return
    facts = home.stat()
    if not home.is_dir():
        yield fail("home", f"{home} is no directory", "Set BULKHEAD_HOME to a directory.")
        return
    if facts.st_uid != os.geteuid():
        yield fail("home", f"{home} belongs to user {facts.st_uid}, not to {os.geteuid()}", "Run as that user.")
    elif not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield fail("home", f"{home} cannot be written", f"chmod u+rwx {home}")
    elif facts.st_mode & 0o066:
        yield warn("home", f"{home} can be read by others", f"chmod go-rw {home} (each start does it)")
    else:
        yield ok("home", f"{home} is ours alone")
    for name in (SETTINGS_FILE, "postgres_password", *(file for file, _, _ in KEPT.values())):
        path = home / name
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield warn("secrets", f"{path} can be read by others", f"chmod 600 {path}")
        if path.exists() and name != SETTINGS_FILE and not _text(path):
            yield fail("secrets", f"{path} is empty or unreadable", "Put the secret back; a new one fits nothing old.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _disk(home: Path) -> Iterator[Diagnosis]:
    place = home if home.exists() else next(parent for parent in home.parents if parent.exists())
    free_mb = shutil.disk_usage(place).free / 1e6
    finding = f"{free_mb:,.0f} MB free at {place}"
    if free_mb < _DISK_FULL_MB:
        yield fail("disk", finding, "Free space there: messages are refused when it is full.")
    elif free_mb < DISK_LOW_MB:
        yield warn("disk", finding, "Free space there soon: logs, media and the embedded PostgreSQL grow.")
    else:
        yield ok("disk", finding)


def _ports(settings: Settings) -> Iterator[Diagnosis]:
    if is_running(settings.bulkhead_home):
        yield ok("ports", "are held by the Bulkhead that runs here")
        return
    refused = list(_refused_ports(settings))
    yield from refused
    if not refused:
        ports = sorted({row.port for row in settings.kinds if row.port})
        yield ok("ports", f"{', '.join(map(str, ports))} and those from {settings.admin_port} are free")


def _refused_ports(settings: Settings) -> Iterator[Diagnosis]:
    for row in settings.kinds:
        needed = [(settings.bind_address, row.port, setting_of(row))] if row.port else []
        needed += [
            ("127.0.0.1", admin_port(settings.admin_port, row, instance), "ADMIN_PORT")
            for instance in range(row.instances)
        ]
        for address, port, setting in needed:
            try:
                bind_listener(address, port).close()
            except OSError as refusal:
                said, _, mend = explain(setting, port, address, refusal).partition("; ")
                yield fail("ports", said, f"{mend[:1].upper()}{mend[1:] or f'Correct {setting}'}.")


def _chromium(settings: Settings) -> Iterator[Diagnosis]:
    try:
        path = find(settings.chromium_path)
    except ChromiumMissing as missing:
        finding, _, mend = str(missing).partition("; ")
        judged = fail if settings.chromium_path else warn
        yield judged("chromium", finding, f"{mend[:1].upper()}{mend[1:]}. Only browser sessions need it.")
        return
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL
        )
        said = (answer.stdout or answer.stderr).strip().splitlines()
        works = answer.returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        said, works = [str(error)], False
    line = said[-1] if said else "no output"
    if works and "chrom" in line.lower():
        yield ok("chromium", f"{line} ({path})")
    else:
        yield fail("chromium", f"{path} does not run: {line}", "Install it anew, or set CHROMIUM_PATH to another.")


def _clock() -> Diagnosis:
    libc = ctypes.CDLL(None, use_errno=True)
    # all zero only reads; 512 bytes are more than the structure has
    timex = (ctypes.c_int * 128)()
    if libc.adjtimex(ctypes.byref(timex)) < 0:
        return ok("time", "The kernel does not say whether the clock is set by the network")
    if timex[_STATUS_AT] & _UNSYNCHRONISED:
        return warn("time", "Nothing sets this machine's clock", "Run an NTP client (in a container: on its host).")
    return ok("time", "The clock is set by the network")


def _keys(settings: Settings) -> Iterator[Diagnosis]:
    key = settings.secret_encryption_key
    if not key:
        yield ok("keys", "will be made at the first start")
        return
    for text in (key, *(part.partition(":")[2] for part in settings.secret_old_keys.split(",") if part)):
        if _size(text) != _KEY_BYTES:
            finding = "SECRET_ENCRYPTION_KEY or one of SECRET_OLD_KEYS is not 32 bytes in Base64"
            yield fail("keys", finding, "Put the key back that sealed the secrets; a new one: openssl rand -base64 32.")
            return
    yield ok("keys", "have the right form")


def _size(text: str) -> int:
    try:
        return len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return 0


def _world(settings: Settings) -> Diagnosis:
    # the sandbox's own, made at the first start, says nothing about a real app
    made = _text(settings.bulkhead_home / KEPT["meta_app_secret"][0])
    if not uses_sandbox(settings):
        return ok("world", "live: messages reach real people")
    if settings.sandbox == "auto" and settings.meta_app_secret not in ("", made):
        return warn(
            "world",
            "sandbox, although META_APP_SECRET is set: messages reach no person",
            "Set SANDBOX=off to use numbers that `bulkhead connections add` adds, or META_ACCESS_TOKEN for one.",
        )
    return ok("world", "sandbox: messages reach no person")
