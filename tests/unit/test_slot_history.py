"""The history of each slot, from rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.operators.processes import last_lines
from api.operators.slot_history import Span, history

UNTIL = datetime(2026, 12, 1, 9, tzinfo=UTC)
SPAN = Span(steps=4, step=timedelta(minutes=15))
SINCE = UNTIL - SPAN.length


def event(minutes: float, name: str, slot: str = "meta-0", **detail: Any) -> dict[str, Any]:
    """Return an event so many minutes after the start."""
    return {"at": SINCE + timedelta(minutes=minutes), "slot": slot, "type": f"process.{name}", "detail": detail}


def point(step: int, slot: str = "meta-0", /, **figures: float) -> dict[str, Any]:
    kind, _, instance = slot.rpartition("-")
    return {"process_name": kind, "instance": int(instance), "step": step, "figures": figures}


def one_slot(events: list[dict[str, Any]], points: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the only slot of a history."""
    (slot,) = history(events, points, SPAN, since=SINCE, until=UNTIL)["slots"]
    return dict(slot)


def test_states_follow_each_other_and_the_one_before_is_inferred() -> None:
    events = [
        event(10, "exited", signal=9, expected=False, reason="none"),
        event(10.1, "restarting"),
        event(11, "started"),
        event(12, "ready"),
    ]
    shown = one_slot(events, [])
    assert [one["state"] for one in shown["states"]] == ["ready", "stopped", "backoff", "starting", "ready"]
    ends = [one["until"] for one in shown["states"]]
    assert ends[:-1] == [one["from"] for one in shown["states"]][1:], "there is no gap"
    assert (shown["states"][0]["from"], ends[-1]) == ("2026-12-01T08:00:00.000Z", "2026-12-01T09:00:00.000Z")
    assert [(one["event"], one["reason"]) for one in shown["exits"]] == [("exited", "signal 9")]


def test_what_was_asked_for_is_no_exit() -> None:
    shown = one_slot([event(5, "exited", code=0, expected=True), event(6, "exited", reason="port taken")], [])
    assert [one["reason"] for one in shown["exits"]] == ["port taken"]


SENT = "message_outcomes_total{outcome=sent,connection_type=meta_direct}"
OTHER = "message_outcomes_total{outcome=sent,connection_type=360dialog}"


@pytest.mark.parametrize(
    ("points", "sent"),
    [
        # of two connection types, added
        ([{SENT: 10, OTHER: 1}, {SENT: 12, OTHER: 4}, {SENT: 12, OTHER: 4}], [5, 0, None, None]),
        # a restart begins at zero
        ([{SENT: 10}, {SENT: 3}, {SENT: 5}], [3, 2, None, None]),
        # its first message made the counter
        ([{"process_errors_total": 0}, {SENT: 2}], [2, None, None, None]),
        # without the step before it is not known
        ([{}, {}, {}, {SENT: 9}, {SENT: 10}], [None, None, 9, 1]),
    ],
)
def test_counters_are_shown_by_what_they_grew(points: list[dict[str, float]], sent: list[int | None]) -> None:
    shown = one_slot([], [point(step, **figures) for step, figures in enumerate(points)])
    assert shown["sent"] == sent


def test_memory_is_in_megabytes_and_gaps_are_null() -> None:
    shown = one_slot([], [point(1, process_tree_memory_bytes=96_500_000.0), point(3, process_tree_memory_bytes=1e8)])
    assert shown["memoryMb"] == [96.5, None, 100.0, None]


def test_of_two_recorders_the_larger_backlog_is_shown() -> None:
    points = [
        point(2, "recorder-0", **{"backlog_messages{queue=meta}": 3.0, "backlog_oldest_seconds{queue=meta}": 1.25}),
        point(2, "recorder-1", **{"backlog_messages{queue=meta}": 7.0}),
    ]
    (queue,) = history([], points, SPAN, since=SINCE, until=UNTIL)["queues"]
    assert queue == {
        "queue": "meta",
        "waiting": [None, 7.0, None, None],
        "oldestSeconds": [None, 1.2, None, None],
    }


def test_the_end_of_a_log_is_whole_lines_without_control_characters(tmp_path: Any) -> None:
    path = tmp_path / "meta-0.err.log"
    assert last_lines(path, 5) == []
    path.write_bytes(b"first\n\x1b[31mred\x1b[0m\x07\nlast \xff\n")
    assert last_lines(path, 2) == ["red", "last �"]
    path.write_bytes(b"x" * 300_000 + b"\nlast\n")
    assert last_lines(path, 5) == ["last"], "a line that is cut is left out"
