"""What Retry-After asks for; its text is the other end's, and nothing in it is an error of ours."""

from __future__ import annotations

import pytest

from shared.retry_after import retry_after_s

DATE = "Tue, 01 Dec 2026 09:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("Tue, 01 Dec 2026 09:01:00 GMT", 60.0),
        ("Tue Dec  1 09:00:30 2026", 30.0),
        ("Mon, 30 Nov 2026 09:00:00 GMT", 0.0),
    ],
)
def test_seconds_and_dates(value: str, seconds: float) -> None:
    assert retry_after_s(value, DATE) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "-5",
        "nan",
        "9" * 400,
        "١٢",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 99999999999999999999 Jan 2026 00:00:00 GMT",
        "Mon, 01 Jan 2026 99999999999999999999:00:00 GMT",
        "Mon, 01 Jan " + "9" * 5000 + " 00:00:00 GMT",
        "Mon, 01 Jan 2027 00:00:00 +999999999999",
    ],
)
def test_what_is_none_asks_for_nothing(value: str) -> None:
    assert retry_after_s(value, DATE) == 0.0
    assert retry_after_s("120", value) == 120.0
