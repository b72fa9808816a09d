"""The load: unique messages over many chats of several companies, sent as by a careful client: with an idempotency key,
in order within a chat, and repeated with the same key until there is a response. Some are scheduled, some of those
cancelled, and some chats request an in-doubt policy of their own.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from chaos.calls import CallAnswer
from chaos.forms import BROWSER_TYPES, FORMS, draw
from chaos.installation import ChaosInstallation
from chaos.judge import AcceptedMessage
from chaos.ledger import reaction_to
from shared.channels.registry import CHANNELS
from shared.errors import BulkheadError

_ASK_S: Final = 8.0
"""Longest wait in seconds for a response of the API; a repetition with the same key is safe."""
_AGAIN_S: Final = (0.05, 0.5)
"""Range of seconds until a request is repeated. Random, so that clients do not all return at once to a restarted
process.
"""
_FIRST_NUMBER: Final = 15_551_000_000
"""First phone number of the load; each connection has the next 10,000, so that no chat is shared by two."""
_DEMOS: Final = {channel.demo.phone_index: (channel.name, channel.demo) for channel in CHANNELS if channel.demo}
NUMBERS: Final = {index: demo.account_id for index, (_, demo) in sorted(_DEMOS.items()) if demo.account_id}
"""The sandbox's phone number ids, by phone index of its first company."""
CUSTOMERS_EVERY_S: Final = 2.0
"""How often a customer writes to each of these numbers: without inbound webhooks, a missing status proves nothing."""
_CUSTOMER: Final = "15559999999"
"""Number that the customers' messages come from, outside the range of the chats, which contain messages of the load
only.
"""
CONNECTION_TYPES: Final = {index: name for index, (name, _) in sorted(_DEMOS.items())}

_SCHEDULED_SHARE: Final = 0.04
"""Share of messages with `sendAt`: enough to meet every fault in a long run, and few enough that the order of a chat
can be tested.
"""
_CANCELLED_SHARE: Final = 0.02
"""Share of messages that are scheduled and cancelled at once."""
_ACTING_SHARE: Final = 0.08
"""Share of messages that act on the one before: reactions on Meta's channels, edits in a browser session."""
_EMOJI: Final = "👍"
_SCHEDULED_S: Final = (1.0, 5.0)
"""Range of seconds until a scheduled message is due: about the duration of a restart."""
_CANCELLED_AHEAD_S: Final = 60.0
"""Seconds; long enough that a cancellation normally comes first. A stopped installation may send the message first, and
then answers 409.
"""
_FLOOD_AT_ONCE: Final = 16
"""Concurrent requests of a flood: few enough that the API has capacity for the rest of the load."""
_POLICIES: Final = {3: "hold", 7: "resend"}
"""In-doubt policy of a chat, by the last digit of its number within the connection; other chats use the installation's.
"""


class ClientWronged(BulkheadError):
    """Raised when the API refuses a correct request."""


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation: company, connection and phone number.

    Attributes:
        account: the provider's id of the connection's number; empty for a browser session. policy: requested with each
            message; empty: none. is_left: held messages stay held until the run ends.
    """

    phone_index: int
    number: str
    company: str = "demo"
    account: str = ""
    policy: str = ""
    is_left: bool = False

    @property
    def name(self) -> str:
        """Name in reports."""
        kind = CONNECTION_TYPES[self.phone_index] if self.company == "demo" else self.company
        return f"{kind}/{self.number[-5:]}"

    def path(self, message_id: str = "") -> str:
        """Return the API's path of the chat, or of one of its messages."""
        return f"/api/v2/messages/{self.company}/{self.number}" + (f"/{message_id}" if message_id else "")


@dataclass(frozen=True, slots=True)
class Tenant:
    """Another company, with a connection of its own.

    Attributes:
        phone_index, account: of that connection.
    """

    company: str
    phone_index: int
    account: str


class ChaosLoad:
    """Sends until it is stopped.

    Args:
        mark: prefix of every text and key; unique to this run. rate: messages a second over all chats. chats:
            conversations on each connection.
        phone_indexes: the first company's connections. company: the first company. tenants: further companies.
        varied: whether types, schedules, cancellations and policies vary; otherwise plain texts only. seed: for random
            choices.
    Attributes:
        accepted: messages accepted so far. names: texts of messages that are only a file, by its SHA-256. asked:
            requests made. reasons: why requests were repeated: no response, or its status. silent: accounts whose
            webhooks are not posted any more.
    """

    def __init__(
        self,
        installation: ChaosInstallation,
        *,
        mark: str,
        rate: float,
        chats: int,
        phone_indexes: Sequence[int] = (0, 2, 3),
        company: str = "demo",
        tenants: Sequence[Tenant] = (),
        varied: bool = False,
        seed: int = 0,
    ) -> None:
        self._installation, self._mark, self._varied = installation, mark, varied
        self._dice = random.Random(seed)  # noqa: S311 - dice, not secrets
        connections = [(company, index, NUMBERS.get(index, "")) for index in phone_indexes]
        connections += [(tenant.company, tenant.phone_index, tenant.account) for tenant in tenants]
        self._chats = [
            Chat(
                index,
                str(_FIRST_NUMBER + 10_000 * place + number),
                name,
                account,
                _POLICIES.get(number % 10, "") if varied else "",
            )
            for place, (name, index, account) in enumerate(connections)
            for number in range(chats)
        ]
        # each chat sends one message in this interval, so that all chats together keep the rate
        self._every_s = len(self._chats) / rate
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._customers: list[asyncio.Task[None]] = []
        self.accepted: list[AcceptedMessage] = []
        self.names: dict[str, str] = {}
        self.silent: set[str] = set()
        self.asked = 0
        self.reasons: Counter[str] = Counter()

    @property
    def again(self) -> int:
        """How many requests had to be repeated."""
        return self.reasons.total()

    @property
    def chats(self) -> Sequence[Chat]:
        """Every conversation."""
        return self._chats

    @property
    def companies(self) -> list[str]:
        """Every company that sends."""
        return sorted({chat.company for chat in self._chats})

    def chat_named(self, name: str) -> Chat:
        """Return a conversation. Raises `StopIteration` when none has this name."""
        return next(chat for chat in self._chats if chat.name == name)

    def start(self) -> None:
        """Start sending."""
        self._tasks = [asyncio.create_task(self._talk(chat)) for chat in self._chats]
        accounts = {chat.account for chat in self._chats if chat.account}
        self._customers = [asyncio.create_task(self._write_as_customer(number)) for number in sorted(accounts)]

    async def flood(self, tenant: Tenant, *, first: int, chats: int, policy: str) -> list[str]:
        """Send one message to each of `chats` new conversations of a tenant, in which held messages stay held. Each
        tenant can be flooded once. Returns the texts. Raises the error of a failed send.

        Args:
            first: number of the first of them, above those of the load's own chats.
        """
        if any(chat.is_left and chat.company == tenant.company for chat in self._chats):
            return []
        own = next(chat for chat in self._chats if chat.company == tenant.company)
        new = [replace(own, number=str(int(own.number) + first + n), policy=policy, is_left=True) for n in range(chats)]
        self._chats += new
        at_once = asyncio.Semaphore(_FLOOD_AT_ONCE)

        async def send(chat: Chat) -> str:
            async with at_once:
                accepted = await self._send(chat, 1)
            self.accepted.append(accepted)
            return accepted.text

        return await asyncio.gather(*map(send, new))

    async def stop(self) -> None:
        """Start no further message, and return when every request has its response; customers continue to write. Raises
        the error of a failed chat.
        """
        self._stopping.set()
        # customers continue to write while the messages settle: a missing status is evidence only if other webhooks
        # arrive
        await asyncio.gather(*self._tasks)

    async def cancel(self) -> None:
        """Cancel every task."""
        tasks = [*self._tasks, *self._customers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def raise_if_failed(self) -> None:
        """Raise the error of a failed chat, if there is one."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    def note_redrive(self, text: str) -> None:
        """Record that a failed message was queued again."""
        self._change(text, redrives=1)

    def note_unsent_failure(self, text: str) -> None:
        """Record that a redriven message failed again without another call to the provider."""
        self._change(text, unsent_failures=1)

    def _change(self, text: str, *, redrives: int = 0, unsent_failures: int = 0) -> None:
        # entries are immutable, so that a judged result does not change; the search is linear, since redrives are few
        place = next(place for place, message in enumerate(self.accepted) if message.text == text)
        message = self.accepted[place]
        self.accepted[place] = replace(
            message,
            redrives=message.redrives + redrives,
            unsent_failures=message.unsent_failures + unsent_failures,
        )

    async def _talk(self, chat: Chat) -> None:
        number = 0
        target: AcceptedMessage | None = None
        # spread over the interval, so that chats do not send at the same instants
        wait_s = random.uniform(0.0, self._every_s)  # noqa: S311 - dice, not secrets
        while not await _is_set_within(self._stopping, wait_s):
            number += 1
            # the next message of a chat is sent after the response to this one, so that the expected order is certain
            began = time.monotonic()
            accepted = await self._act(chat, number, target) or await self._send(chat, number)
            self.accepted.append(accepted)
            # each text is edited, or reacted to, at most once, so that an arrival identifies it
            target = accepted if accepted.type == "text" and accepted.send_at is None else None
            wait_s = max(0.0, self._every_s - (time.monotonic() - began))

    async def _write_as_customer(self, number: str) -> None:
        count = 0
        while True:
            count += 1
            # while the sandbox is down, customers do not write
            await self._installation.sandbox(
                "POST", "inbound", body={"phone_number_id": number, "from": _CUSTOMER, "text": f"question {count}"}
            )
            await asyncio.sleep(CUSTOMERS_EVERY_S)

    async def _act(self, chat: Chat, number: int, target: AcceptedMessage | None) -> AcceptedMessage | None:
        """React to the message before this one, or edit it where the channel supports that. Returns None when it was
        not chosen, or the message has not been sent yet.
        """
        # the plans aim doubts at chats with a policy; actions have none
        if not self._varied or chat.policy or target is None or self._dice.random() >= _ACTING_SHARE:
            return None
        text = f"{self._mark} {chat.name} {number}"
        if chat.account:
            type_, method, path = "reaction", "POST", f"/api/v2/messages/reaction/{chat.company}/{chat.number}"
            content: dict[str, Any] = {"emoji": _EMOJI}
            body = {**content, "messageId": target.id, "phoneIndex": chat.phone_index}
            self.names[reaction_to(target.text)] = text
        else:
            type_, method, path, body = "edit", "PUT", chat.path(target.id), {"message": text}
            content = {"body": text}
        key = text.replace(" ", ".") + ".act"
        # 409, 422: the message has not been sent, or failed
        answer, tries = await self._until_answered(method, path, text, body=body, key=key, accepts=(202, 409, 422))
        if answer.status != 202:
            return None
        return AcceptedMessage(
            text=text,
            chat=chat.name,
            number=number,
            accepted_at=time.time(),
            id=str(answer.body["id"]),
            tries=tries,
            account=chat.account,
            recipient=chat.number,
            type=type_,
            content=content,
        )

    async def _send(self, chat: Chat, number: int) -> AcceptedMessage:
        text = f"{self._mark} {chat.name} {number}"
        types = frozenset({"text"}) if not self._varied else frozenset(FORMS) if chat.account else BROWSER_TYPES
        form = draw(text, self._dice, types)
        body: dict[str, Any] = {**form.body, "phoneIndex": chat.phone_index}
        if chat.policy:
            body["inDoubtPolicy"] = chat.policy
        lot = self._dice.random() if self._varied else 1.0
        cancels = lot < _CANCELLED_SHARE
        send_at = None
        if lot < _CANCELLED_SHARE + _SCHEDULED_SHARE:
            send_at = time.time() + (_CANCELLED_AHEAD_S if cancels else self._dice.uniform(*_SCHEDULED_S))
            body["sendAt"] = datetime.fromtimestamp(send_at, UTC).isoformat(timespec="milliseconds")
        if form.file:
            # before the request: an arrival may be read before the response
            self.names[form.file] = text
        path = f"/api/v2/messages/{form.type}/{chat.company}/{chat.number}"
        answer, tries = await self._until_answered("POST", path, text, body=body, key=text.replace(" ", "."))
        accepted = AcceptedMessage(
            text=text,
            chat=chat.name,
            number=number,
            # after the response: an arrival may be earlier, which the judge allows
            accepted_at=time.time(),
            id=str(answer.body["id"]),
            tries=tries,
            account=chat.account,
            recipient=chat.number,
            type=form.type,
            content=form.content,
            send_at=send_at,
            policy=chat.policy,
        )
        if not cancels:
            return accepted
        answer, _ = await self._until_answered("DELETE", chat.path(accepted.id), text, accepts=(200, 202, 409))
        # 409: it was sent before the cancellation, and must arrive like any other
        return replace(accepted, is_cancelled=answer.status == 200 and answer.body["status"] == "deleted")

    async def _until_answered(
        self,
        method: str,
        path: str,
        text: str,
        *,
        body: Any = None,
        key: str = "",
        accepts: tuple[int, ...] = (200, 202),
    ) -> tuple[CallAnswer, int]:
        """Repeat a request until it has a response. Returns that with the number of requests. Raises
        `ClientWronged`.
        """
        tries = 0
        while True:
            tries += 1
            self.asked += 1
            answer = await self._installation.api(method, path, body=body, key=key, within_s=_ASK_S)
            if answer is not None and answer.status in accepts:
                return answer, tries
            # 4xx means that the request is wrong. It is not, so that the installation is at fault (429 is
            # back-pressure, which ends)
            if answer is not None and answer.status < 500 and answer.status != 429:
                raise ClientWronged(f"{text}: the API answered {answer.status}: {answer.body}")
            self.reasons["no answer" if answer is None else str(answer.status)] += 1
            await asyncio.sleep(random.uniform(*_AGAIN_S))  # noqa: S311 - dice, not secrets


async def _is_set_within(event: asyncio.Event, wait_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), wait_s)
    # the event may be set in the same loop iteration as the timeout
    except TimeoutError:
        return event.is_set()
    return True
