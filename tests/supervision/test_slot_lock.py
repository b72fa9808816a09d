"""The slot lock is free exactly when no process who inherited it lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import SlotTaken
from shared.process.slot_lock import (
    Holder,
    SlotLock,
    boot_id,
    holder_of_this_process,
    is_free,
    process_start,
    read_holder,
)
from tests.support.waiting import eventually

HOLD = "import sys; print('up', flush=True); sys.stdin.read()"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "meta-0.lock"


def test_taken_once_and_free_after_close(path: Path) -> None:
    assert is_free(path)
    lock = SlotLock.take(path)
    lock.write(holder_of_this_process("meta-0.1"))
    assert not is_free(path)
    with pytest.raises(SlotTaken, match=f"process {os.getpid()}, incarnation meta-0.1"):
        SlotLock.take(path)
    lock.close()
    lock.close()
    assert is_free(path)
    SlotLock.take(path).close()


def test_record_survives_its_writer_and_says_whether_it_runs(path: Path) -> None:
    lock = SlotLock.take(path)
    ours = holder_of_this_process("meta-0.1", admin_port=3220, public_port=3002)
    lock.write(ours)
    lock.write(Holder(pid=1, started=2, boot_id="x" * 36, incarnation="meta-0.2", exit_code=1, exit_reason="r" * 5000))
    lock.write(ours)
    assert lock.read() == read_holder(path) == ours
    assert ours.is_running()
    assert not Holder(pid=os.getpid(), started=ours.started + 1, boot_id=boot_id(), incarnation="").is_running()
    assert not Holder(pid=None, started=0, boot_id=boot_id(), incarnation="").is_running()
    lock.close()


def test_a_slot_whose_process_is_being_started_names_none(path: Path) -> None:
    """In the file it is 0, as earlier versions read and write it; a signal to 0 would reach our own process group."""
    lock = SlotLock.take(path)
    lock.write(Holder(pid=None, started=0, boot_id=boot_id(), incarnation="meta-0.1"))
    assert json.loads(path.read_bytes())["pid"] == 0
    holder = read_holder(path)
    assert holder is not None and holder.pid is None and lock.read() == holder
    lock.close()


def test_an_unreadable_record_names_no_holder(path: Path) -> None:
    assert read_holder(path) is None
    path.write_text("not json", encoding="utf-8")
    assert read_holder(path) is None


def test_descriptor_of_another_file_is_refused(path: Path, tmp_path: Path) -> None:
    other = SlotLock.take(tmp_path / "meta-1.lock")
    path.touch()
    with pytest.raises(SlotTaken, match="is not"):
        SlotLock.inherited(other.fd, path)
    with pytest.raises(SlotTaken, match="does not hold"):
        SlotLock.inherited(987, path)
    other.close()


def test_descriptor_without_the_lock_is_refused(path: Path) -> None:
    lock = SlotLock.take(path)
    fd = os.open(path, os.O_RDWR)
    with pytest.raises(SlotTaken, match="does not hold the lock"):
        SlotLock.inherited(fd, path)
    os.close(fd)
    lock.close()


def test_held_until_the_last_descendant_is_gone(path: Path) -> None:
    """A killed parent's grandchild keeps the slot: the proof of death covers helpers."""
    lock = SlotLock.take(path)
    spawn = f"subprocess.Popen([sys.executable, '-c', {HOLD!r}], pass_fds=[{lock.fd}], stdout=sys.stdout)"
    code = f"import subprocess, sys; p = {spawn}; print(p.pid, flush=True); p.wait()"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], pass_fds=[lock.fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout and parent.stdin
    words = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    grandchild = int((words - {"up"}).pop())
    lock.close()
    parent.kill()
    parent.wait()
    assert process_start(grandchild) is not None
    assert not is_free(path)
    os.kill(grandchild, signal.SIGKILL)
    eventually(lambda: is_free(path), 10, "the lock is free")
    parent.stdin.close()
    parent.stdout.close()


def test_process_start_of_a_pid_that_does_not_exist() -> None:
    child = subprocess.Popen(["true"])
    eventually(lambda: process_start(child.pid) is None, 10, "it is a zombie")  # a zombie counts as gone
    child.wait()
    assert process_start(child.pid) is None
