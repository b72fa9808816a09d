"""Reads what the API reports about the messages of one run: state, hold, history. The judge compares it with the
ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from chaos.installation import ChaosInstallation
from chaos.judge import AcceptedMessage, HistoryStep, ReportedState
from chaos.load import ChaosLoad, Chat
from shared.clock import left

_PAGE: Final = 200
"""The API's largest page."""
_READERS: Final = 8
"""Concurrent calls: more would only wait for each other, on a slow machine beyond the time limit of a call."""


class ApiView:
    """Reads one run's messages from the API."""

    def __init__(self, installation: ChaosInstallation, load: ChaosLoad) -> None:
        self._installation, self._load = installation, load
        self._readers = asyncio.Semaphore(_READERS)

    async def states(self) -> dict[str, ReportedState] | None:
        """Return the state of every message, by its text; None when the API does not answer."""
        listed: dict[str, dict[str, Any]] = {}
        for page in await asyncio.gather(*(self._chat(chat) for chat in self._load.chats)):
            if page is None:
                return None
            listed |= {entry["id"]: entry for entry in page}
        # `heldForHumanAt` is only in a message's details; since only messages in doubt can be held, one call for each
        # of them suffices
        in_doubt = [m for m in self._load.accepted if m.id in listed and listed[m.id]["status"] == "in_doubt"]
        details = await asyncio.gather(*(self._details(message) for message in in_doubt))
        held = {found["id"] for found in details if found is not None and found["heldForHumanAt"]}
        return {
            message.text: ReportedState(
                state=listed[message.id]["status"],
                code=listed[message.id]["errorCode"] or "",
                held=message.id in held,
            )
            for message in self._load.accepted
            # the lists are read page by page while the load goes on: a message accepted after its chat was read is
            # missing here
            if message.id in listed
        }

    async def with_histories(
        self, reported: dict[str, ReportedState], messages: Iterable[AcceptedMessage], by: float
    ) -> dict[str, ReportedState] | None:
        """Return `reported` with the histories of `messages`; None when the API did not return all of them by an
        instant: without its history a message would be judged by half of the facts.
        """
        unread = [message for message in messages if message.text in reported]
        found = dict(reported)
        while True:
            details = await asyncio.gather(*(self._details(message) for message in unread))
            for message, detail in zip(unread, details, strict=True):
                if detail is not None:
                    found[message.text] = replace(reported[message.text], history=_history(detail))
            unread = [message for message, detail in zip(unread, details, strict=True) if detail is None]
            if not unread:
                return found
            if left(by) <= 0:
                return None

    async def _chat(self, chat: Chat) -> list[dict[str, Any]] | None:
        """Return every message of a chat, None when the API does not answer."""
        found: list[dict[str, Any]] = []
        cursor = ""
        # the limit counts chats, not pages: otherwise all chats would advance together, and the snapshot of each would
        # take as long as all of them
        async with self._readers:
            while True:
                answer = await self._installation.api("GET", f"{chat.path()}?limit={_PAGE}{cursor}")
                # half of a chat would look like messages that Bulkhead has lost
                if answer is None or answer.status != 200:
                    return None
                found += answer.body["messages"]
                if not answer.body["next"]:
                    return found
                cursor = f"&cursor={answer.body['next']}"

    async def _details(self, message: AcceptedMessage) -> dict[str, Any] | None:
        async with self._readers:
            answer = await self._installation.api("GET", self._load.chat_named(message.chat).path(message.id))
        return answer.body if answer is not None and answer.status == 200 else None


def _history(detail: Mapping[str, Any]) -> tuple[HistoryStep, ...]:
    return tuple(
        HistoryStep(state=step["state"], attempt=step["attempt"], code=step["code"] or "") for step in detail["history"]
    )
