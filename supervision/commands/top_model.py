"""What `top` shows and what its keys do: pure, over what was observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from shared.process.journal import JournalEntry

EVENTS_SHOWN: Final = 8
"""Supervision events at the foot."""
_TROUBLES_SHOWN: Final = 3
"""Troubles at the head, each of two lines; on a low screen one of them."""
_LOW: Final = 34
"""Lines below which a screen is low."""
_SLOTS_LEAST: Final = 4
"""Processes that are shown on the lowest screen."""
_EVENTS_LEAST: Final = 3
_KEYS: Final = "↑ ↓ choose   r restart   d drain   R D its whole kind   q leave"
_ACTIONS: Final[Mapping[str, tuple[str, bool]]] = {
    "r": ("restart", False),
    "R": ("restart", True),
    "d": ("drain", False),
    "D": ("drain", True),
}
"""Key -> command, and whether it is about the whole kind."""
_MOVES: Final[Mapping[str, int]] = {"up": -1, "k": -1, "down": 1, "j": 1}
_PROCESS_COLUMNS: Final = ("SLOT", "STATE", "PID", "SINCE", "RESTARTS", "MB", "WHY")


@dataclass(frozen=True, kw_only=True)
class TopRequest:
    """What an operator confirmed: a command of the control socket, for a kind or a slot."""

    command: str
    target: str


@dataclass(frozen=True, kw_only=True)
class TopChoice:
    """Where the operator is.

    Attributes:
        row: number of the chosen slot. asked: what is to be confirmed.
        said: outcome of what was done last.
        is_over: whether to leave.
    """

    row: int = 0
    asked: TopRequest | None = None
    said: str = ""
    is_over: bool = False


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What was seen last.

    Attributes:
        status: the orchestrator's snapshot. lives: whether it answered.
        health: answer of /health/all; None: not yet, or not to be had. queue: rows of the queues.
        missing: why the database's part is not there.
        events: the last supervision events, oldest first.
    """

    status: Mapping[str, Any]
    lives: bool
    health: Mapping[str, Any] | None = None
    queue: Sequence[Mapping[str, Any]] | None = None
    missing: str = ""
    events: Sequence[JournalEntry] = field(default_factory=tuple)

    @property
    def slots(self) -> list[str]:
        """Names of the slots, in the order in which they are shown."""
        return list(self.status.get("slots", {}))


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How many of each are shown on one screen."""

    troubles: int
    slots: int
    queues: int
    events: int


def shares(lines: int, *, troubles: int, slots: int, queues: int, events: int) -> Shares:
    """Return how the lines of a screen are shared, so that the first line and the foot are always in sight.

    Args:
        lines: of the screen. troubles, slots, queues, events: how many there are.
    """
    troubles = min(troubles, _TROUBLES_SHOWN if lines >= _LOW else 1)
    # headline and foot; each part below has an empty line before it, and a table its head
    left = lines - 2 - 2 * troubles
    of_queues, of_events = (2 + min(queues, 2) if queues else 2), 1 + min(events, _EVENTS_LEAST)
    room = left - 2 - of_queues - of_events
    # all of them, or one less for the line that says how many are left off
    shown = slots if slots <= room else max(room - 1, _SLOTS_LEAST)
    shown = min(shown, slots)
    # a line that names how many are not shown
    left -= 2 + shown + (shown < slots)
    queues = max(0, min(queues, left - of_events - 2))
    left -= 2 + queues if queues else 2
    return Shares(troubles=troubles, slots=shown, queues=queues, events=max(0, min(events, left - 1)))


def window(chosen: int, shown: int, of: int) -> range:
    """Return which rows are shown, so that the chosen one is among them.

    Args:
        chosen: its number. shown: how many are. of: how many there are.
    """
    first = min(max(0, chosen - shown // 2), max(0, of - shown))
    return range(first, min(first + shown, of))


def pressed(choice: TopChoice, key: str, slots: Sequence[str]) -> tuple[TopChoice, TopRequest | None]:
    """Return what a key changes, and what is to be done now.

    Args:
        choice: as it was. key: one character, or `up`, `down`. slots: names of those that are shown.
    """
    if choice.asked is not None:
        # only a clear yes: every other key is a no
        done = choice.asked if key in ("y", "Y") else None
        said = "" if done else f"{choice.asked.command} {choice.asked.target}: not done"
        return replace(choice, asked=None, said=said), done
    if key == "q":
        return replace(choice, is_over=True), None
    if key in _MOVES and slots:
        return replace(choice, row=min(max(choice.row + _MOVES[key], 0), len(slots) - 1), said=""), None
    if key in _ACTIONS and choice.row < len(slots):
        command, is_of_kind = _ACTIONS[key]
        slot = slots[choice.row]
        target = slot.rpartition("-")[0] if is_of_kind else slot
        return replace(choice, asked=TopRequest(command=command, target=target), said=""), None
    return choice, None


def headline(seen: Observed) -> str:
    """Return the first line: whether all is well, and what waits."""
    if not seen.lives:
        return "No orchestrator runs: what still lives is adopted by the next `bulkhead`."
    parts = [f"orchestrator {seen.status['pid']} {seen.status['state']}"]
    if seen.missing:
        parts.append(seen.missing)
    if seen.health is not None:
        parts.append(f"service {seen.health['status']}")
        parts += [f"{len(seen.health['troubles']) + seen.health['troublesLeftOff']} troubles"]
        sessions = seen.health["sessions"] or {}
        parts.append("sessions " + (" ".join(f"{state} {count}" for state, count in sessions.items()) or "none"))
    return "  ·  ".join(parts)


def process_table(rows: Sequence[Sequence[object]]) -> tuple[Sequence[str], list[list[object]]]:
    """Return head and rows of the processes.

    Args:
        rows: as `status` shows them.
    """
    return _PROCESS_COLUMNS, [[row[0], row[1], row[2], row[3], row[4], row[5], row[8]] for row in rows]


def queue_table(seen: Observed) -> tuple[Sequence[str], list[list[object]]]:
    """Return head and rows of what waits, by kind and state."""
    rows = [[one["process"], one["state"], one["messages"], one["oldestSeconds"]] for one in seen.queue or ()]
    return ("QUEUE", "STATE", "MESSAGES", "OLDEST S"), rows


def troubles_of(seen: Observed) -> list[tuple[str, str]]:
    """Return the troubles, the worst first: how bad and what, and what to do."""
    troubles = (seen.health or {}).get("troubles", [])
    return [(f"{one['impact']}: {one['sentence']}", one["mend"]) for one in troubles]


def event_lines(seen: Observed) -> list[str]:
    """Return the last events, oldest first."""
    return [
        f"{entry.at[11:19]}  {entry.slot or 'orchestrator':<12}  {entry.event}"
        for entry in list(seen.events)[-EVENTS_SHOWN:]
    ]


def foot(choice: TopChoice) -> str:
    """Return the last line: a question, the outcome of what was done, or the keys."""
    if choice.asked is not None:
        return f"{choice.asked.command} {choice.asked.target}? y/n"
    return choice.said or _KEYS
