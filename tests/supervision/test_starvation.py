"""Who is silent for want of a CPU, reported from a /proc of the test's own: which threads want to run, and how much CPU
the process has used."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from supervision.processes.starvation import PROBE_S, Starvation
from tests.support.waiting import eventually

PID = 7


class Machine:
    """One process with a few threads, and a clock."""

    def __init__(self, root: Path) -> None:
        self.root, self.now = root, 100.0
        self.starvation = Starvation(lambda: self.now, root)

    def process(self, threads: str, used_s: float) -> None:
        """Say each thread's state, a letter each, and what all have used so far."""
        for number, state in enumerate(threads):
            self._write(self.root / str(PID) / "task" / str(PID + number) / "stat", state, 0.0)
        self._write(self.root / str(PID) / "stat", threads[0], used_s)

    def _write(self, file: Path, state: str, used_s: float) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        numbers = ["0"] * 10 + [str(round(used_s * 100)), "0"]
        file.write_text(f"{PID} (a (strange) name) {state} {' '.join(numbers)} 0 0\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("threads", ["SSS", "TTT", "S", "ZS"])
def test_a_process_that_does_not_want_to_run_is_not_starved(machine: Machine, threads: str) -> None:
    machine.process(threads, 1.0)
    assert not machine.starvation.is_starved(PID)


@pytest.mark.parametrize(
    ("threads", "used_s", "starved"),
    [("RSS", 0.02, True), ("SRS", 0.0, True), ("DSS", 0.0, True), ("RSS", 0.24, False), ("RRR", 0.13, False)],
)
def test_a_runnable_process_is_judged_by_the_cpu_that_it_got(
    machine: Machine, threads: str, used_s: float, starved: bool
) -> None:
    machine.process(threads, 1.0)
    assert machine.starvation.is_starved(PID), "nobody knows after a first look"
    machine.now += PROBE_S
    machine.process(threads, 1.0 + used_s)
    assert machine.starvation.is_starved(PID) is starved


def test_an_old_look_says_nothing(machine: Machine) -> None:
    machine.process("R", 1.0)
    assert machine.starvation.is_starved(PID)
    machine.now += 60.0
    machine.process("R", 61.0)
    assert machine.starvation.is_starved(PID)


def test_a_process_that_does_not_exist_is_not_starved(machine: Machine) -> None:
    assert not machine.starvation.is_starved(PID)


def test_real_processes_are_read() -> None:
    sleeper = subprocess.Popen(["sleep", "1000"])
    try:
        eventually(lambda: not Starvation().is_starved(sleeper.pid), 30, "it sleeps")
        assert Starvation().is_starved(os.getpid()), "we run, and nobody has looked before"
    finally:
        sleeper.kill()
        sleeper.wait()
