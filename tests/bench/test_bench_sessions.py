"""The show of browser sessions with three of them: one is sick, the others and meta go on, nothing is lost and nothing
comes twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import environment, processes
from tests.support.waiting import eventually

pytestmark = pytest.mark.serial

WITHIN_S = 300
TROUBLES = ("kill -9 of one Chromium", "hung tab", "leak", "crash loop")


def bench(command: str, tmp_path: Path) -> dict[str, Any]:
    """Run a command as a user would and return its figures; nothing of it is left behind."""
    kept = tmp_path / "figures.json"
    before = processes.living_descendants()
    done = subprocess.run(
        [sys.executable, "-m", "bench", command, "--quick", "--json", str(kept)],
        cwd=environment.REPOSITORY,
        env=environment.clean(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S - 30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    def left() -> set[int]:
        return {
            pid
            for pid, name in processes.living_descendants().items()
            if pid not in before and not name.startswith("postgres:")
        }

    eventually(lambda: not left(), 20, lambda: f"nothing is left behind: {left()}")
    figures: dict[str, Any] = json.loads(kept.read_text())["figures"]
    return figures


@pytest.mark.long
@pytest.mark.timeout(WITHIN_S)
def test_one_sick_session_and_all_the_others(tmp_path: Path) -> None:
    figures = bench("sessions", tmp_path)
    for trouble in TROUBLES:
        reported = figures[trouble]
        assert reported["others not sent"] == 0, trouble
        assert reported["others sent"] > 0
        assert reported["meta lost or duplicated"] == 0
        assert reported["shown as ready for, s"] < 15, f"{trouble}: a lie"
        assert reported["sick session"] == ("quarantined" if trouble == "crash loop" else "ready")
    assert figures["crash loop"]["browsers started until quarantine"] <= 8
    death = figures["kill -9 of the browser process"]
    assert death["sessions that needed a new code"] == 0
    assert death["browsers gone after, s"] < 15
    outcome = figures["outcome in the phones' ledger"]
    assert outcome["accepted"] > 0
    assert (outcome["lost"], outcome["duplicated"]) == (0, 0)


@pytest.mark.long
@pytest.mark.timeout(WITHIN_S)
def test_what_a_session_costs_is_measured(tmp_path: Path) -> None:
    measured = bench("browser", tmp_path)["1 sessions"]
    assert measured["RSS a session, MB"] > measured["PSS a session, MB"] > measured["USS a session, MB"] > 0
    assert measured["start to ready, median, s"] > 0
