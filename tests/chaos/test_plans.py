"""Plans and their schedules: repeatable, within what the restart policy takes as accidents, and nothing that an
installation does not run.
"""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from chaos.clocks import Clock
from chaos.installation import InstallationUnusable
from chaos.plans import DOORS, FAULTS, HOOKS, PLANS, SUBSCRIBERS, schedule
from chaos.upgrade import UpgradeFigures, unpack, versions_of
from supervision.commands import chaos as command
from supervision.environment import OF_A_CHAOS_RUN

EVERYTHING = (
    "api-0",
    "api-1",
    "meta-0",
    "meta-1",
    "recorder-0",
    "sandbox-0",
    "redis-0",
    "postgres-0",
    "webdriver-0",
    "orchestrator",
    "provider",
    "page",
    "outsiders",
    *DOORS,
    "machine",
    "proof",
    *HOOKS,
    *SUBSCRIBERS,
)


def test_the_command_line_knows_every_plan() -> None:
    assert tuple(PLANS) == command.PLANS


def test_every_fault_of_a_plan_exists_and_every_fault_is_in_a_plan() -> None:
    assert {name for weights in PLANS.values() for name in weights} == set(FAULTS)


def test_the_same_seed_gives_the_same_schedule_and_another_seed_another() -> None:
    one, again, other = (
        schedule("everything", faults=200, rate=2.0, seed=seed, targets=EVERYTHING) for seed in (7, 7, 8)
    )
    assert one == again
    assert one != other
    assert len(one) == 200


def test_all_kinds_of_faults_come_up() -> None:
    steps = schedule("everything", faults=2000, rate=2.0, seed=1, targets=EVERYTHING)
    assert {step.fault for step in steps} == set(PLANS["everything"])


@pytest.mark.parametrize("seed", range(5))
def test_no_target_is_hit_again_too_soon(seed: int) -> None:
    steps = schedule("everything", faults=400, rate=5.0, seed=seed, targets=EVERYTHING)
    assert [step.at_s for step in steps] == sorted(step.at_s for step in steps)
    for target in EVERYTHING:
        for first, second in pairwise(step for step in steps if step.target == target):
            assert second.at_s - (first.at_s + first.lasts_s) >= FAULTS[second.fault].gap_s - 0.01


def test_what_a_copy_does_not_run_is_left_alone() -> None:
    targets = [target for target in EVERYTHING if target not in ("webdriver-0", "page", "orchestrator")]
    steps = schedule("everything", faults=500, rate=2.0, seed=1, targets=targets)
    assert {step.target for step in steps} <= set(targets)
    assert schedule("browser", faults=10, rate=1.0, seed=1, targets=targets) == []


class TestUpgrade:
    """What `chaos upgrade` does before it starts anything; a whole one takes minutes."""

    def test_versions_are_the_newest_commits_oldest_first(self, tmp_path: Path) -> None:
        made = [commit(tmp_path, f"{number}\n") for number in range(4)]
        assert versions_of(tmp_path, "HEAD", 3) == made[1:]
        program = unpack(tmp_path, made[2], tmp_path / "third")
        assert program == tmp_path / "third" / "orchestrator.py"
        assert program.read_text() == "2\n"
        with pytest.raises(InstallationUnusable, match="git rev-list"):
            versions_of(tmp_path, "no-such-revision", 1)

    def test_it_is_clean_only_when_no_request_failed(self) -> None:
        assert not UpgradeFigures(versions=["a"], failed={"ClientConnectorError": 1}).is_clean
        assert not UpgradeFigures(versions=["a"]).is_clean, "there is no verdict"


def commit(folder: Path, text: str) -> str:
    """Commit a program, and return the commit."""
    (folder / "orchestrator.py").write_text(text)
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=n@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_a_clock_is_set_by_a_file(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock", tmp_path / "libfaketime.so.1")
    assert (tmp_path / "clock").read_text() == "+0\n"
    clock.shift(-3600)
    assert (tmp_path / "clock").read_text() == "-3600\n"
    assert set(clock.variables) == OF_A_CHAOS_RUN, "children receive each of them"
