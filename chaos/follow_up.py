"""The operator during a run: queues failed messages again, and resolves held ones by the provider's ledger."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from chaos.installation import ChaosInstallation
from chaos.judge import PARKED, AcceptedMessage
from chaos.ledger import LedgerReader
from chaos.load import ChaosLoad, Chat

_EVERY_S: Final = 2.0
"""Seconds between two rounds over the dead letters of every company."""


class FollowUp:
    """Processes dead letters until it is cancelled.

    Attributes:
        done: how often each decision was made: `redriven after CODE`, `resolved_sent`, `resolved_resend`.
    """

    def __init__(self, installation: ChaosInstallation, load: ChaosLoad, ledger: LedgerReader) -> None:
        self._installation, self._load, self._ledger = installation, load, ledger
        self.done: Counter[str] = Counter()
        self._at_work = asyncio.Lock()
        self._has_ended = False
        self._times_at_redrive: dict[str, int] = {}
        self._confirmed: set[str] = set()

    async def run(self) -> None:
        """Run rounds until cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(_EVERY_S)

    async def round(self) -> None:
        """Process every dead letter once; those for which the API does not answer are left for the next round."""
        # one round at a time: two would redrive the same message, and the second would count the first as a failure
        # without a send
        async with self._at_work:
            if not self._has_ended:
                await self._round()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Decide nothing while the block runs."""
        async with self._at_work:
            yield

    def end(self) -> None:
        """Decide nothing any more."""
        self._has_ended = True

    async def _round(self) -> None:
        by_id = {message.id: message for message in self._load.accepted}
        for company in self._load.companies:
            for letter in await self._letters(company):
                # a joined installation may have dead letters of earlier runs, which stay as they are
                message = by_id.get(letter["id"])
                if message is not None:
                    await self._decide(message, letter)

    async def _letters(self, company: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            answer = await self._installation.api("GET", f"/api/v2/dead-letters/{company}{cursor}")
            if answer is None or answer.status != 200:
                # process the letters read so far; the next round reads the rest
                return found
            found += answer.body["letters"]
            if not answer.body["next"]:
                return found
            cursor = f"?cursor={answer.body['next']}"

    async def _decide(self, message: AcceptedMessage, letter: dict[str, Any]) -> None:
        chat = self._load.chat_named(message.chat)
        if letter["status"] == "failed":
            # parked messages are judged, not redriven
            if letter["error"]["code"] != PARKED:
                await self._redrive(chat, message, letter["error"]["code"])
        elif letter["heldForHumanAt"] and not chat.is_left:
            await self._resolve(chat, message)

    async def _redrive(self, chat: Chat, message: AcceptedMessage, code: str) -> None:
        self._ledger.read()
        times = self._ledger.times[message.text]
        # it failed again without another call to the provider, so that something unrelated to this attempt failed it
        if message.text in self._confirmed and times == self._times_at_redrive.get(message.text):
            self._load.note_unsent_failure(message.text)
        self._times_at_redrive[message.text] = times
        # counted before the call, whose response may be lost after the message was queued again
        self._load.note_redrive(message.text)
        answer = await self._installation.api("POST", chat.path(message.id) + "/redrive")
        # without a response it may still be the failure from before: the request was not carried out
        self._confirmed.discard(message.text)
        if answer is not None and answer.status == 202:
            self._confirmed.add(message.text)
            self.done[f"redriven after {code}"] += 1

    async def _resolve(self, chat: Chat, message: AcceptedMessage) -> None:
        self._ledger.read()
        # a human operator would check the recipient's phone; here the ledger replaces it. Arrivals before a redrive
        # were refused by the provider, and do not count
        is_there = self._ledger.times[message.text] > self._times_at_redrive.get(message.text, 0)
        decision = "sent" if is_there else "resend"
        answer = await self._installation.api("POST", chat.path(message.id) + "/resolve", body={"as": decision})
        if answer is not None and answer.status == 200:
            self.done[f"resolved_{decision}"] += 1
