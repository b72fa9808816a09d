"""Handles a session's page events: inbound messages, acks, and catch-up after a gap."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

from shared.clock import monotonic, utc_now
from shared.errors import StoreUnavailable
from shared.inbound_events import Contact
from shared.logs import logger
from shared.messages import InboundMessage
from webdriver.chromium.browser import BrowserLost, CallTimedOut, ScriptFailed
from webdriver.page import parsing
from webdriver.page.bridge import Bridge, PageEvent, PageRefused
from webdriver.session.reports import SessionReports

log = logger(__name__)

_OWN_MESSAGES_KEPT: Final = 2000
"""Ids of our own messages that are remembered; older ones are recognised by the database."""
_CATCH_UP_S: Final = 60.0
"""Longest query after a gap, which competes with sends for the page."""
_AGAIN_S: Final = 2.0
"""Pause after a query that failed, and how long after a reaction its own event may come."""
_ACKS_AT_ONCE: Final = 50
"""Messages of one query for acks, so that the page answers probes in between."""
_READ: Final = 3
"""Ack of a message that was read (see `parsing.ACKS`): nothing that follows it is worth a query."""
_NOTED_EVERY_S: Final = 10.0
"""Least interval between two positions, each of which is a write."""
_MARGIN: Final = timedelta(minutes=2)
"""How far before its position the page is queried: clocks differ, and its last events may not have been kept."""
_FIRST_LOOK: Final = timedelta(days=1)
"""How far back the page of a session without a position is queried."""
_BOUNDS: Final[Mapping[str, int]] = {"chats": 100, "each": 50, "most": 500, "peek": 15, "reacted": 20, "total": 3000}
"""Limits of a query after a gap: chats, messages of a chat at a time and in all, messages of a quiet chat, chats
whose reactions are read, messages in all."""


class PageEventHandler:
    """Turns the page's events into reports.

    Args:
        reports: the way to the store. connection_id: whose page it is.
    """

    def __init__(self, reports: SessionReports, connection_id: int) -> None:
        self._reports, self._store, self._connection_id = reports, reports.store, connection_id
        self._own: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._expected: Counter[str] = Counter()
        self._forwarding: dict[str, list[Mapping[str, Any]]] = {}
        self._resolved: set[str] = set()
        """Chats whose number was reported in this life of the process."""
        self._page: Bridge | None = None
        self._asking: asyncio.Task[None] | None = None
        self._noted_at = 0.0
        self._failed_before = False

    # our own operations

    def remember(self, message_id: str) -> None:
        """Remember the id that was chosen for a message of ours, so that the page's events about it are recognised."""
        # a repeated attempt must not reset the ack that is known
        self._own.setdefault(_bare(message_id), (message_id, 0))
        while len(self._own) > _OWN_MESSAGES_KEPT:
            self._own.popitem(last=False)

    def resolved(self, number: str, chat: str) -> None:
        """Report that the page stores the chat with a number under an id of its own, so that messages under that id are
        assigned to the same chat."""
        # only for a number and a hidden id (`@lid`): WhatsApp hides numbers behind such ids, and answers arrive under
        # them
        if chat.endswith("@lid") and "@" not in number and chat not in self._resolved:
            self._resolved.add(chat)
            self._reports.contact(
                Contact(
                    connection_id=self._connection_id,
                    user_id=parsing.canonical(chat),
                    phone=number.lstrip("+"),
                    at=utc_now(),
                )
            )

    @contextmanager
    def sending(
        self, operation: str, chat: str, token: str, arguments: Mapping[str, Any]
    ) -> Iterator[Callable[[str], None]]:
        """Suppress the page's events about an operation of ours while the block runs.

        Arguments as for `Bridge.run`.
        Yields:
            A function to be called with the provider's id once the operation is known to be carried out.
        """
        self.remember(token)
        # reactions have no id of ours: its event is recognised by target and emoji, and each send stands for one event
        if operation == "reaction":
            with self._expecting(_reaction(str(arguments["target"]), str(arguments["emoji"]))):
                yield lambda _: None
        elif operation == "forward":
            # the page's event about our message can be recognised only when the message's id is known
            self._forwarding[chat] = []
            sent: list[str] = []
            try:
                yield sent.append
            finally:
                # the events were held back until here: that of our own message is dropped now, one of a message from
                # the phone is reported
                held = self._forwarding.pop(chat)
                for message_id in sent:
                    self.remember(message_id)
                for raw in held:
                    self.receive(PageEvent("message", raw))
        else:
            yield lambda _: None

    @contextmanager
    def _expecting(self, reaction: str) -> Iterator[None]:
        self._expected[reaction] += 1
        try:
            yield
        finally:
            # its event may come a little after the answer
            asyncio.get_running_loop().call_later(_AGAIN_S, self._no_longer_expect, reaction)

    def _no_longer_expect(self, reaction: str) -> None:
        self._expected.pop(reaction, None)

    # events

    def acknowledged(self, message_id: str, ack: int) -> None:
        """Report an ack of one of our messages."""
        bare = _bare(message_id)
        known, last = self._own.get(bare, (message_id, 0))
        # acks may arrive out of order; only a higher one is progress
        if bare in self._own:
            self._own[bare] = (known, max(last, ack))
        if found := parsing.receipt(self._connection_id, known, ack, utc_now()):
            self._reports.receipt(found)

    def receive(self, event: PageEvent) -> None:
        """Handle one event about messages; an unreadable one is logged and left out. Never fails."""
        try:
            if event.kind == "ack":
                for message_id in event.data["ids"]:
                    self.acknowledged(str(message_id), int(event.data["ack"]))
            elif not self._is_held(event):
                self._report(event.data, event.kind)
        except (parsing.EventUnreadable, KeyError, TypeError, ValueError) as error:
            log.warning(
                "page_event_unreadable",
                connection_id=self._connection_id,
                event_kind=event.kind,
                error=type(error).__name__,
            )
        # a position beyond a gap would cover events that were not received
        if self._page is not None and not self._page.lost_events and monotonic() - self._noted_at >= _NOTED_EVERY_S:
            self._note(utc_now())

    def _is_held(self, event: PageEvent) -> bool:
        raw = event.data
        if event.kind == "message" and raw["fromMe"] and raw.get("forwarded") and raw["chat"] in self._forwarding:
            self._forwarding[raw["chat"]].append(raw)
            return True
        return False

    def _report(self, raw: Mapping[str, Any], kind: str) -> None:
        message = parsing.read(self._connection_id, kind, raw, utc_now())
        if message is not None and message.from_me and self._is_ours(message):
            return
        self._reports.inbound(raw if kind == "message" else {"event": kind, **raw})

    def _is_ours(self, message: InboundMessage) -> bool:
        """Whether the event is about an operation of ours; what was done on the phone is reported."""
        # by the bare id: the rest of a group's message id differs between events
        if _bare(message.provider_id) in self._own:
            return True
        if message.type != "reaction":
            return False
        reaction = _reaction(str(message.content["target"]), str(message.content["emoji"]))
        # no send of ours is open for it; the entry is removed, so that the table holds expected reactions only
        if self._expected[reaction] <= 0:
            del self._expected[reaction]
            return False
        self._expected[reaction] -= 1
        return True

    # catch-up

    async def catch_up(self, bridge: Bridge) -> None:
        """Start to query the page for events that were not received: nothing was listening, or they were lost."""
        if self._asking is not None and not self._asking.done():
            if self._page is bridge:
                return
            # its page has been replaced
            self._asking.cancel()
        self._page = bridge
        self._asking = asyncio.get_running_loop().create_task(
            self._catch_up(bridge), name=f"catch-up-{self._connection_id}"
        )

    async def _catch_up(self, bridge: Bridge) -> None:
        # taken before the query: the new position must not cover what happens while the query runs
        began_at = utc_now()
        # also before it: an event that is lost during the query requires another one
        bridge.lost_events = False
        by = monotonic() + _CATCH_UP_S
        try:
            received_until = await self._store.position(self._connection_id)
            since = received_until - _MARGIN if received_until else began_at - _FIRST_LOOK
            found, cut, failed = await bridge.since(since.timestamp(), _BOUNDS, by)
            missed = await self._unknown(found)
            await self._ask_for_acks(bridge, by)
        # no position is written, so the next probe of a ready page starts catch-up again, after a pause
        except (BrowserLost, CallTimedOut, ScriptFailed, StoreUnavailable, PageRefused) as error:
            if not self._failed_before:
                log.warning(
                    "catch_up_failed", connection_id=self._connection_id, error=type(error).__name__, reason=str(error)
                )
            self._failed_before = True
            # the pause comes before the flag is set, since the next probe reacts to the flag at once
            await asyncio.sleep(_AGAIN_S)
            bridge.lost_events = True
            return
        self._failed_before = False
        for event in missed:
            self.receive(event)
        if not bridge.lost_events:
            self._note(began_at)
        if cut or failed:
            log.warning(
                "catch_up_cut",
                connection_id=self._connection_id,
                since=since.isoformat(),
                messages=len(found),
                chats_failed=failed,
            )
        if missed:
            log.info("caught_up", connection_id=self._connection_id, messages=len(missed))

    async def _unknown(self, found: list[PageEvent]) -> list[PageEvent]:
        """Return those of the page's events that are not in the database."""
        named: list[tuple[str, PageEvent]] = []
        for event in found:
            try:
                message = parsing.read(self._connection_id, event.kind, event.data, utc_now())
            except parsing.EventUnreadable:
                # reported again, so that it is logged where all such events are
                message = None
            named.append((message.provider_id if message else "", event))
        known = await self._store.known(self._connection_id, [name for name, _ in named if name])
        # a message without an id is unreadable or still encrypted, which `receive` decides; other events without an id
        # mean nothing
        return [event for name, event in named if name not in known and (name or event.kind == "message")]

    async def _ask_for_acks(self, bridge: Bridge, by: float) -> None:
        # a negative ack is final; an id without a chat is not that of a message, but identifies another operation of
        # ours
        unread = [
            message_id for message_id, ack in self._own.values() if 0 <= ack < _READ and parsing.chat_of(message_id)
        ]
        await self._ask_for(bridge, unread, by)
        ids, below = await self._store.unread_sends(self._connection_id)
        await self._ask_for(bridge, ids, by)
        while below is not None:
            ids, below = await self._store.unread_sends(self._connection_id, below)
            await self._ask_for(bridge, ids, by)

    async def _ask_for(self, bridge: Bridge, ids: Sequence[str], by: float) -> None:
        for start in range(0, len(ids), _ACKS_AT_ONCE):
            for message_id, ack in (await bridge.acks(ids[start : start + _ACKS_AT_ONCE], by)).items():
                if ack > self._own.get(_bare(message_id), ("", 0))[1]:
                    self.acknowledged(message_id, ack)

    def _note(self, until: datetime) -> None:
        self._noted_at = monotonic()
        self._reports.received(until)


def _reaction(target: str, emoji: str) -> str:
    return f"{target} {emoji}"


def _bare(message_id: str) -> str:
    """Return the part of a serialized id that identifies the message alone: `true_<chat>_<this>_<participant>`."""
    parts = message_id.split("_")
    return parts[2] if len(parts) >= 3 and parts[0] in ("true", "false") else message_id
