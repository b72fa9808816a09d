"""What a test waits for ends by a deadline that knows the load, and a port that answers nothing is one of the suite's.

A fixed limit of five seconds is passed once in a while on a machine with more to do than this test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import pytest

from tests.support import environment

_BLIND: Final[Mapping[str, re.Pattern[str]]] = {
    "await within(…, seconds) of tests/support/waiting.py": re.compile(r"asyncio\.wait_for\("),
    "asyncio.timeout(deadline_s(seconds))": re.compile(r"asyncio\.timeout\((?!deadline_s\(|patience_s\()"),
    "joined(thread, seconds)": re.compile(r"\.join\(\s*(timeout=)?([\d.]+|[A-Z_]*_S)\s*\)"),
    "deadline_s(seconds)": re.compile(
        r"(assert .*\.wait|(process|orchestrator|server|follower)\.wait|\.result)"
        r"\(\s*(timeout=)?([5-9]|\d\d+)(\.\d+)?\s*\)"
    ),
    # one that the kernel has chosen and that was closed is chosen again, for any program's outgoing connection
    "free_ports(1) for a port at which nothing listens": re.compile(r"create_server\(\(.*, 0\).*\) as gone\b"),
}
"""What to write in place of a limit that is the same whatever else runs."""


def _blind(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        for better, pattern in _BLIND.items():
            if pattern.search(line):
                yield number, better


def test_no_test_waits_with_a_limit_that_knows_no_load() -> None:
    tests = environment.REPOSITORY / "tests"
    found = [
        f"{path.relative_to(tests)}:{number}: {better}"
        for path in sorted(tests.rglob("*.py"))
        if path.name not in ("waiting.py", "test_deadlines.py")
        for number, better in _blind(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "is_blind"),
    [
        ("await asyncio.wait_for(done.wait(), 5)", True),
        ("await within(done.wait(), 5)", False),
        ("async with asyncio.timeout(10.0):", True),
        ("async with asyncio.timeout(deadline_s(10.0)):", False),
        ("thread.join(5)", True),
        ("thread.join(timeout=JOIN_S)", True),
        ('", ".join(names)', False),
        ("assert process.wait(20) == 0", True),
        ("assert process.wait(deadline_s(20)) == 0", False),
        ("if ended.wait(0.5):", False),
        # a server that holds its answer back until the test releases it
        ("release.wait(60)", False),
        ('with socket.create_server(("127.0.0.1", 0)) as gone:', True),
        ('with socket.create_server(("127.0.0.1", 0)) as silent:', False),
    ],
)
def test_a_blind_limit_is_found_by_its_line(line: str, is_blind: bool) -> None:
    assert bool(list(_blind(line))) is is_blind
