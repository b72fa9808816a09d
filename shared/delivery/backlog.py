"""What a sender may claim next: offered rows, chats whose message has left, and connections that had to wait. Pure:
time is an argument.

Rows stay here only while they may be claimed soon. Those of a connection that has to wait are forgotten and found again
by the connection, so that one connection's backlog never fills the memory that others need.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import inf, isinf
from typing import Final, TypeAlias

from shared.store.messages import Claimed, ClaimRequest

ChatKey: TypeAlias = tuple[int, str]
"""Connection id and chat id."""

CLAIM_AT_ONCE: Final = 200
"""Rows of one claim at most: its locks are held for as long as its slowest row takes."""
GATHER_S: Final = 0.02
"""Shortest wait in seconds for a connection's tokens, so that one claim takes several; connections whose wait ends
within half of it are polled together."""
LONGEST_WAIT_S: Final = 30.0
"""Seconds after which a waiting connection is polled in any case: its limit may have been lifted meanwhile."""
UNSEEN_S: Final = 0.25
"""Seconds after which a connection is polled again that has queued rows of which none waits for a token: they are
behind messages in flight, or the look passed over them. It reads a part of a backlog only."""


class Backlog:
    """Collects what to claim, and forms claims from it."""

    def __init__(self) -> None:
        # dicts for their order: what was offered first is claimed first
        self._offered: dict[int, None] = {}
        self._chats: dict[ChatKey, None] = {}
        # connection -> monotonic instant at which it is polled again
        self._paced: dict[int, float] = {}
        # connections whose next row can be claimed when one of their sends ends: they are at their own limit of sends
        # in flight, or their rows are behind those
        self._crowded: set[int] = set()

    def __len__(self) -> int:
        """How many rows are offered."""
        return len(self._offered)

    @property
    def paced(self) -> list[int]:
        """Connections currently rate-limited; polled again when they have tokens."""
        return list(self._paced)

    def offer(self, ids: Iterable[int]) -> None:
        """Add rows that may be due."""
        self._offered.update(dict.fromkeys(ids))

    def chat_freed(self, chat: ChatKey) -> None:
        """Add a chat whose message has left: its next one may be due."""
        self._chats[chat] = None

    def send_ended(self, connection_id: int, now: float) -> None:
        """Record that a send of a connection ended: a connection whose rows waited for that is polled again."""
        if connection_id in self._crowded:
            self._crowded.discard(connection_id)
            self._paced[connection_id] = now

    def due_at(self) -> float:
        """Return when the first waiting connection is polled again (monotonic); infinite when none waits."""
        return min(self._paced.values(), default=inf)

    def request(self, free: int, now: float, busy: Collection[ChatKey]) -> ClaimRequest | None:
        """Form a claim.

        Args:
            free: how many more sends may be in flight. now: monotonic. busy: chats with a message in flight. They are
                left out: a settlement that is being written must meet the attempt that it belongs to.
        Returns:
            None when there is nothing to claim, or no capacity for it.
        """
        limit = min(CLAIM_AT_ONCE, free)
        # half the gathering time ahead: connections whose waits end close together share one claim
        connections = [one for one, at in self._paced.items() if at <= now + GATHER_S / 2] if limit > 0 else []
        # the chats of a connection that waits are found by the connection
        for chat in [chat for chat in self._chats if chat[0] in self._paced]:
            del self._chats[chat]
        # offers, however many, leave half to the connections that have waited
        most = limit - max(1, limit // 2) if connections else max(0, limit)
        chats = [chat for chat in self._chats if chat not in busy][:most]
        ids = list(self._offered)[: most - len(chats)]
        if not (ids or chats or connections):
            return None
        return ClaimRequest(ids=ids, chats=chats, connections=connections, limit=limit)

    def claimed(self, request: ClaimRequest, claimed: Claimed, held: Mapping[int, int], now: float) -> None:
        """Remove what a claim answered, and record which connections have to wait.

        Args:
            held: sends in flight by connection, those of this claim included. now: monotonic.
        """
        for chat in request.chats:
            self._chats.pop(chat, None)
        for row_id in [*request.ids, *(message.id for message in claimed.messages)]:
            self._offered.pop(row_id, None)
        for connection_id in request.connections:
            self._paced.pop(connection_id, None)
        for connection_id, wait_s in claimed.waits.items():
            again_s = wait_s
            if isinf(wait_s) and held.get(connection_id):
                # until one of its own sends ends
                self._crowded.add(connection_id)
            elif isinf(wait_s):
                # it was at its limit by sends that have ended meanwhile: none of them is left to end, so it is polled
                # again soon
                again_s = 0.0
            # setdefault: an instant that `send_ended` has set while the claim ran stays, so that the connection is
            # polled soon
            self._paced.setdefault(connection_id, now + min(LONGEST_WAIT_S, max(GATHER_S, again_s)))
        for connection_id in claimed.unseen - claimed.waits.keys():
            # the end of a send frees a chat, whose next row the look finds then
            if held.get(connection_id):
                self._crowded.add(connection_id)
            self._paced.setdefault(connection_id, now + UNSEEN_S)
