"""What the sandbox knows of one browser profile: its link, its open page, and the faults that are ordered for it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

SENT, DELIVERED, READ = 1, 2, 3
"""wa-js's numbers for the state of a message."""

_LINES_KEPT: Final = 1000
"""Events that wait for a page at most; one that hangs for as long has lost its line (see `Line.push`)."""

Mode = Literal[
    "QR", "SYNCING", "MAIN", "OFFLINE", "CONFLICT", "PROXYBLOCK", "TOS_BLOCK", "SMB_TOS_BLOCK", "DEPRECATED_VERSION"
]


class Refused(Exception):
    """Raised when a page or a tester asks for something that cannot be; `status` is the HTTP answer, `code` a stable
    word.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status, self.code, self.detail = status, code, detail
        super().__init__(detail)


@dataclass
class Faults:
    """What goes wrong on one device, until it is set back. Durations in seconds.

    Attributes:
        delivered_after_s, read_after_s: when acks 2 and 3 follow the arrival. lose_acks: acks that never reach the page
            (1: the answer to the send itself is held for ever). hold_before_s, hold_after_s: the phone waits before it
            takes a send, or before it answers.
        fail_sends: results of the next sends, first first: a value of wa-js's SendMsgResult, or the code of a WPPError.
        double_events: `chat.new_message` fires twice, first as ciphertext. sync_s: length of the syncing phase.
            quiet_sync: what waited for the page is there after the syncing phase, without an event. lose_files:
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
        """Set the named faults. Raises `Refused` (400) for a name or a type that is none."""
        known = {row.name: type(getattr(Faults(), row.name)) for row in fields(self)}
        for name, value in changes.items():
            # types are taken from the defaults, so that a new fault needs no second table
            kind = known.get(name)
            number = kind is float and isinstance(value, int) and not isinstance(value, bool)
            if kind is None or not (isinstance(value, kind) or number):
                raise Refused(
                    400,
                    "unknown_fault",
                    f"{name!r}: known are {', '.join(f'{key} ({row.__name__})' for key, row in known.items())}",
                )
            setattr(self, name, value)


@dataclass
class Line:
    """One open page: what is pushed to it. Ended by None."""

    events: asyncio.Queue[dict[str, Any] | None] = field(default_factory=lambda: asyncio.Queue(_LINES_KEPT))

    def push(self, **event: Any) -> None:
        """Queue one event; a page that reads nothing at all loses its line instead of filling the memory."""
        try:
            self.events.put_nowait(event)
        # the browser connects again and gets what it has not confirmed, so that nothing is lost by this
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """Close the line after what is queued, or at once when it is full."""
        # makes room for the end itself: without it the line could never be closed
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
    """Codes that may be scanned with the monotonic instants of their end, newest last."""
    pairing_code: str = ""
    faults: Faults = field(default_factory=Faults)
    line: Line | None = None
    waiting: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Messages to the page that it has not confirmed, by id."""
    away: bool = False
    """The tester took the phone offline."""


@dataclass
class Arrival:
    """One message id at the phone: how often it came and how far it got."""

    chat: str
    times: int = 0
    ack: int = SENT


def lid_of(phone: str) -> str:
    """Return the number that stands for `phone` where WhatsApp hides it."""
    # derived, so that a restarted sandbox gives the same number; fourteen digits
    return "1" + str(int(hashlib.sha256(phone.encode()).hexdigest(), 16) % 10**13).zfill(13)


def resolve_chat(chat_id: str) -> str:
    """Return the chat that `chat_id` leads to: some people (those whose number ends in 7) are known by their lid
    only.
    """
    user, _, server = chat_id.partition("@")
    return f"{lid_of(user)}@lid" if server == "c.us" and user.endswith("7") else chat_id
