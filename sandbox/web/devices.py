"""The state of one browser profile: its link, its open page, and the faults set for it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

SENT, DELIVERED, READ = 1, 2, 3
"""wa-js's numbers for the state of a message."""

_LINES_KEPT: Final = 1000
"""Most events queued for a page; the connection of one that hangs for longer is closed (see `PageStream.push`)."""

Mode = Literal[
    "QR", "SYNCING", "MAIN", "OFFLINE", "CONFLICT", "PROXYBLOCK", "TOS_BLOCK", "SMB_TOS_BLOCK", "DEPRECATED_VERSION"
]


class DeviceRefused(Exception):
    """Raised when a request of a page or a tester cannot be fulfilled; `status` is the HTTP status, `code` a stable
    name.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status, self.code, self.detail = status, code, detail
        super().__init__(detail)


@dataclass
class DeviceFaults:
    """Faults of one device, in force until they are reset. Durations in seconds.

    Attributes:
        delivered_after_s, read_after_s: when acks 2 and 3 follow the arrival. lose_acks: acks that never reach the page
            (1: the response to the send itself is held for ever). hold_before_s, hold_after_s: the phone waits before
            it accepts a send, or before it responds.
        fail_sends: results of the next sends, first first: a value of wa-js's SendMsgResult, or the code of a WPPError.
        double_events: `chat.new_message` fires twice, first as ciphertext. sync_s: length of the syncing phase.
            quiet_sync: messages that waited for the page appear after the syncing phase without an event. lose_files:
                files cannot be downloaded.
    """

    delivered_after_s: float = 0.15
    read_after_s: float = 0.4
    lose_acks: list[int] = field(default_factory=list)
    hold_before_s: float = 0.0
    hold_after_s: float = 0.0
    fail_sends: list[str] = field(default_factory=list)
    double_events: bool = True
    sync_s: float = 0.3
    quiet_sync: bool = False
    lose_files: bool = False

    def change(self, changes: Mapping[str, Any]) -> None:
        """Set the named faults. Raises `DeviceRefused` (400) for an unknown name or a wrong type."""
        known = {row.name: type(getattr(DeviceFaults(), row.name)) for row in fields(self)}
        for name, value in changes.items():
            # types come from the defaults, so that a new fault needs no second table
            kind = known.get(name)
            number = kind is float and isinstance(value, int) and not isinstance(value, bool)
            if kind is None or not (isinstance(value, kind) or number):
                raise DeviceRefused(
                    400,
                    "unknown_fault",
                    f"{name!r}: known are {', '.join(f'{key} ({row.__name__})' for key, row in known.items())}",
                )
            setattr(self, name, value)


@dataclass
class PageStream:
    """The event stream of one open page; None ends it."""

    events: asyncio.Queue[dict[str, Any] | None] = field(default_factory=lambda: asyncio.Queue(_LINES_KEPT))

    def push(self, **event: Any) -> None:
        """Queue one event. A page that reads nothing is disconnected instead of filling the memory."""
        try:
            self.events.put_nowait(event)
        # loses nothing: the browser connects again and gets every unconfirmed event
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """End the stream after the queued events, or at once when the queue is full."""
        # makes room for the end mark: without it a full queue could never be closed
        while self.events.full():
            self.events.get_nowait()
        self.events.put_nowait(None)


@dataclass
class Device:
    """One browser profile."""

    id: str
    phone: str = ""
    credential: str = ""
    mode: Mode = "QR"
    refs: list[tuple[str, float]] = field(default_factory=list)
    """Codes that may be scanned, each with the monotonic instant at which it expires, newest last."""
    pairing_code: str = ""
    faults: DeviceFaults = field(default_factory=DeviceFaults)
    line: PageStream | None = None
    waiting: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Messages that the page has not confirmed, by id."""
    away: bool = False
    """The tester took the phone offline."""


@dataclass
class DeviceArrival:
    """A message id at the phone: how often it arrived, and its ack."""

    chat: str
    times: int = 0
    ack: int = SENT


def lid_of(phone: str) -> str:
    """Return the number that replaces `phone` where WhatsApp hides it."""
    # derived, so that it is the same after a restart; fourteen digits
    return "1" + str(int(hashlib.sha256(phone.encode()).hexdigest(), 16) % 10**13).zfill(13)


def resolve_chat(chat_id: str) -> str:
    """Return the chat's canonical id: some people (those whose number ends in 7) are addressed by their lid only."""
    user, _, server = chat_id.partition("@")
    return f"{lid_of(user)}@lid" if server == "c.us" and user.endswith("7") else chat_id
