"""The in-flight journal: what it says after a death is what was true, or doubt; never that something was not sent which
was."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from shared.delivery.in_flight_journal import (
    FoundJournal,
    InFlightEntry,
    InFlightJournal,
    InFlightJournalInvalid,
    InFlightJournalUnwritable,
    Stage,
    path_of,
    read,
)
from shared.delivery.reclaim import forget, leftovers
from shared.process.slot_lock import boot_id
from tests.delivery.env import run
from tests.support.full_disk import files_limited_to


def found(path: Path) -> dict[int, InFlightEntry]:
    """Return what a record says."""
    record = read(path)
    assert record is not None
    return record.entries


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A record's file."""
    return path_of(tmp_path, "meta-0.a")


class TestStages:
    def test_each_step_can_be_read(self, path: Path) -> None:
        record = InFlightJournal(path, 4).open()
        assert found(path) == {}
        record.begin(7)
        assert found(path) == {7: InFlightEntry(7, Stage.CLAIMED)}
        record.writing(7)
        assert found(path) == {7: InFlightEntry(7, Stage.WRITING)}
        for stage, text in ((Stage.SENT, "wamid.1"), (Stage.UNSENT, "busy"), (Stage.DEAD, "131026")):
            record.answered(7, stage, text)
            assert found(path) == {7: InFlightEntry(7, stage, text)}
        record.end(7)
        record.end(7)
        assert found(path) == {}
        record.close(remove=True)
        assert read(path) is None

    def test_places_are_used_again_and_say_nothing_of_before(self, path: Path) -> None:
        record = InFlightJournal(path, 2).open()
        for row_id in range(1, 50):
            record.begin(row_id)
            record.begin(-row_id)
            assert found(path)[row_id] == InFlightEntry(row_id, Stage.CLAIMED)
            record.answered(row_id, Stage.SENT, f"p{row_id}")
            record.end(row_id)
            record.end(-row_id)
        record.close(remove=True)

    def test_an_id_that_does_not_fit_leaves_doubt_and_never_certainty(self, path: Path) -> None:
        record = InFlightJournal(path, 2).open()
        record.begin(7)
        record.answered(7, Stage.SENT, "x" * 5000)
        assert found(path)[7].stage is Stage.WRITING
        record.answered(7, Stage.DEAD, "ä" * 5000)
        assert found(path)[7].stage is Stage.DEAD
        assert found(path)[7].text.startswith("ää")
        record.answered(7, Stage.SENT, "half \ud83d pair")
        assert found(path)[7] == InFlightEntry(7, Stage.SENT, "half ? pair")
        record.close(remove=True)

    def test_it_belongs_to_us_alone(self, path: Path) -> None:
        InFlightJournal(path, 1).open().close(remove=False)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @pytest.mark.parametrize("content", [b"", b"short", b"x" * 64, b"BLKHDFL2" + b"\xff" * 56])
    def test_what_is_no_record_is_said(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(InFlightJournalInvalid):
            read(path)

    def test_one_of_another_boot_is_none(self, path: Path) -> None:
        """After a power loss the file may be as it was before the sends: "unsent" would send again."""
        record = InFlightJournal(path, 1).open()
        record.begin(7)
        record.close(remove=False)
        assert found(path)[7].stage is Stage.CLAIMED
        path.write_bytes(path.read_bytes().replace(boot_id().encode(), b"5" * 36))
        with pytest.raises(InFlightJournalInvalid, match="boot"):
            read(path)

    def test_its_space_is_there_before_anything_is_written(self, path: Path) -> None:
        """A sparse file on a disk that fills up ends the process by SIGBUS at the next note."""
        record = InFlightJournal(path, 200).open()
        assert path.stat().st_blocks * 512 >= path.stat().st_size == 64 + 200 * 256
        record.close(remove=True)

    def test_a_full_disk_is_an_error_and_leaves_nothing(self, path: Path) -> None:
        with files_limited_to(4096), pytest.raises(InFlightJournalUnwritable, match="cannot be kept"):
            InFlightJournal(path, 200).open()
        assert not path.exists()
        InFlightJournal(path, 200).open().close(remove=True)

    def test_a_damaged_stage_is_said(self, path: Path) -> None:
        record = InFlightJournal(path, 1).open()
        record.begin(7)
        record.close(remove=False)
        content = bytearray(path.read_bytes())
        content[64 + 24] = 99
        path.write_bytes(content)
        with pytest.raises(InFlightJournalInvalid):
            read(path)


class TestActive:
    def test_it_names_the_row_whose_code_runs_and_none_while_it_waits(self, path: Path) -> None:
        record = InFlightJournal(path, 2).open()
        seen: list[tuple[str, int]] = []

        def active() -> int:
            content = read(path)
            assert content is not None
            return content.active_row

        async def work(name: str) -> str:
            seen.append((name, active()))
            await asyncio.sleep(0.01)
            seen.append((name, active()))
            return name

        async def scenario() -> None:
            tasks = [
                asyncio.create_task(record.track_active(row_id, work(name))) for row_id, name in ((7, "a"), (8, "b"))
            ]
            await asyncio.sleep(0.005)
            assert active() == 0
            assert await asyncio.gather(*tasks) == ["a", "b"]
            assert active() == 0

        run(scenario())
        assert sorted(seen) == [("a", 7), ("a", 7), ("b", 8), ("b", 8)]
        record.close(remove=True)

    def test_errors_and_cancellation_pass_through(self, path: Path) -> None:
        record = InFlightJournal(path, 1).open()

        async def breaks() -> None:
            await asyncio.sleep(0)
            raise LookupError("a bug")

        async def scenario() -> None:
            with pytest.raises(LookupError):
                await asyncio.create_task(record.track_active(7, breaks()))
            task = asyncio.create_task(record.track_active(7, asyncio.sleep(60)))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(scenario())
        assert read(path) == FoundJournal({}, 0)
        record.close(remove=True)


def test_only_earlier_lives_of_the_same_slot_are_leftovers(tmp_path: Path) -> None:
    for incarnation in ("meta-1.a", "meta-1.b", "meta-1.living", "meta-10.c", "meta-0.d"):
        InFlightJournal(path_of(tmp_path, incarnation), 1).open().close(remove=False)
    assert leftovers(tmp_path, "meta-1", "meta-1.living") == ["meta-1.a", "meta-1.b"]
    forget(tmp_path, "meta-1.a")
    forget(tmp_path, "meta-1.a")
    assert leftovers(tmp_path, "meta-1", "meta-1.living") == ["meta-1.b"]
