"""Crash points: the list says what the code has, nothing goes off unarmed, no process arms production, and an armed one
does what it says.
"""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from shared import fail_points
from shared.errors import SettingsInvalid
from shared.fail_points import FAIL_POINTS, LOG_NAME
from shared.process import runtime
from shared.process.exit_codes import ExitCode
from shared.process.slot_lock import Holder, SlotLock, boot_id, kill_holder, process_start
from shared.settings import load
from tests.architecture.test_layout import PROGRAM
from tests.support import environment
from tests.support.entry import Entry
from tests.support.waiting import deadline_s, eventually


def calls() -> Counter[str]:
    """Return how often each name is reached in the program's source."""
    found: Counter[str] = Counter()
    for module in PROGRAM.modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hit":
                assert len(node.args) == 1, f"{module.path}:{node.lineno}"
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{module.path}:{node.lineno}: the name is not a literal"
                found[str(name.value)] += 1
    return found


def test_the_list_is_what_the_code_has_each_once() -> None:
    assert calls() == dict.fromkeys(FAIL_POINTS, 1)


def test_the_document_lists_the_same_sentences() -> None:
    page = (environment.REPOSITORY / "docs" / "chaos.md").read_text()
    missing = [name for name, words in FAIL_POINTS.items() if f"| `{name}` | {words} |" not in page]
    assert not missing


def no_kill(slot: str) -> None:
    raise AssertionError(f"nobody was to kill {slot}")


def test_unarmed_nothing_happens(tmp_path: Path) -> None:
    fail_points.arm("", "meta", tmp_path, no_kill)
    for name in FAIL_POINTS:
        fail_points.hit(name)
    assert not list(tmp_path.iterdir())


def test_another_kinds_points_are_not_armed(tmp_path: Path) -> None:
    points = fail_points.parse(
        "meta:claim.begun=kill@0.5, *:settle.begun=stop@3, api:accept.gathered=exit@1.0", "meta", tmp_path / LOG_NAME
    )
    assert {point.name: (point.action, point.probability, point.visit) for point in points} == {
        "claim.begun": ("kill", 0.5, 0),
        "settle.begun": ("stop", 0.0, 3),
    }


def test_every_kind_of_child_is_meant_by_a_star_and_the_orchestrator_is_not(tmp_path: Path) -> None:
    text = "*:settle.begun=kill@1, orchestrator:death.proved=kill@2"
    assert [point.name for point in fail_points.parse(text, "recorder", tmp_path)] == ["settle.begun"]
    assert [point.name for point in fail_points.parse(text, fail_points.ORCHESTRATOR, tmp_path)] == ["death.proved"]


@pytest.mark.parametrize(
    "text",
    [
        "meta:nowhere=kill@1",
        "meta:claim.begun=burn@1",
        "meta:claim.begun=kill/0@1",
        "meta:claim.begun=kill/@1",
        "meta:claim.begun=stop/redis-0@1",
        "meta:claim.begun=kill",
        "meta:claim.begun=kill@0",
        "meta:claim.begun=kill@1.5",
        "x",
    ],
)
def test_what_cannot_be_read_is_refused_with_its_text(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=f"CRASH_POINTS: '{text}'"):
        fail_points.parse(text, "meta", tmp_path / LOG_NAME)


def test_crash_points_need_chaos() -> None:
    with pytest.raises(SettingsInvalid, match="CHAOS is not on"):
        load({"CRASH_POINTS": "meta:claim.begun=kill@1"})
    assert load({"CRASH_POINTS": "meta:claim.begun=kill@1", "CHAOS": "on"}).crash_points


@pytest.mark.parametrize(("chaos", "says"), [("off", "CHAOS is not on"), ("on", "no such crash point")])
def test_a_process_that_is_armed_by_mistake_does_not_start(chaos: str, says: str, home: Path) -> None:
    with Entry("sandbox", home, crash_points="meta:nowhere=kill@1", chaos=chaos) as entry:
        entry.start()
        assert eventually(lambda: entry.process.poll() is not None, 20.0, "the process leaves")
        assert entry.process.returncode == ExitCode.CONFIGURATION
        assert says in entry.log.read_text()


_PROGRAM = """
import sys, pathlib
from shared import fail_points
fail_points.arm(sys.argv[1], "meta", pathlib.Path(sys.argv[2]), lambda slot: print("killed", slot, flush=True))
for number in range(1, 6):
    print(number, flush=True)
    fail_points.hit("claim.begun")
"""


def run_until_it_goes_off(how: str, run_dir: Path) -> tuple[int, list[str]]:
    """Run a small process that reaches one point five times, and return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, f"meta:claim.begun={how}", str(run_dir)],
        cwd=environment.REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert not done.stderr
    return done.returncode, done.stdout.split()


def test_the_nth_visit_kills_once_for_the_home(tmp_path: Path) -> None:
    assert run_until_it_goes_off("kill@3", tmp_path) == (-signal.SIGKILL, ["1", "2", "3"])
    assert (tmp_path / LOG_NAME).read_text() == "meta:claim.begun\n"
    assert run_until_it_goes_off("kill@3", tmp_path) == (0, ["1", "2", "3", "4", "5"])


def test_another_slot_can_be_killed_and_one_goes_on(tmp_path: Path) -> None:
    assert run_until_it_goes_off("kill/redis-0@2", tmp_path) == (0, ["1", "2", "killed", "redis-0", "3", "4", "5"])
    assert (tmp_path / LOG_NAME).read_text() == "meta:claim.begun/redis-0\n"


def test_the_holder_of_a_slot_is_killed_with_its_group_and_one_that_is_gone_is_not(home: Path) -> None:
    program = "import subprocess, sys; subprocess.Popen(['sleep', '60']); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        lock = SlotLock.take(runtime.slot_lock_file(home, "redis-0"))
        started = process_start(process.pid)
        assert started is not None
        holder = Holder(pid=process.pid, started=started, boot_id=boot_id(), incarnation="redis-0.1")
        lock.write(replace(holder, started=1))
        kill_holder(home, "redis-0")
        kill_holder(home, "redis-1")
        kill_holder(home, "orchestrator")
        assert process.poll() is None
        lock.write(holder)
        kill_holder(home, "redis-0")
        assert process.wait(deadline_s(20)) == -signal.SIGKILL
        # its helper held the pipe open
        assert process.stdout.read() == b""
        lock.close()


def test_a_probability_goes_off_again_and_again(tmp_path: Path) -> None:
    for _ in range(2):
        assert run_until_it_goes_off("exit@1.0", tmp_path) == (1, ["1"])
    assert (tmp_path / LOG_NAME).read_text() == "meta:claim.begun\n" * 2


def test_stop_stands_still_until_it_is_continued(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, "meta:claim.begun=stop@2", str(tmp_path)],
        cwd=environment.REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        status = Path(f"/proc/{process.pid}/stat")
        eventually(lambda: status.read_text().rsplit(")", 1)[1].split()[0] == "T", 20.0, "the process stands still")
        process.send_signal(signal.SIGCONT)
        assert process.stdout is not None
        assert process.stdout.read().split() == ["1", "2", "3", "4", "5"]
