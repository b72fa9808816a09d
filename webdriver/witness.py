"""What the page of one session tells: messages that came in, what has become of ours, and what it told while nobody listened."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from shared.clock import monotonic, utc_now
from shared.logs import logger
from webdriver import events
from webdriver.bridge import Bridge, PageEvent, PageRefused
from webdriver.browser import BrowserLost, CallTimedOut, ScriptFailed
from webdriver.reports import Reports

log = logger(__name__)

_OWN_MESSAGES_KEPT: Final = 2000
_CATCH_UP_S: Final = 10.0
_READ: Final = 3


class Witness:
    """Turns the page's events into reports.

    Args:
        reports: the way to the store. connection_id: whose page it is.
    """

    def __init__(self, reports: Reports, connection_id: int) -> None:
        self._reports, self._connection_id = reports, connection_id
        self._own: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def remember(self, message_id: str) -> None:
        """Note a message id that was chosen for a send: its events are about our message."""
        self._own.setdefault(_bare(message_id), (message_id, 0))
        while len(self._own) > _OWN_MESSAGES_KEPT:
            self._own.popitem(last=False)

    def acknowledged(self, message_id: str, ack: int) -> None:
        """Report what has become of one of our messages."""
        bare = _bare(message_id)
        known, last = self._own.get(bare, (message_id, 0))
        if bare in self._own:
            self._own[bare] = (known, max(last, ack))
        if found := events.receipt(self._connection_id, known, ack, utc_now()):
            self._reports.receipt(found)

    def heard(self, event: PageEvent) -> None:
        """Take one `message` or `ack` event; one that makes no sense is logged and left out. Never fails."""
        try:
            if event.kind == "message":
                self._message(event.data)
            else:
                for message_id in event.data["ids"]:
                    self.acknowledged(str(message_id), int(event.data["ack"]))
        except (events.EventUnreadable, KeyError, TypeError, ValueError) as error:
            log.warning("page_event_unreadable", connection_id=self._connection_id, event_kind=event.kind, error=type(error).__name__)

    async def catch_up(self, bridge: Bridge) -> None:
        """Ask the page for what it may have told nobody: a new document had no listener yet, or an event was lost."""
        bridge.lost_events = False
        by = monotonic() + _CATCH_UP_S
        try:
            rows = await bridge.unread(by)
            unread_by_them = [message_id for message_id, ack in self._own.values() if 0 <= ack < _READ]
            acks = await bridge.acks(unread_by_them, by) if unread_by_them else {}
        except (BrowserLost, CallTimedOut, ScriptFailed):
            bridge.lost_events = True
            return
        except PageRefused as error:
            log.warning("catch_up_refused", connection_id=self._connection_id, reason=str(error))
            return
        for row in rows:
            self.heard(PageEvent("message", row))
        for message_id, ack in acks.items():
            if ack > self._own.get(_bare(message_id), ("", 0))[1]:
                self.acknowledged(message_id, ack)
        if rows:
            log.info("caught_up", connection_id=self._connection_id, messages=len(rows))

    def _message(self, raw: dict[str, Any]) -> None:
        message = events.inbound(self._connection_id, raw)
        # what we sent ourselves comes back as an event; what was written on the phone does too, and that is news
        if not (raw["fromMe"] and _bare(str(raw["id"])) in self._own):
            self._reports.inbound(raw, message)


def _bare(message_id: str) -> str:
    """Return the part of a serialized id that names the message alone: `true_<chat>_<this>_<participant>`."""
    parts = message_id.split("_")
    return parts[2] if len(parts) >= 3 else message_id
