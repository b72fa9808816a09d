"""Two hosts on one PostgreSQL and Redis, under load: one vanishes and comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.test_program import finished


# the freeze ends after 30 s at the earliest: on a busy machine the other host may still be taking over then
@pytest.mark.serial
@pytest.mark.timeout(400)
def test_a_host_that_was_frozen_beyond_its_lease_doubles_nothing(tmp_path: Path) -> None:
    """What it had in hand goes out from the other one, and it is fenced when it comes back."""
    report = tmp_path / "result.json"
    words = ["--hosts", "2", "--plan", "host-frozen", "--faults", "1", "--rate", "1", "--load", "20", "--chats", "10"]
    code, out, err = finished(*words, "--settle", "180", "--report", str(report), within_s=360.0)
    assert code == 0, out + err
    result = json.loads(report.read_text())
    assert result["faults"]["done"]["host_frozen"] == 1
    assert (result["lost"], result["duplicated"], result["reordered"]) == ({}, {}, {})
    away = result["hosts_away"]
    assert away["reclaimed_s"], "nothing of it was in hand any more before it came back"
    assert max(away["reclaimed_s"]) <= 60.0
    assert away["fenced"], "it was fenced when it came back"
