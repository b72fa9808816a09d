"""What a page reports may come from any of its scripts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from webdriver.page.bridge import Bridge, PageEvent


@pytest.fixture
def taken() -> tuple[Bridge, list[PageEvent]]:
    """A bridge whose document is there, and what it hands on."""
    nothing: Any = None
    events: list[PageEvent] = []
    bridge = Bridge(nothing, nothing, events.append)
    bridge._epoch = "e"
    return bridge, events


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"epoch": "e", "seq": 1e999, "kind": "state", "data": {}}',
        '{"epoch": "e", "seq": NaN, "kind": "state", "data": {}}',
        '{"epoch": "e", "seq": "x", "kind": "state", "data": {}}',
        "[" * 100_000,
        '{"seq": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_event_is_skipped(taken: tuple[Bridge, list[PageEvent]], line: str) -> None:
    bridge, events = taken
    bridge._take(line)
    bridge._take(json.dumps({"epoch": "e", "seq": 1, "kind": "state", "data": {"a": 1}}))
    assert [(one.kind, one.data) for one in events] == [("state", {"a": 1})]
