"""The ledger: numbered without gaps, found again after any kind of end, read from memory and file alike."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import ledger as ledger_module
from sandbox.ledger import Ledger
from tests.support.waiting import within


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    first = Ledger(tmp_path, clock=lambda: 1.5)
    first.append("graph", "accepted", text="Grüße \ud800 \n")
    first.close()
    second = Ledger(tmp_path, clock=lambda: 2.5)
    assert second.append("web", "sent", chat="1@c.us").seq == 2
    assert [entry.flat() for entry in second.entries()] == [
        {"seq": 1, "at": 1.5, "channel": "graph", "event": "accepted", "text": "Grüße \ud800 \n"},
        {"seq": 2, "at": 2.5, "channel": "web", "event": "sent", "chat": "1@c.us"},
    ]
    second.close()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new")
    ledger.close()
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    assert ledger.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("torn", [b'{"seq":4,"at":1', b"x" * 200_000])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    ledger = Ledger(tmp_path)
    for number in range(3):
        ledger.append("graph", "accepted", number=number)
    ledger.close()
    with ledger.path.open("ab") as file:
        file.write(torn)
    again = Ledger(tmp_path)
    assert again.append("graph", "accepted", number=3).seq == 4
    assert [entry.fields["number"] for entry in again.entries()] == [0, 1, 2, 3]
    again.close()


@pytest.mark.parametrize("sizes", [[1] * 300, [1, 5000] * 100, [1] * 100 + [300_000], [300_000] + [1] * 100, [1]])
def test_any_entry_is_found_in_the_file(tmp_path: Path, sizes: list[int]) -> None:
    ledger = Ledger(tmp_path)
    for size in sizes:
        ledger.append("graph", "accepted", filling="x" * size)
    expected = list(range(1, len(sizes) + 1))
    for since in range(len(sizes) + 2):
        assert [entry.seq for entry in ledger.scan(since)] == expected[since:], since
    assert [entry.seq for entry in ledger.scan_backwards()] == expected[::-1]
    ledger.close()


def test_memory_holds_a_tail_and_the_file_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_TAIL", 10)
    ledger = Ledger(tmp_path)
    for number in range(1, 46):
        ledger.append("graph" if number % 2 else "webhook", "accepted")
    for since in range(47):
        assert [entry.seq for entry in ledger.entries(since)] == list(range(since + 1, 46)), since
    assert [entry.seq for entry in ledger.entries(0, "webhook", limit=3)] == [2, 4, 6]
    assert ledger.entries(0, "graph", "refused") == []
    ledger.close()


def test_a_line_that_does_not_fit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    ledger.append("graph", "accepted")
    write = os.write
    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
        with pytest.raises(OSError, match="10 of"):
            ledger.append("graph", "accepted")
    assert ledger.append("graph", "accepted").seq == 2
    assert [entry.seq for entry in ledger.scan()] == [1, 2]
    ledger.close()


def test_its_own_field_names_are_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(ValueError, match="seq"):
        ledger.append("graph", "accepted", seq=3)
    assert ledger.seq == 0
    ledger.close()


async def _waits(directory: Path) -> None:
    ledger = Ledger(directory)
    assert await ledger.wait(0, 0.01) == []
    waiting = asyncio.create_task(ledger.wait(0, 10, "graph"))
    await asyncio.sleep(0)
    ledger.append("webhook", "posted")
    await asyncio.sleep(0)
    assert not waiting.done()
    ledger.append("graph", "accepted")
    assert [entry.seq for entry in await within(waiting, 1)] == [2]
    assert [entry.seq for entry in await ledger.wait(1, 10)] == [2]
    ledger.close()


def test_a_reader_can_wait_for_what_it_wants(tmp_path: Path) -> None:
    asyncio.run(_waits(tmp_path))


_WRITER = """
import sys
from pathlib import Path
from sandbox.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
while True:
    print(ledger.append("graph", "accepted", filling="x" * 500).seq, flush=True)
"""


def test_what_was_answered_outlives_kill_9(tmp_path: Path) -> None:
    acknowledged = 0
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        with writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                acknowledged = int(line)
                if acknowledged % 50 == 0:
                    writer.kill()
                    break
            acknowledged = max([acknowledged, *(int(line) for line in writer.stdout.read().split(b"\n")[:-1])])
        ledger = Ledger(tmp_path)
        assert [entry.seq for entry in ledger.entries()] == list(range(1, ledger.seq + 1))
        assert ledger.seq >= acknowledged
        ledger.close()
