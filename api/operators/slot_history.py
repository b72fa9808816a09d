"""The history of each slot over a span of time, from rows: a pure function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared.process.journal import SupervisionEvent
from shared.store.pool import Row
from shared.timestamps import iso

_E = SupervisionEvent
STATES: Final[Mapping[str, str]] = {
    f"process.{event}": state
    for event, state in (
        (_E.STARTED, "starting"),
        (_E.READY, "ready"),
        (_E.ADOPTED, "ready"),
        (_E.UNREADY, "unready"),
        (_E.EXITED, "stopped"),
        (_E.DRAINED, "stopped"),
        (_E.RESTARTING, "backoff"),
        (_E.START_FAILED, "backoff"),
        (_E.QUARANTINED, "quarantined"),
        (_E.MISCONFIGURED, "misconfigured"),
    )
}
"""State of a slot after an event of its process, by the event's type."""
_BEFORE: Final = {"starting": "stopped", "ready": "starting", "unready": "ready", "stopped": "ready"}
"""State before the first event of the span, by the state after it; otherwise nothing is known."""
_MARKS: Final = {f"process.{event}" for event in (_E.EXITED, _E.QUARANTINED, _E.MISCONFIGURED, _E.START_FAILED)}
_MARKS_MOST: Final = 50
_SENT: Final = "message_outcomes_total{outcome=sent"
_FIGURES: Final = (
    ("errors", ("process_errors_total",)),
    ("sent", (_SENT,)),
    ("received", ("messages_received_total",)),
)
"""Counters that are shown by what they grew in each step: name, beginnings of the metrics that are added."""
_MEMORY: Final = "process_tree_memory_bytes"
_QUEUES: Final = (("waiting", "backlog_messages{queue="), ("oldestSeconds", "backlog_oldest_seconds{queue="))
NAMES_OF_FIGURES: Final = [
    f"{name}%"
    for name in (_MEMORY, *(beginning for _, many in _FIGURES for beginning in many), *(name for _, name in _QUEUES))
]
"""Patterns of the metrics that are read."""

Point = float | int | None


@dataclass(frozen=True, kw_only=True)
class Span:
    """So many steps of so long, up to now."""

    steps: int
    step: timedelta

    @property
    def length(self) -> timedelta:
        """All of it."""
        return self.step * self.steps


def history(
    events: Iterable[Row], points: Iterable[Row], span: Span, *, since: datetime, until: datetime
) -> dict[str, Any]:
    """Return `slots` and `queues` as the API shows them.

    Args:
        events: (at, slot, type, detail) of `STATES`, oldest first. points: (process_name, instance, step, figures) of
            steps 0 to `span.steps`; step 0 ends at `since`.
    """
    by_slot: dict[str, list[Row]] = defaultdict(list)
    for event in events:
        by_slot[event["slot"]].append(event)
    figures: dict[str, dict[int, Mapping[str, float]]] = defaultdict(dict)
    for point in points:
        figures[f"{point['process_name']}-{point['instance']}"][point["step"]] = point["figures"] or {}
    slots = [
        {
            "slot": slot,
            "states": _intervals(by_slot.get(slot, ()), since, until),
            "exits": _exits(by_slot.get(slot, ())),
            "memoryMb": [_megabytes(figures[slot].get(step)) for step in range(1, span.steps + 1)],
            **{name: _grown(figures[slot], beginnings, span) for name, beginnings in _FIGURES},
        }
        for slot in sorted({*by_slot, *figures})
    ]
    return {"slots": slots, "queues": _queues(figures.values(), span)}


def _intervals(events: Sequence[Row], since: datetime, until: datetime) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for event in events:
        state = STATES[event["type"]]
        if not found and (before := _BEFORE.get(state)):
            found.append({"state": before, "from": since})
        # an exit is followed by what the restart policy decides; a state that repeats goes on
        if not found or found[-1]["state"] != state:
            found.append({"state": state, "from": max(event["at"], since)})
    ends = [*(one["from"] for one in found[1:]), until]
    return [
        {"state": one["state"], "from": iso(one["from"]), "until": iso(end)}
        for one, end in zip(found, ends, strict=False)
    ]


def _exits(events: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what ended without being asked to, and what was not started, newest first."""
    marked = [event for event in events if event["type"] in _MARKS and not (event["detail"] or {}).get("expected")]
    return [
        {
            "at": iso(event["at"]),
            "event": event["type"].partition(".")[2],
            "reason": _reason(event["detail"] or {}),
        }
        for event in reversed(marked[-_MARKS_MOST:])
    ]


def _reason(detail: Mapping[str, Any]) -> str | None:
    given = detail.get("reason") or detail.get("error")
    # what the journal writes where the orchestrator did not end it
    given = None if given == "none" else given
    if not given and detail.get("signal"):
        given = f"signal {detail['signal']}"
    if not given and detail.get("code") is not None:
        given = f"exit code {detail['code']}"
    return str(given)[:300] if given else None


def _megabytes(figures: Mapping[str, float] | None) -> Point:
    value = (figures or {}).get(_MEMORY)
    return None if value is None else round(value / 1e6, 1)


def _grown(figures: Mapping[int, Mapping[str, float]], beginnings: Sequence[str], span: Span) -> list[Point]:
    """Return how much counters grew in each step; null where the step or the one before has no figures."""
    sums = {step: _sum(values, lambda name: name.startswith(tuple(beginnings))) for step, values in figures.items()}
    grown: list[Point] = []
    for step in range(1, span.steps + 1):
        now, before = sums.get(step), sums.get(step - 1)
        if now is None:
            grown.append(None)
        # without the step before, or after a restart, it counts from the start of the process
        elif before is None or now < before:
            grown.append(int(now) if step - 1 in figures or before is not None else None)
        else:
            grown.append(int(now - before))
    return grown


def _queues(processes: Iterable[Mapping[int, Mapping[str, float]]], span: Span) -> list[dict[str, Any]]:
    # one process has them, the recorder, or two while a second one waits to take over: the larger value is the truth
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for figures in processes:
        for step, values in figures.items():
            for shown, beginning in _QUEUES:
                for name, value in values.items():
                    if name.startswith(beginning):
                        queue = name.removeprefix(beginning).rstrip("}")
                        steps = found[queue][shown]
                        steps[step] = max(value, steps.get(step, 0.0))
    return [
        {"queue": queue, **{shown: _rounded(found[queue][shown], span) for shown, _ in _QUEUES}}
        for queue in sorted(found)
    ]


def _rounded(values: Mapping[int, float], span: Span) -> list[Point]:
    return [None if step not in values else round(values[step], 1) for step in range(1, span.steps + 1)]


def _sum(values: Mapping[str, float], chosen: Callable[[str], bool]) -> float | None:
    found = [value for name, value in values.items() if chosen(name)]
    return sum(found) if found else None
