"""The orchestrator's snapshot as others read it: fresh, old, broken, or of another boot."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from shared.clock import utc_now
from shared.process import status_file
from shared.process.slot_lock import boot_id


@pytest.mark.parametrize(("age_s", "is_fresh"), [(0, True), (4, True), (-4, True), (6, False), (-60, False)])
def test_an_old_snapshot_is_not_fresh_and_one_from_the_future_neither(
    tmp_path: Path, age_s: float, is_fresh: bool
) -> None:
    file, now = tmp_path / "status.json", utc_now()
    file.write_text(json.dumps({"at": (now - timedelta(seconds=age_s)).isoformat(), "boot_id": boot_id()}))
    found = status_file.read(file, now)
    assert found is not None and (found.is_fresh, round(found.age_s)) == (is_fresh, age_s)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"at": "yesterday"}', '{"at": null}', "{}"])
def test_what_is_no_snapshot_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "status.json"
    assert status_file.read(file) is None
    file.write_text(text)
    assert status_file.read(file) is None


def test_a_snapshot_of_another_boot_is_none(tmp_path: Path) -> None:
    """Its processes are dead, whatever the wall clock says."""
    file = tmp_path / "status.json"
    file.write_text(json.dumps({"at": utc_now().isoformat(), "boot_id": "of yesterday"}))
    assert status_file.read(file) is None
