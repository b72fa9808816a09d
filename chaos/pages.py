"""Links the browser session of an installation, as a phone does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from chaos.installation import ChaosInstallation, NeverHappened
from shared.clock import left, monotonic

_SESSION_S: Final = 180.0
"""Longest wait for a session's state, in seconds: Chromium starts, loads the page and synchronises."""
_LOOK_S: Final = 0.2
"""Polling interval for the API in seconds: short against the 20 s for which a code is valid."""


async def wait_session(
    installation: ChaosInstallation, desired: str, *, phone_index: int = 1, within_s: float = _SESSION_S
) -> str:
    """Wait until the session is in a state, and return its code ("": none). Raises `NeverHappened`."""
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


async def link(installation: ChaosInstallation) -> None:
    """Scan the code that the session shows, and wait until it is ready. Raises `NeverHappened`."""
    await _scan(installation, code=await wait_session(installation, "needs_link"))


@dataclass(frozen=True, slots=True)
class LinkedPage:
    """The provider's name of a browser profile, and the phone that it is linked to."""

    device: str
    phone: str


async def linked_page(installation: ChaosInstallation) -> LinkedPage:
    """Return the linked page. Raises `NeverHappened`."""
    answer = await installation.sandbox("GET", "web/devices")
    devices = answer.body["devices"] if answer is not None and answer.status == 200 else []
    linked = [LinkedPage(device["device"], device["phone"]) for device in devices if device["phone"]]
    if not linked:
        raise NeverHappened("no page is linked")
    return linked[0]


async def order(installation: ChaosInstallation, page: LinkedPage, what: str, **body: object) -> None:
    """Send a control call about a page. Raises `NeverHappened`."""
    answer = await installation.sandbox("POST", f"web/devices/{page.device}/{what}", body=body)
    if answer is None or answer.status != 200:
        raise NeverHappened("the provider is away")


async def relink(installation: ChaosInstallation, *, lost_s: float, other_phone: bool) -> None:
    """Withhold the acks of sends from the page for a while, end the link at the phone, and scan the new code. Raises
    `NeverHappened`.

    Args:
        other_phone: scan with another phone.
    """
    page = await linked_page(installation)
    await order(installation, page, "faults", lose_acks=[1, 2, 3])
    await asyncio.sleep(lost_s)
    await order(installation, page, "logout")
    code = await wait_session(installation, "needs_link")
    await order(installation, page, "faults", lose_acks=[])
    phone = str(int(page.phone) + 1) if other_phone else page.phone
    await _scan(installation, code=code, phone=phone)


async def _scan(installation: ChaosInstallation, **body: str) -> None:
    answer = await installation.sandbox("POST", "web/scan", body=body)
    if answer is None or answer.status != 200:
        raise NeverHappened("the code was scanned")
    await wait_session(installation, "ready")
