"""A file that is replaced is whole at each instant, has its mode, and survives a failed replacement."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from shared.atomic_file import replace_file


def test_content_and_mode_whatever_the_umask_and_whatever_was_left_behind(tmp_path: Path) -> None:
    file, leftover = tmp_path / "facts.json", tmp_path / "facts.json.new"
    leftover.write_text("half of an earlier one, and longer than what comes now")
    leftover.chmod(0o666)
    before = os.umask(0o077)
    try:
        replace_file(file, "é", mode=0o640, durable=True)
    finally:
        os.umask(before)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == ("é".encode(), 0o640)
    assert not leftover.exists()


def test_a_folder_in_the_way_is_an_error_and_the_new_content_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "here"
    (place / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        replace_file(place, "x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["here"]


def test_a_full_disk_keeps_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "facts.json"
    replace_file(file, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(file, "new", durable=True)
    assert file.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["facts.json"]
