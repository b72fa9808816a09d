"""Whose news tells that the provider's queue has come past a message."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from meta.silence import is_of_later

CLAIMED_AT = datetime(2026, 5, 4, 12, 0, 0, 600_000, tzinfo=UTC)


def status(at: datetime, *, is_text: bool = True, to_ms: bool = False) -> bytes:
    """A webhook about something that happened at an instant."""
    seconds = int(at.timestamp())
    instant = seconds * 1000 + 250 if to_ms else seconds
    return json.dumps(
        {
            "entry": [
                {
                    "changes": [
                        {"value": {"statuses": [{"id": "wamid.X", "timestamp": str(instant) if is_text else instant}]}}
                    ]
                }
            ]
        }
    ).encode()


@pytest.mark.parametrize(
    ("happened_s", "came_s", "expected"),
    [
        (0.0, 0.1, True),  # in the same second, which the provider cuts off
        (5.0, 5.2, True),
        (-1.0, 4.0, False),  # a queue that lags: what was before us comes when we are long in doubt
        (-6.0, 0.5, False),
        (-7 * 86400.0, 1.0, False),  # after an outage of days
        (-400 * 86400.0, 1.0, True),  # a clock of its own says nothing
    ],
)
@pytest.mark.parametrize("to_ms", [False, True])
@pytest.mark.parametrize("is_text", [False, True])
def test_news_of_later_things(happened_s: float, came_s: float, expected: bool, is_text: bool, to_ms: bool) -> None:
    body = status(CLAIMED_AT + timedelta(seconds=happened_s), is_text=is_text, to_ms=to_ms)
    assert is_of_later(body, CLAIMED_AT + timedelta(seconds=came_s), CLAIMED_AT) is expected


def test_the_latest_of_a_batch_counts() -> None:
    body = status(CLAIMED_AT - timedelta(seconds=9)) + status(CLAIMED_AT + timedelta(seconds=3))
    assert is_of_later(body, CLAIMED_AT + timedelta(seconds=4), CLAIMED_AT)


def test_what_has_no_instant_happened_as_it_came() -> None:
    assert is_of_later(b'{"entry": []}', CLAIMED_AT + timedelta(seconds=1), CLAIMED_AT)
