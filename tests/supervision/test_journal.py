"""The journal loses nothing over restarts, rotation and torn lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from shared.process import runtime
from shared.process.journal import KEEP_SEGMENTS, JournalReader, JournalWriter, SupervisionEvent, entries_in

Writer = Callable[..., JournalWriter]
Reader = Callable[..., JournalReader]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def writer(tmp_path: Path, stack: ExitStack) -> Writer:
    return lambda boot, **more: stack.enter_context(closing(JournalWriter(tmp_path, boot, **more)))


@pytest.fixture
def reader_named(tmp_path: Path, stack: ExitStack) -> Reader:
    return lambda name="recorder": stack.enter_context(closing(JournalReader(tmp_path, name)))


def write(journal: JournalWriter, count: int) -> None:
    for _ in range(count):
        journal.write(SupervisionEvent.STARTED, slot="api-0", kind="api", incarnation="api-0.1", pid=7)


def test_read_follows_and_commit_survives(tmp_path: Path, writer: Writer, reader_named: Reader) -> None:
    reader = reader_named()
    assert reader.read() == []
    journal = writer("boot-1")
    write(journal, 3)
    first = reader.read(limit=2)
    assert [entry.seq for entry in first] == [1, 2]
    assert (first[0].event, first[0].boot, first[0].details) == (SupervisionEvent.STARTED, "boot-1", {"pid": 7})
    reader.commit(1)
    assert [entry.seq for entry in reader.read()] == [3]
    reader.rewind()
    assert [entry.seq for entry in reader.read()] == [2, 3]
    assert [entry.seq for entry in reader_named().read()] == [2, 3]
    assert reader_named("another").read(1)[0].seq == 1


def test_the_next_orchestrator_goes_on_counting_after_a_torn_line(
    tmp_path: Path, writer: Writer, reader_named: Reader
) -> None:
    write(writer("boot-1"), 2)
    with runtime.events_file(tmp_path).open("a", encoding="utf-8") as torn:
        torn.write('{"seq": 3, "at"')
    reader = reader_named()
    assert [entry.seq for entry in reader.read()] == [1, 2]
    journal = writer("boot-2")
    write(journal, 1)
    assert [(entry.seq, entry.boot) for entry in reader.read()] == [(3, "boot-2")]


def test_rotation_loses_nothing_unread(tmp_path: Path, writer: Writer, reader_named: Reader) -> None:
    journal = writer("boot-1", segment_bytes=2000)
    early, late = reader_named("early"), reader_named("late")
    late.commit(0)
    (tmp_path / "run" / "events.late.position").write_text("0\n", encoding="ascii")
    seen: list[int] = []
    for _ in range(100):
        write(journal, 1)
        seen += [entry.seq for entry in early.read()]
        early.commit(seen[-1])
    assert seen == list(range(1, 101))
    assert [entry.seq for entry in late.read(1000)] == list(range(1, 101))
    assert [entry.seq for entry in entries_in(tmp_path)] == list(range(1, 101))
    late.commit(100)
    write(journal, 20)
    assert len(list((tmp_path / "run").glob("events.0*.jsonl"))) <= 3


def test_without_a_reader_the_disk_does_not_fill(tmp_path: Path, writer: Writer, reader_named: Reader) -> None:
    journal = writer("boot-1", segment_bytes=400)
    write(journal, 400)
    segments = list((tmp_path / "run").glob("events.0*.jsonl"))
    assert len(segments) == KEEP_SEGMENTS
    kept = [entry.seq for entry in reader_named().read(1000)]
    assert kept == list(range(kept[0], 401))
    assert writer("boot-2").seq == 400


def test_a_journal_that_lost_its_end_uses_no_number_twice(tmp_path: Path, writer: Writer, reader_named: Reader) -> None:
    """After a power loss the lines may be gone and the position not: new entries must lie beyond it."""
    reader, journal = reader_named(), writer("boot-1")
    write(journal, 5)
    reader.commit(reader.read()[-1].seq)
    journal.close()
    path = runtime.events_file(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    write(writer("boot-2"), 1)
    assert [(entry.seq, entry.boot) for entry in reader_named().read()] == [(6, "boot-2")]


def test_a_follower_with_a_start_position_stores_none(tmp_path: Path, writer: Writer, stack: ExitStack) -> None:
    journal = writer("boot-1", segment_bytes=600)
    write(journal, 20)
    follower = stack.enter_context(closing(JournalReader(tmp_path, after=20)))
    assert follower.read() == []
    write(journal, 7)
    assert [entry.seq for entry in follower.read()] == list(range(21, 28))
    assert not list(tmp_path.glob("run/*.position"))
