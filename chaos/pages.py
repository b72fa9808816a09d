"""The browser session of an installation: linked as a phone would link it."""

from __future__ import annotations

import asyncio
from typing import Final

from chaos.installation import Installation, NeverHappened
from shared.clock import left, monotonic

_SESSION_S: Final = 90.0
"""Longest wait for a session's state, in seconds: Chromium starts, loads the page and synchronises."""
_LOOK_S: Final = 0.2
"""Seconds between two questions to the API: a code lives for 20 s, so that a fifth of a second does not matter."""


async def wait_session(
    installation: Installation, desired: str, *, phone_index: int = 1, within_s: float = _SESSION_S
) -> str:
    """Wait until the session is in a state, and return the code that it shows ("" when none). Raises
    `NeverHappened`.
    """
    by = monotonic() + within_s
    seen = "nothing"
    while True:
        answer = await installation.api("GET", f"/api/v2/sessions/{installation.settings.company_id}/{phone_index}")
        if answer is not None and answer.status == 200:
            seen = answer.body["state"]
            if seen == desired:
                return answer.body.get("qr") or ""
        if left(by) <= 0:
            raise NeverHappened(f"not within {within_s:g} s: the session is {desired}; it is {seen}")
        await asyncio.sleep(_LOOK_S)


async def link(installation: Installation) -> None:
    """Scan the code that the session shows, and wait until it is ready. Raises `NeverHappened`."""
    code = await wait_session(installation, "needs_link")
    answer = await installation.sandbox("POST", "web/scan", body={"code": code})
    if answer is None or answer.status != 200:
        raise NeverHappened("the code was scanned")
    await wait_session(installation, "ready")
