"""Runs of `bulkhead doctor` beside the supervisor: each way to end. The checks themselves:
`test_doctor.py`; the page: `tests/control_room`."""

from __future__ import annotations

import selectors
import sys
from collections.abc import Callable, Iterator

import pytest

from shared.errors import BulkheadError
from supervision.processes import doctor_runs
from supervision.processes.doctor_runs import DoctorRuns
from tests.support import processes
from tests.support.waiting import deadline_s, eventually

SLEEPS = ("sh", "-c", "sleep 600 & wait")
Make = Callable[..., tuple[DoctorRuns, Callable[[], object]]]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes runs of a command, with a function that waits for an end as the supervisor's loop does."""
    opened: list[DoctorRuns] = []
    with selectors.DefaultSelector() as selector:

        def made(*command: str) -> tuple[DoctorRuns, Callable[[], object]]:
            runs = DoctorRuns(command, {"PATH": "/usr/bin:/bin"}, selector)
            opened.append(runs)
            return runs, lambda: [key.data() for key, _ in selector.select(deadline_s(20))]

        yield made
        for runs in opened:
            runs.close()


@pytest.mark.parametrize(
    ("printed", "state", "problem"),
    [
        ("print('{\"checks\": [1]}'); sys.exit(1)", "done", None),
        ('sys.exit("no module named click")', "failed", "no module named click"),
        ("pass", "failed", "It printed nothing."),
        ("print('{}')", "failed", "It printed nothing."),
    ],
)
def test_a_run_ends_with_what_it_printed(make: Make, printed: str, state: str, problem: str | None) -> None:
    runs, wait = make(sys.executable, "-c", f"import sys; {printed}")
    assert runs.as_json()["state"] == "never"
    assert runs.begin()["state"] == "running"
    wait()
    ended = runs.as_json()
    assert (ended["state"], ended["problem"]) == (state, problem)
    assert ended["checks"] == ([1] if state == "done" else [])


def test_there_is_one_run_at_a_time_and_none_without_end(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, _ = make(*SLEEPS)
    runs.begin()
    first = runs._pid
    eventually(lambda: processes.living_descendants(first), 20, "it has started something itself")
    runs.begin()
    assert runs._pid == first, "the second request started nothing"
    runs.expire()
    assert runs.as_json()["state"] == "running", "its time is not over"
    tree = {first, *processes.living_descendants(first)}
    monkeypatch.setattr(doctor_runs, "monotonic", lambda: runs._by + 1)
    runs.expire()
    assert (runs.as_json()["state"], "120 s" in runs.as_json()["problem"]) == ("failed", True)
    eventually(lambda: not any(processes.is_alive(one) for one in tree), 20, "all of it is gone")


def test_a_stop_ends_a_run(make: Make) -> None:
    runs, _ = make(*SLEEPS)
    runs.begin()
    first = runs._pid
    runs.close()
    assert runs.as_json()["problem"] == "Bulkhead stopped meanwhile."
    eventually(lambda: not processes.is_alive(first), 20, "it is gone")


def test_a_command_that_cannot_be_started_is_named(make: Make) -> None:
    runs, _ = make("/nowhere/python")
    with pytest.raises(BulkheadError, match="could not be started"):
        runs.begin()
    assert runs.as_json()["state"] == "never"
