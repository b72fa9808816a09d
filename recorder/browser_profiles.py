"""Copies Chromium profiles of a single-process server (`.wwebjs_auth/session-…`), so that a session stays linked."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from shared.errors import BulkheadError

SESSIONS: Final = "sessions"
"""Directory of all profiles in the home, as kind webdriver knows it (a test compares)."""
_NAMES: Final = ("{company}-{index}", "{company}_{index}", "{company}:{index}", "{company}{index}")
"""How such servers name a client; the folder is `session-` and the name."""
_LEFT_OUT: Final = (
    # locks and sockets of the browser that ran on it, and what it makes anew
    *("Singleton*", "lockfile", "DevToolsActivePort", "*.lock"),
    *(
        "Cache",
        "Code Cache",
        "GPUCache",
        "ShaderCache",
        "GrShaderCache",
        "DawnCache",
        "Crashpad",
        "component_crx_cache",
    ),
)


class ProfileInUse(BulkheadError):
    """Raised when a browser runs on a profile, or one on another host may."""


def find_profile(folder: Path, company_id: str, phone_index: int) -> Path | None:
    """Return the profile of a session in `.wwebjs_auth`, None when there is none."""
    names = (pattern.format(company=company_id, index=phone_index) for pattern in _NAMES)
    return next((path for name in names if (path := folder / f"session-{name}").is_dir()), None)


def take_profile(profile: Path, home: Path, connection_id: int) -> bool:
    """Copy a profile to where the session of a connection runs. Returns False when there is one already. Blocks.

    Raises:
        ProfileInUse: a browser runs on it. OSError, shutil.Error: it cannot be copied; nothing is left then.
    """
    place = home / SESSIONS / str(connection_id)
    if place.exists():
        return False
    _require_free(profile)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = place.with_name(f"incoming-{connection_id}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        # links are copied as links: one that leads elsewhere must not bring another file's content here
        shutil.copytree(profile, part, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        part.chmod(0o700)
        # whole or not at all: a session that starts on half a profile would ask for a new link
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def _require_free(profile: Path) -> None:
    lock = profile / "SingletonLock"
    if not lock.is_symlink():
        return
    # Chromium's lock is a link to `<host>-<pid>`
    host, _, pid = str(lock.readlink()).rpartition("-")
    if host != socket.gethostname():
        raise ProfileInUse(f"{profile} was locked on host {host}: stop the session there, and remove {lock}")
    with suppress(ProcessLookupError, ValueError):
        os.kill(int(pid), 0)
        raise ProfileInUse(f"process {pid} runs on {profile}: stop the session in the single-process server first")
