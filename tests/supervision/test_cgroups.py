"""Control groups that others remove at the same moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervision.processes import cgroups

pytestmark = pytest.mark.fast


def test_a_group_that_goes_while_others_are_swept_is_no_error(tmp_path: Path) -> None:
    """As another orchestrator's own does when it ends: it is listed, and cannot be looked into any more."""
    (tmp_path / "bulkhead-gone").symlink_to(tmp_path / "nowhere")
    for name in ("bulkhead-old", "bulkhead-young"):
        (tmp_path / name / "api-0.1").mkdir(parents=True)
    for old in ("bulkhead-old/api-0.1", "bulkhead-old"):
        os.utime(tmp_path / old, (0, 0))
    cgroups._sweep(tmp_path)
    # the removal of what is in it makes a group young again: the next sweep removes it
    assert not (tmp_path / "bulkhead-old" / "api-0.1").exists()
    assert (tmp_path / "bulkhead-young" / "api-0.1").exists()
