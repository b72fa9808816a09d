"""The load: unique messages over many chats, sent as a careful client sends: with a key, in order, asking again with the same key until there is an answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chaos.installation import Installation
from chaos.judge import Accepted
from shared.errors import BulkheadError

_ASK_S: Final = 8.0
_AGAIN_S: Final = (0.05, 0.5)
_FIRST_NUMBER: Final = 15_551_000_000
NUMBERS: Final = {0: "100000000000001", 2: "100000000000002", 3: "100000000000003"}
"""The sandbox's phone number ids, by phone index of its first company."""
CUSTOMERS_EVERY_S: Final = 2.0
"""How often a customer writes to each of these numbers: where nothing ever comes in, silence is evidence of nothing."""
_CUSTOMER: Final = "15559999999"
CONNECTION_TYPES: Final = {0: "meta_direct", 1: "wwebjs", 2: "360dialog", 3: "meta_embedded"}


class ClientWronged(BulkheadError):
    """Raised when the API answers a correct request with something that no client can do anything about."""


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation: connection and phone number."""

    phone_index: int
    number: str

    @property
    def name(self) -> str:
        """Name in reports."""
        return f"{CONNECTION_TYPES[self.phone_index]}/{self.number[-4:]}"


class Load:
    """Sends until it is stopped.

    Args:
        mark: beginning of every text and key; unique to this run. rate: messages a second over all chats. chats: conversations on each connection.
        phone_indexes: the connections. company: the tenant.
    Attributes:
        accepted: what was promised so far. asked: requests made. reasons: why some had to be made again: no answer, or its status.
    """

    def __init__(
        self,
        installation: Installation,
        *,
        mark: str,
        rate: float,
        chats: int,
        phone_indexes: Sequence[int] = (0, 2, 3),
        company: str = "demo",
    ) -> None:
        self._installation, self._mark, self._company = installation, mark, company
        self._chats = [
            Chat(index, str(_FIRST_NUMBER + 10_000 * index + number))
            for index in phone_indexes
            for number in range(chats)
        ]
        self._every_s = len(self._chats) / rate
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._customers: list[asyncio.Task[None]] = []
        self.accepted: list[Accepted] = []
        self.asked = 0
        self.reasons: Counter[str] = Counter()

    @property
    def again(self) -> int:
        """How many requests had to be made again."""
        return self.reasons.total()

    @property
    def chats(self) -> Sequence[Chat]:
        """Every conversation."""
        return self._chats

    def path(self, chat: Chat, message_id: str = "") -> str:
        """Return where the API shows a chat, or one message of it."""
        return f"/api/v2/messages/{self._company}/{chat.number}" + (f"/{message_id}" if message_id else "")

    def start(self) -> None:
        """Begin to send."""
        self._tasks = [asyncio.create_task(self._talk(chat)) for chat in self._chats]
        numbers = {NUMBERS[chat.phone_index] for chat in self._chats if chat.phone_index in NUMBERS}
        self._customers = [asyncio.create_task(self._write_as_customer(number)) for number in sorted(numbers)]

    async def stop(self) -> None:
        """Begin no further message, and return when each one that was begun has its answer; customers write on. Raises what a chat failed with."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def cancel(self) -> None:
        """Leave at once."""
        tasks = [*self._tasks, *self._customers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def raise_if_failed(self) -> None:
        """Raise what a chat failed with, if one did."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    async def _talk(self, chat: Chat) -> None:
        number = 0
        # spread over the interval, so that chats do not march in step
        wait_s = random.uniform(0.0, self._every_s)  # noqa: S311 - dice, not secrets
        while not await _is_set_within(self._stopping, wait_s):
            number += 1
            began = time.monotonic()
            self.accepted.append(await self._send(chat, number))
            wait_s = max(0.0, self._every_s - (time.monotonic() - began))

    async def _write_as_customer(self, number: str) -> None:
        count = 0
        while True:
            count += 1
            # a provider that is away just now has no customers
            await self._installation.sandbox(
                "POST", "inbound", body={"phone_number_id": number, "from": _CUSTOMER, "text": f"question {count}"}
            )
            await asyncio.sleep(CUSTOMERS_EVERY_S)

    async def _send(self, chat: Chat, number: int) -> Accepted:
        text = f"{self._mark} {chat.name} {number}"
        body = {"message": text, "phoneIndex": chat.phone_index}
        key = text.replace(" ", ".")
        tries = 0
        while True:
            tries += 1
            self.asked += 1
            answer = await self._installation.api(
                "POST", f"/api/v2/messages/text/{self._company}/{chat.number}", body=body, key=key, within_s=_ASK_S
            )
            if answer is not None and answer.status in (200, 202):
                return Accepted(
                    text=text,
                    chat=chat.name,
                    number=number,
                    accepted_at=time.time(),
                    id=str(answer.body["id"]),
                    tries=tries,
                )
            if answer is not None and answer.status < 500 and answer.status != 429:
                raise ClientWronged(f"{text}: the API answered {answer.status}: {answer.body}")
            self.reasons["no answer" if answer is None else str(answer.status)] += 1
            await asyncio.sleep(random.uniform(*_AGAIN_S))  # noqa: S311 - dice, not secrets


async def _is_set_within(event: asyncio.Event, wait_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), wait_s)
    except TimeoutError:
        return event.is_set()
    return True
