"""The client's operator during a run: queues failed messages again, and decides about held ones by what the provider's
ledger shows.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

from chaos.installation import Installation
from chaos.judge import PARKED, Accepted
from chaos.ledger import LedgerReader
from chaos.load import Chat, Load

_EVERY_S: Final = 2.0
"""Pause between two rounds over the dead letters of every company."""


class FollowUp:
    """Works on dead letters until it is cancelled.

    Attributes:
        done: how often each decision was made: `redriven after CODE`, `resolved_sent`, `resolved_resend`.
    """

    def __init__(self, installation: Installation, load: Load, ledger: LedgerReader) -> None:
        self._installation, self._load, self._ledger = installation, load, ledger
        self.done: Counter[str] = Counter()
        self._at_work = asyncio.Lock()
        self._times_at_redrive: dict[str, int] = {}

    async def run(self) -> None:
        """Work for ever."""
        while True:
            await self.round()
            await asyncio.sleep(_EVERY_S)

    async def round(self) -> None:
        """Look at every dead letter once; what the API does not answer now is left for the next round."""
        # two rounds at once would both redrive a message of one list, and the second would take the first for no send
        async with self._at_work:
            await self._round()

    async def _round(self) -> None:
        by_id = {message.id: message for message in self._load.accepted}
        for company in self._load.companies:
            for letter in await self._letters(company):
                # dead letters of earlier runs stay in an installation that was joined; they are not ours to decide
                # about
                message = by_id.get(letter["id"])
                if message is not None:
                    await self._decide(message, letter)

    async def _letters(self, company: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            answer = await self._installation.api("GET", f"/api/v2/dead-letters/{company}{cursor}")
            if answer is None or answer.status != 200:
                # what was read so far is decided about; the rest is seen in the next round
                return found
            found += answer.body["letters"]
            if not answer.body["next"]:
                return found
            cursor = f"?cursor={answer.body['next']}"

    async def _decide(self, message: Accepted, letter: dict[str, Any]) -> None:
        chat = self._load.chat_named(message.chat)
        if letter["status"] == "failed":
            # what was parked is judged, not redriven
            if letter["error"]["code"] != PARKED:
                await self._redrive(chat, message, letter["error"]["code"])
        elif letter["heldForHumanAt"] and not chat.is_left:
            await self._resolve(chat, message)

    async def _redrive(self, chat: Chat, message: Accepted, code: str) -> None:
        self._ledger.read()
        times = self._ledger.times[message.text]
        # it failed again, and the provider was not asked in between: something that is not about this attempt failed it
        if times == self._times_at_redrive.get(message.text):
            self._load.note_unsent_failure(message.text)
        self._times_at_redrive[message.text] = times
        # counted before the call: an answer may be lost after the message was queued again
        self._load.note_redrive(message.text)
        answer = await self._installation.api("POST", chat.path(message.id) + "/redrive")
        if answer is not None and answer.status == 202:
            self.done[f"redriven after {code}"] += 1

    async def _resolve(self, chat: Chat, message: Accepted) -> None:
        self._ledger.read()
        # a human operator would look at the recipient's phone; the ledger stands for that. What arrived before a
        # redrive was refused by the provider, and is not there
        is_there = self._ledger.times[message.text] > self._times_at_redrive.get(message.text, 0)
        decision = "sent" if is_there else "resend"
        answer = await self._installation.api("POST", chat.path(message.id) + "/resolve", body={"as": decision})
        if answer is not None and answer.status == 200:
            self.done[f"resolved_{decision}"] += 1
