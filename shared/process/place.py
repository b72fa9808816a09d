"""A process's place among the hosts that share a database: its home's identity, and whether it may live beside them.

Two homes with one host name, or two hosts with different keys or without common file storage, would take each other's
work for their own. Each process says with its heartbeat what all must have in common, and refuses to start beside one
that has something else.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from shared.clock import Monotonic, monotonic
from shared.errors import SettingsInvalid, StoreUnavailable
from shared.logs import logger
from shared.settings import Settings
from shared.store import processes
from shared.store.processes import OtherHome
from shared.store.store import Store

log = logger(__name__)

_LONGEST_S: Final = 2.0
"""Seconds for one query: a start does not wait longer for a frozen database, and the check is repeated later."""
_AGAIN_S: Final = 1.0
"""Seconds between checks of a name on which another home has a lease, and between attempts while the database is
unavailable.
"""
_LATER_S: Final = 30.0
"""Seconds between comparisons with the others once this process runs."""
_TOGETHER_S: Final = 1.0
"""Two processes whose ages differ by less count as equally old: heartbeats carry an age that is as exact."""
_SECRETS: Final = ("api_key", "meta_app_secret", "meta_verify_token")
"""Secrets that must be equal on all hosts: a message or webhook may reach any of them. The encryption key has a check
of its own (`shared.process.key_check`), which also knows older keys."""


def identity_of(folder: Path, name: str) -> str:
    """Return the random name that a folder keeps of itself in the file `name`; made if it is missing.

    Raises:
        OSError: it can be neither read nor written.
    """
    path = folder / name
    with suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        fresh.write_text(secrets.token_hex(8) + "\n", encoding="ascii")
        # not a rename: of two processes that start together, the second takes the first one's
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    return path.read_text(encoding="ascii").strip()


def home_id(home: Path) -> str:
    """Return the random name of a home. Raises `OSError`."""
    return identity_of(home, "home_id")


def shared_facts(settings: Settings) -> dict[str, str]:
    """Return digests of what all hosts must have in common, of the settings that this process sees.

    Raises:
        OSError: the folder of files can be neither read nor written.
    """
    facts: dict[str, str] = {}
    key = getattr(settings, "secret_encryption_key", "").encode()
    for name in _SECRETS:
        # keyed: who reads the database cannot try guesses of a short secret
        if key and (value := getattr(settings, name, "")):
            facts[name.upper()] = hmac.digest(key, f"{name}={value}".encode(), "sha256").hex()[:16]
    storage = getattr(settings, "media_storage", None)
    if storage is not None:
        facts["MEDIA_STORAGE"] = (
            hashlib.sha256(f"{settings.media_s3_url} {storage}".encode()).hexdigest()[:16]
            if storage
            else identity_of(settings.path("media"), ".storage_id")
        )
    return facts


def problems(own: Mapping[str, str], others: Sequence[OtherHome]) -> list[str]:
    """Return why this process may not live beside others, one sentence for each reason; pure. The name is not among
    them, since its holder may be dead (`require_place`).
    """
    found: dict[str, str] = {}
    for other in others:
        for name in sorted(own.keys() & other.shared_facts.keys()):
            if own[name] == other.shared_facts[name] or name in found:
                continue
            found[name] = (
                f"{name}: host {other.host} keeps the files of messages elsewhere, so that neither finds the other's; "
                f"set MEDIA_STORAGE to one bucket on all hosts, or mount one folder as BULKHEAD_HOME/media"
                if name == "MEDIA_STORAGE"
                else f"{name} is not the one of host {other.host}, which works with the same database; set the same on "
                f"all hosts (a change of it: stop the others first)"
            )
    return list(found.values())


def problems_with_elders(place: HostPlace, uptime_s: float, others: Sequence[OtherHome]) -> list[str]:
    """Return why this process may not live on beside others that lived before it; pure. What started together is
    decided by the names of the hosts: of two that do not fit, one stays.
    """
    elders = [
        other
        for other in others
        if other.uptime_s > uptime_s + _TOGETHER_S
        or (abs(other.uptime_s - uptime_s) <= _TOGETHER_S and other.host < place.host)
    ]
    return problems(place.shared_facts, elders)


@dataclass(frozen=True, kw_only=True, slots=True)
class HostPlace:
    """Where a process lives. Attributes: home_id: identity of its home. shared_facts: as in `HeartbeatRow`."""

    host: str
    home_id: str
    shared_facts: Mapping[str, str]


async def require_place(
    store: Store,
    place: HostPlace,
    waits: Callable[[float], None] = lambda _left_s: None,
    *,
    clock: Monotonic = monotonic,
) -> None:
    """Return when this process may live beside the others; a name of which another home has a lease is waited for until
    that has run out.

    Args:
        waits: called with how long a wait for another home's lease may last, in seconds.
    Raises:
        SettingsInvalid: it may not; one sentence for each reason.
        StoreUnavailable: the database is away.
    """
    first: dict[str, str] = {}
    while True:
        others = await store.call_by(clock() + _LONGEST_S, processes.other_homes, place.home_id)
        if found := problems(place.shared_facts, others):
            raise SettingsInvalid(found)
        namesakes = {other.slot: other for other in others if other.host == place.host}
        if not namesakes:
            return
        if any(first.get(slot, other.beat) != other.beat for slot, other in namesakes.items()):
            raise SettingsInvalid(
                [
                    f"BULKHEAD_HOST={place.host}: another installation with this name works with the same database "
                    f"({', '.join(sorted(namesakes))}); give each host a name of its own"
                ]
            )
        if not first:
            left_s = max(one.lease_left_s for one in namesakes.values())
            log.warning("host_name_leased", host=place.host, left_s=round(left_s, 1))
            waits(left_s)
        first |= {slot: other.beat for slot, other in namesakes.items()}
        await asyncio.sleep(_AGAIN_S)


async def require_place_later(store: Store, place: HostPlace) -> None:
    """Like `require_place`, as soon as the database answers."""
    while True:
        try:
            await require_place(store, place)
        except StoreUnavailable:
            await asyncio.sleep(_AGAIN_S)
            continue
        return


async def watch_place(
    store: Store, place: HostPlace, uptime_s: Callable[[], float], *, every_s: float = _LATER_S
) -> NoReturn:
    """Go on to compare this process with those of other hosts: when it started, one of them may have been cut off from
    the database, and so not have been seen.

    Args:
        uptime_s: returns for how long this process has lived.
    Raises:
        SettingsInvalid: it may not live on beside one that lived before it; one sentence for each reason.
    """
    while True:
        await asyncio.sleep(every_s)
        try:
            others = await store.call_by(monotonic() + _LONGEST_S, processes.other_homes, place.home_id)
        # the next comparison repeats it
        except StoreUnavailable:
            continue
        if found := problems_with_elders(place, uptime_s(), others):
            raise SettingsInvalid(found)
