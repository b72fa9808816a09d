"""The judgement of a run, from the provider's ledger alone; pure.

What was accepted is known to the client, what arrived stands in the ledger. What Bulkhead itself says about a message is used for one thing: to name a
message that did not arrive and is held for a human, or parked as poison. Everything else that did not arrive is lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """A message that was promised: 202 was answered.

    Attributes:
        text: unique. chat: connection and chat; `number` counts the messages of the chat in the order in which they were accepted.
        accepted_at: seconds since 1970, as in the ledger. id: Bulkhead's. tries: requests that it took.
    """

    text: str
    chat: str
    number: int
    accepted_at: float
    id: str = ""
    tries: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """One arrival at the provider, in the ledger's order."""

    seq: int
    at: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportedState:
    """What Bulkhead says about a message: its state, the code of its last error, and whether it is left to a human."""

    state: str
    code: str = ""
    held: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """A sender that was killed, and when (seconds since 1970)."""

    at: float
    target: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run came to. Messages are named by their texts.

    Attributes:
        lost: accepted, not arrived, and neither held nor parked. duplicated: arrived more than once, with how often. reordered: arrived for the first
            time after a later one of their chat. held: not arrived; in doubt and left to a human. behind: not arrived; wait behind a held one.
            parked: not arrived; their row was in hand at two deaths. in_doubt: arrived, but Bulkhead does not know it yet.
        unasked: arrived although the client never got an answer; that is allowed, once.
        recoveries: for each kill of a sender the seconds until the last message that was accepted before it, and had not arrived, arrived.
    """

    accepted: int
    arrived: int
    lost: Mapping[str, str]
    duplicated: Mapping[str, int]
    reordered: Sequence[str]
    held: Mapping[str, str]
    behind: Sequence[str]
    parked: Sequence[str]
    in_doubt: Mapping[str, str]
    unasked: int
    recoveries: Sequence[tuple[Kill, float]]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, doubled or reordered."""
        return not (self.lost or self.duplicated or self.reordered)


def arrivals_of(entries: Iterable[Mapping[str, Any]], mark: str) -> list[Arrival]:
    """Return the arrivals of one run's messages: ledger entries whose text begins with `mark`."""
    found = []
    for entry in entries:
        if entry["event"] == "accepted" and entry.get("type") == "text":
            text = entry["message"]["text"]["body"]
        elif entry["event"] == "message_arrived":
            text = entry["body"]
        else:
            continue
        if text.startswith(mark):
            found.append(Arrival(seq=entry["seq"], at=entry["at"], text=text))
    return found


def judge(
    accepted: Sequence[Accepted],
    arrivals: Sequence[Arrival],
    reported: Mapping[str, ReportedState],
    kills: Sequence[Kill] = (),
) -> Result:
    """Compare what was promised with what arrived.

    Args:
        arrivals: in the ledger's order. reported: what Bulkhead says, by text; at least of what did not arrive.
    """
    times: dict[str, int] = defaultdict(int)
    first: dict[str, Arrival] = {}
    for arrival in arrivals:
        times[arrival.text] += 1
        first.setdefault(arrival.text, arrival)
    promised = {message.text: message for message in accepted}
    missing = [message for message in accepted if message.text not in first]
    held_chats = {message.chat for message in accepted if (state := reported.get(message.text)) and state.held}
    lost: dict[str, str] = {}
    held: dict[str, str] = {}
    behind: list[str] = []
    parked: list[str] = []
    for message in missing:
        state = reported.get(message.text, ReportedState(state="unknown"))
        if state.held:
            held[message.text] = state.code
        elif state.state == "failed" and state.code == "poison":
            parked.append(message.text)
        elif state.state == "queued" and message.chat in held_chats:
            behind.append(message.text)
        else:
            lost[message.text] = f"{state.state} {state.code}".strip()
    return Result(
        accepted=len(accepted),
        arrived=len(first),
        lost=lost,
        duplicated={text: count for text, count in times.items() if count > 1},
        reordered=_reordered(promised, first.values()),
        held=held,
        behind=behind,
        parked=parked,
        in_doubt={text: state.code for text, state in reported.items() if state.state == "in_doubt" and text in first},
        unasked=sum(text not in promised for text in first),
        recoveries=[(kill, _recovery_s(kill, accepted, first)) for kill in kills],
    )


def _reordered(promised: Mapping[str, Accepted], first: Iterable[Arrival]) -> list[str]:
    highest: dict[str, int] = defaultdict(int)
    found = []
    for arrival in sorted(first, key=lambda one: one.seq):
        message = promised.get(arrival.text)
        if message is None:
            continue
        if message.number < highest[message.chat]:
            found.append(message.text)
        highest[message.chat] = max(highest[message.chat], message.number)
    return found


def _recovery_s(kill: Kill, accepted: Sequence[Accepted], first: Mapping[str, Arrival]) -> float:
    """Return how long what was accepted before the kill was still arriving."""
    waiting = [
        first[message.text].at for message in accepted if message.accepted_at <= kill.at and message.text in first
    ]
    return max([0.0, *(at - kill.at for at in waiting)])
