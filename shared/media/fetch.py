"""Fetches a file from a URL into storage: bounded in size and time, and never from a private address.

The address is checked when the socket is made, for each redirect anew: a name that points to the inside is refused like
the address itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote

from shared.clock import left
from shared.media.errors import FetchFailed
from shared.media.files import Storage, Stored
from shared.media.kinds import mimetype_of
from shared.media.reach import Reach, checked

REDIRECTS_MOST: Final = 3
"""Redirects that are followed: file hosts use one or two; each costs a connection."""
_PASSING: Final = frozenset({408, 425, 429})
"""4xx that may pass by themselves: request timeout, too early, too many requests."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was fetched into storage. `filename` is the last part of its URL."""

    stored: Stored
    mimetype: str
    filename: str


async def fetch(
    url: str,
    storage: Storage,
    company_id: str,
    *,
    most: int,
    by: float,
    reach: Reach = Reach.PUBLIC,
    headers: Mapping[str, str] | None = None,
) -> Fetched:
    """Fetch a file into storage.

    Args:
        most: largest size in bytes. by: monotonic deadline for the whole file. headers: for the URL's own origin; a
            redirect elsewhere does not carry them.
    Raises:
        FetchFailed: not allowed, not there, or not now. MediaTooLarge, StorageUnavailable.
    """
    # imported here: processes that never fetch do not depend on aiohttp
    from shared.media.wire import client  # noqa: PLC0415 - see above

    own_headers, first = dict(headers or {}), checked(url, reach)
    here = first
    try:
        async with asyncio.timeout(left(by)), client(reach) as http:
            for _ in range(REDIRECTS_MOST + 1):
                # credentials stay with the origin that they were given for, as browsers do with redirects
                async with http.get(here, own_headers if _origin(here) == _origin(first) else {}) as answer:
                    if answer.status in {301, 302, 303, 307, 308}:
                        # each step anew: a public address may redirect to an inner one
                        here = checked(answer.elsewhere(), reach)
                        continue
                    _require_file(answer.status, answer.encoding)
                    stored = await storage.put(company_id, answer.pieces(), most=most)
                    name = unquote(here.path.rpartition("/")[2])
                    return Fetched(stored, mimetype_of(stored.head, answer.content_type, name), name)
    except TimeoutError:
        raise FetchFailed("fetch_timeout", "the file was not there in time", passing=True) from None
    raise FetchFailed("fetch_redirected", f"more than {REDIRECTS_MOST} redirects", passing=False)


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _require_file(status: int, encoding: str) -> None:
    if status != 200:
        raise FetchFailed(
            f"http_{status}", f"the address answers with HTTP {status}", passing=status >= 500 or status in _PASSING
        )
    # unpacking would let a small response become a file of any size
    if encoding not in {"", "identity"}:
        raise FetchFailed(
            "fetch_encoded", "the address answers with packed content that was not asked for", passing=False
        )
