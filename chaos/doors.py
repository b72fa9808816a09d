"""Faults that an in-doubt policy must not treat as evidence: a provider that reports nothing, something old, or the
truth too late. Each concerns a number or a chat whose messages may wait for a human, or be sent again.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any, Final

from chaos.installation import ChaosInstallation, NeverHappened, until
from chaos.ledger import LedgerReader
from chaos.load import ChaosLoad, Chat
from chaos.outsiders import post_signed, status
from chaos.plans import PlanStep
from chaos.tenants import SECOND, SECOND_WABA

_TAKEN_S: Final = 2.0
"""Seconds for the provider to accept the messages that a fault is armed for."""
_OLD_S: Final = 3600.0
"""Age in seconds of an event that a provider repeats after an outage of its own."""
_CROWD: Final = 540
"""Messages of one number that are held for lack of evidence: more than any query reads at once."""
_CROWD_S: Final = 120.0
"""Longest wait in seconds until they are sent, on a slow machine."""
_CROWD_PLACE: Final = 1_000
"""Number of the first of their chats, above those of the load."""
_CUT: Final = 3
_MINUTES_MS: Final = 150_000.0


class Doors:
    """Carries out these faults.

    Args:
        seed: for random choices.
    """

    def __init__(self, installation: ChaosInstallation, load: ChaosLoad, ledger: LedgerReader, seed: int) -> None:
        self._installation, self._load, self._ledger = installation, load, ledger
        self._dice = random.Random(seed)  # noqa: S311 - dice, not secrets

    async def silent_door(self, _: PlanStep) -> None:
        """End our subscription to an account, cut answers of its number, and repeat an old event of it that has no
        time. Raises `NeverHappened`.

        The account stays unsubscribed: after a new subscription the lost statuses would never come, and a sent message
        would look like one that was not sent.
        """
        await self._unsubscribe()
        await self._arm(fault="cut_after", count=_CUT, phone_number_id=SECOND.account)
        await asyncio.sleep(_TAKEN_S)
        timeless = status("delivered", f"wamid.old-{time.time_ns():x}", "15550100200", "")
        del timeless["timestamp"]
        await post_signed(self._installation, SECOND.account, [timeless], at=time.time() - _OLD_S)

    async def crowd(self, _: PlanStep) -> None:
        """Have more messages of one silent number held for a human than any query reads at once. Raises
        `NeverHappened`.
        """
        await self._unsubscribe()
        fault = await self._arm(fault="cut_after", count=None, phone_number_id=SECOND.account)
        texts = await self._load.flood(SECOND, first=_CROWD_PLACE, chats=_CROWD, policy="")
        # accepted messages are sent a moment later
        await until(
            lambda: all(map(self._ledger.times.__contains__, texts)), _CROWD_S, "the crowd's messages are taken"
        )
        await self._disarm(fault)

    async def endless_doubt(self, step: PlanStep) -> None:
        """Accept each message of a chat with `resend`, answer 502, and report nothing. Raises `NeverHappened`."""
        chat = self._chat("resend")
        faults = [
            await self._arm(fault="5xx_after_accept", count=None, to=chat.number),
            await self._arm(fault="webhook_drop", count=None, to=chat.number),
        ]
        await asyncio.sleep(step.lasts_s)
        for fault in faults:
            await self._disarm(fault)

    async def late_report(self, _: PlanStep) -> None:
        """Cut the response to a message that may be held, and report its status minutes later. Raises
        `NeverHappened`.
        """
        chat = self._chat("hold")
        await self._arm(fault="webhook_delay", count=2, to=chat.number, latency_ms=_MINUTES_MS)
        await self._arm(fault="cut_after", count=1, to=chat.number)

    async def lost_report(self, _: PlanStep) -> None:
        """Cut the response to a message that may be held, and never report a status. Raises `NeverHappened`."""
        chat = self._chat("hold")
        await self._arm(fault="webhook_drop", count=2, to=chat.number)
        await self._arm(fault="cut_after", count=1, to=chat.number)

    async def _unsubscribe(self) -> None:
        answer = await self._installation.graph("DELETE", f"{SECOND_WABA}/subscribed_apps")
        if answer is None or answer.status != 200:
            raise NeverHappened("the provider is away")
        self._load.silent.add(SECOND.account)

    async def _arm(self, **details: Any) -> int:
        answer = await self._installation.sandbox("POST", "faults", body=details)
        if answer is None or answer.status != 200:
            raise NeverHappened("the provider is away")
        return int(answer.body["id"])

    async def _disarm(self, fault: int) -> None:
        # a sandbox that was killed meanwhile has lost its faults
        await self._installation.sandbox("DELETE", f"faults/{fault}")

    def _chat(self, policy: str) -> Chat:
        # not of the silent number, where the chat's messages would wait behind a held one
        able = [
            chat
            for chat in self._load.chats
            if chat.policy == policy and chat.account not in ("", SECOND.account) and not chat.is_left
        ]
        if not able:
            raise NeverHappened(f"a chat asks for the policy {policy}")
        return self._dice.choice(able)
