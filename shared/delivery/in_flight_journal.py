"""The in-flight journal: what one incarnation has in hand, in a memory-mapped file that outlives kill -9 without a system call per step.

Whoever finds a dead incarnation's record knows of each of its rows whether the request was never written (surely unsent), answered (the answer is
in the record), or written without an answer (in doubt). It also names the row that the process was working on at the instant of its death:
the same row at two deaths is poison.

Layout, little endian: a header of 64 bytes (magic, capacity, active row), then `capacity` entries of 256 bytes (row id, stage, text). An
entry's stage is written last, so that a half-written entry still has its old stage.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from shared.errors import BulkheadError

_T = TypeVar("_T")

_MAGIC: Final = b"BLKHDFL1"
_HEADER: Final = struct.Struct("<8sI")
_ACTIVE_AT: Final = 16
_ACTIVE: Final = struct.Struct("<q")
_HEADER_BYTES: Final = 64
_ENTRY_BYTES: Final = 256
_STAGE_AT: Final = 24
_TEXTS_AT: Final = 32
_LONGEST_TEXT: Final = _ENTRY_BYTES - _TEXTS_AT - 2


class Stage(IntEnum):
    """How far a send has come."""

    FREE = 0
    CLAIMED = 1
    """Nothing has left the process."""
    WRITING = 2
    """From here on the provider may have it."""
    SENT = 3
    """The provider took it; the record holds its id."""
    UNSENT = 4
    """The provider refused it or was not reached; trying again is harmless."""
    DEAD = 5
    """The provider refused it for good."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One entry as it was found.

    Attributes:
        text: the provider's id at SENT, the code at UNSENT and DEAD.
    """

    row_id: int
    stage: Stage
    text: str = ""


@dataclass(frozen=True, slots=True)
class FoundJournal:
    """A dead incarnation's record: its flights by row id, and the row that it was working on when it died (0: none)."""

    flights: dict[int, JournalEntry]
    active_row: int


class InFlightJournalInvalid(BulkheadError):
    """Raised when a file is not an in-flight journal of ours; what it would have told is then not known."""


def path_of(run_dir: Path, incarnation: str) -> Path:
    """Return the file of an incarnation's record."""
    return run_dir / f"{incarnation}.flight"


class InFlightJournal:
    """The record of this process.

    Args:
        path: made new. capacity: sends in flight at once, at most.
    """

    def __init__(self, path: Path, capacity: int) -> None:
        self._path, self._capacity = path, capacity
        size = _HEADER_BYTES + capacity * _ENTRY_BYTES
        with path.open("wb+") as file:
            path.chmod(0o600)
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        _HEADER.pack_into(self._map, 0, _MAGIC, capacity)
        self._free = list(range(capacity))
        self._places: dict[int, int] = {}

    def begin(self, row_id: int) -> None:
        """Take a row in hand."""
        place = self._places[row_id] = self._free.pop()
        at = _HEADER_BYTES + place * _ENTRY_BYTES
        self._map[at + _STAGE_AT] = Stage.FREE
        struct.pack_into("<q", self._map, at, row_id)
        self._map[at + _STAGE_AT] = Stage.CLAIMED

    def writing(self, row_id: int) -> None:
        """Say: from now on the provider may have it."""
        self._map[self._at(row_id) + _STAGE_AT] = Stage.WRITING

    def answered(self, row_id: int, stage: Stage, text: str) -> None:
        """Keep an answer until it stands in the database.

        Args:
            stage: SENT, UNSENT or DEAD. text: see `JournalEntry`; a code that is too long is cut, a provider's id that is leaves the row in doubt.
        """
        at = self._at(row_id)
        encoded = text.encode(errors="replace")
        if len(encoded) > _LONGEST_TEXT:
            if stage is Stage.SENT:
                self.writing(row_id)
                return
            encoded = encoded[:_LONGEST_TEXT].decode(errors="ignore").encode()
        struct.pack_into("<H", self._map, at + _TEXTS_AT, len(encoded))
        self._map[at + _TEXTS_AT + 2 : at + _TEXTS_AT + 2 + len(encoded)] = encoded
        self._map[at + _STAGE_AT] = stage

    def end(self, row_id: int) -> None:
        """Give a row out of hand; unknown rows are ignored."""
        place = self._places.pop(row_id, None)
        if place is not None:
            self._map[_HEADER_BYTES + place * _ENTRY_BYTES + _STAGE_AT] = Stage.FREE
            self._free.append(place)

    def track_active(self, row_id: int, work: Coroutine[Any, Any, _T]) -> _Tracked[_T]:
        """Return `work` such that the record names `row_id` as active while its code runs, and not while it waits."""
        return _Tracked(self, row_id, work)

    def set_active(self, row_id: int) -> None:
        """Name the row whose code runs now; 0 for none."""
        _ACTIVE.pack_into(self._map, _ACTIVE_AT, row_id)

    def close(self, *, remove: bool) -> None:
        """Close the record; `remove` it when nothing is in hand any more."""
        self._map.close()
        if remove:
            self._path.unlink(missing_ok=True)

    def _at(self, row_id: int) -> int:
        return _HEADER_BYTES + self._places[row_id] * _ENTRY_BYTES


class _Tracked(Coroutine[Any, Any, _T]):
    """Runs a coroutine and names its row as active during each step."""

    def __init__(self, record: InFlightJournal, row_id: int, work: Coroutine[Any, Any, _T]) -> None:
        self._record, self._row_id, self._work = record, row_id, work

    def send(self, value: Any) -> Any:
        self._record.set_active(self._row_id)
        try:
            return self._work.send(value)
        finally:
            self._record.set_active(0)

    def throw(self, *error: Any) -> Any:
        self._record.set_active(self._row_id)
        try:
            return self._work.throw(*error)
        finally:
            self._record.set_active(0)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, _T]:
        raise TypeError("a watched coroutine is given to a task, which steps it")


def read(path: Path) -> FoundJournal | None:
    """Read a dead incarnation's record.

    Returns:
        What it held, None when there is no such file (the incarnation kept no record, or nothing was in hand when it left).
    Raises:
        InFlightJournalInvalid: the file is something else, or damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(content) < _HEADER_BYTES:
        raise InFlightJournalInvalid(f"{path.name}: too short")
    magic, capacity = _HEADER.unpack_from(content)
    if magic != _MAGIC or len(content) != _HEADER_BYTES + capacity * _ENTRY_BYTES:
        raise InFlightJournalInvalid(f"{path.name}: not an in-flight journal")
    flights = {}
    for at in range(_HEADER_BYTES, len(content), _ENTRY_BYTES):
        try:
            flight = _entry(content, at)
        except ValueError as problem:
            raise InFlightJournalInvalid(f"{path.name}: {problem}") from None
        if flight.stage is not Stage.FREE:
            flights[flight.row_id] = flight
    (active,) = _ACTIVE.unpack_from(content, _ACTIVE_AT)
    return FoundJournal(flights, active)


def _entry(content: bytes, at: int) -> JournalEntry:
    """Read one entry. Raises `ValueError` when it is damaged."""
    (row_id,) = struct.unpack_from("<q", content, at)
    stage = Stage(content[at + _STAGE_AT])
    if stage < Stage.SENT:
        return JournalEntry(row_id, stage)
    (length,) = struct.unpack_from("<H", content, at + _TEXTS_AT)
    if length > _LONGEST_TEXT:
        raise ValueError(f"an entry holds a text of {length} bytes")
    return JournalEntry(row_id, stage, content[at + _TEXTS_AT + 2 : at + _TEXTS_AT + 2 + length].decode())
