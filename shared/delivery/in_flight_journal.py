"""The in-flight journal: what one incarnation has in flight, in a memory-mapped file that outlives kill -9 without a
system call per step.

A dead incarnation's journal records for each of its rows whether the request was never written (surely unsent),
answered (the answer is in the journal), or written without an answer (in doubt). It also names the row whose code ran
at the instant of death: the same row at two deaths is poison.

The file outlives processes, not the machine: it is never fsynced, so after a power loss it may hold an earlier state.
It therefore names the boot, and a file of another boot is ignored.

Layout, little endian: a header of 64 bytes (magic, capacity, active row, boot id), then `capacity` entries of 256 bytes
(row id, stage, text). An entry's stage is written last, so that a half-written entry still has its old stage.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from shared.errors import BulkheadError
from shared.process.slot_lock import boot_id

_T = TypeVar("_T")

_MAGIC: Final = b"BLKHDFL2"
"""The last digit is the version of the layout: a journal of another version is refused, not misread."""
_HEADER: Final = struct.Struct("<8sI")
_ACTIVE_AT: Final = 16
"""Offset in bytes, like all below; 4 bytes of padding precede it."""
_ACTIVE: Final = struct.Struct("<q")
_BOOT_AT: Final = 24
_BOOT: Final = struct.Struct("<36s")
_HEADER_BYTES: Final = 64
"""The fields above end at byte 60."""
_ENTRY_BYTES: Final = 256
"""Of one send: fixed, so that an entry is found by its place alone."""
_STAGE_AT: Final = 24
_TEXTS_AT: Final = 32
_LONGEST_TEXT: Final = _ENTRY_BYTES - _TEXTS_AT - 2
"""In bytes of UTF-8, behind a length of 2 bytes. A longer id leaves its row in doubt."""


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
class InFlightEntry:
    """One entry as it was found.

    Attributes:
        text: the provider's id at SENT, the code at UNSENT and DEAD.
    """

    row_id: int
    stage: Stage
    text: str = ""


@dataclass(frozen=True, slots=True)
class FoundJournal:
    """A dead incarnation's journal: its entries by row id, and the row whose code ran when it died (0: none)."""

    entries: dict[int, InFlightEntry]
    active_row: int


class InFlightJournalInvalid(BulkheadError):
    """Raised when a file is not an in-flight journal of this boot: its rows are treated as without a journal."""


class InFlightJournalUnwritable(BulkheadError):
    """Raised when the journal's file cannot be made, most likely because the disk is full; without it nothing may be
    sent."""


def path_of(run_dir: Path, incarnation: str) -> Path:
    """Return the file of an incarnation's journal."""
    return run_dir / f"{incarnation}.flight"


class InFlightJournal:
    """The journal of this process; `open` comes first.

    Args:
        path: made new. capacity: sends in flight at once, at most.
    """

    def __init__(self, path: Path, capacity: int) -> None:
        self._path, self._capacity = path, capacity
        self._map: mmap.mmap
        self.is_open = False
        self._free = list(range(capacity))
        self._places: dict[int, int] = {}

    def open(self) -> Self:
        """Make the file, with all of its disk space.

        Raises:
            InFlightJournalUnwritable: there is no space for it, or its directory cannot be written. In a file without
            its space, a later write would end the process by SIGBUS.
        """
        size = _HEADER_BYTES + self._capacity * _ENTRY_BYTES
        try:
            with self._path.open("wb+") as file:
                # it holds the provider's ids of messages
                self._path.chmod(0o600)
                # not ftruncate: in a sparse file a full disk shows at a page fault, as SIGBUS, which ends the process
                os.posix_fallocate(file.fileno(), 0, size)
                self._map = mmap.mmap(file.fileno(), size)
        except OSError as error:
            # the first error is the one to report; the next attempt makes the file anew
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            raise InFlightJournalUnwritable(f"{self._path}: {size} bytes cannot be kept: {error.strerror}") from error
        _HEADER.pack_into(self._map, 0, _MAGIC, self._capacity)
        _BOOT.pack_into(self._map, _BOOT_AT, boot_id().encode())
        self.is_open = True
        return self

    def begin(self, row_id: int) -> None:
        """Record a claimed row."""
        place = self._places[row_id] = self._free.pop()
        at = _HEADER_BYTES + place * _ENTRY_BYTES
        # the new id must never stand beside the stage of an earlier row: a death between two writes is possible
        self._map[at + _STAGE_AT] = Stage.FREE
        struct.pack_into("<q", self._map, at, row_id)
        self._map[at + _STAGE_AT] = Stage.CLAIMED

    def writing(self, row_id: int) -> None:
        """Record that from now on the provider may have the row's message."""
        self._map[self._at(row_id) + _STAGE_AT] = Stage.WRITING

    def answered(self, row_id: int, stage: Stage, text: str) -> None:
        """Record an answer until it is committed to the database.

        Args:
            stage: SENT, UNSENT or DEAD. text: see `InFlightEntry`; a code that is too long is cut, a provider's id that
                is leaves the row in doubt.
        """
        at = self._at(row_id)
        encoded = text.encode(errors="replace")
        if len(encoded) > _LONGEST_TEXT:
            # a shortened id would name another message; the row is in doubt then, and reconciliation finds the id
            if stage is Stage.SENT:
                self.writing(row_id)
                return
            # the cut may fall inside a character
            encoded = encoded[:_LONGEST_TEXT].decode(errors="ignore").encode()
        struct.pack_into("<H", self._map, at + _TEXTS_AT, len(encoded))
        self._map[at + _TEXTS_AT + 2 : at + _TEXTS_AT + 2 + len(encoded)] = encoded
        # last: only the stage makes the text valid
        self._map[at + _STAGE_AT] = stage

    def end(self, row_id: int) -> None:
        """Remove a row; unknown rows are ignored."""
        place = self._places.pop(row_id, None)
        if place is not None:
            # one byte is enough: readers skip the id and text of a free entry
            self._map[_HEADER_BYTES + place * _ENTRY_BYTES + _STAGE_AT] = Stage.FREE
            self._free.append(place)

    def track_active(self, row_id: int, work: Coroutine[Any, Any, _T]) -> _Tracked[_T]:
        """Wrap `work` so that the journal names `row_id` as active while its code runs, and not while it waits."""
        return _Tracked(self, row_id, work)

    def set_active(self, row_id: int) -> None:
        """Record the row whose code runs now; 0 for none."""
        _ACTIVE.pack_into(self._map, _ACTIVE_AT, row_id)

    def close(self, *, remove: bool) -> None:
        """Close the journal; `remove` it when nothing is in flight any more."""
        if self.is_open:
            self._map.close()
        if remove:
            self._path.unlink(missing_ok=True)

    def _at(self, row_id: int) -> int:
        return _HEADER_BYTES + self._places[row_id] * _ENTRY_BYTES


class _Tracked(Coroutine[Any, Any, _T]):
    """Runs a coroutine and names its row as active during each step."""

    def __init__(self, journal: InFlightJournal, row_id: int, work: Coroutine[Any, Any, _T]) -> None:
        self._journal, self._row_id, self._work = journal, row_id, work

    def send(self, value: Any) -> Any:
        # for each step, not for the whole send: between two steps the code of other rows runs
        self._journal.set_active(self._row_id)
        try:
            return self._work.send(value)
        finally:
            self._journal.set_active(0)

    def throw(self, *error: Any) -> Any:
        self._journal.set_active(self._row_id)
        try:
            return self._work.throw(*error)
        finally:
            self._journal.set_active(0)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, _T]:
        raise TypeError("a tracked coroutine must be run by a task")


def read(path: Path) -> FoundJournal | None:
    """Read a dead incarnation's journal.

    Returns:
        Its content, None when there is no such file (the incarnation kept none, or had nothing in flight when it
        exited).
    Raises:
        InFlightJournalInvalid: the file is something else, damaged, or of another boot.
    """
    try:
        # the writer is proved dead, so the content stands still
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(content) < _HEADER_BYTES:
        raise InFlightJournalInvalid(f"{path.name}: too short")
    magic, capacity = _HEADER.unpack_from(content)
    if magic != _MAGIC or len(content) != _HEADER_BYTES + capacity * _ENTRY_BYTES:
        raise InFlightJournalInvalid(f"{path.name}: not an in-flight journal")
    # what was not synced before a power loss is an earlier state: "unsent" may have been sent since
    if _BOOT.unpack_from(content, _BOOT_AT)[0] != boot_id().encode():
        raise InFlightJournalInvalid(f"{path.name}: written before the machine's last boot")
    entries = {}
    for at in range(_HEADER_BYTES, len(content), _ENTRY_BYTES):
        try:
            entry = _entry(content, at)
        except ValueError as problem:
            # one damaged entry condemns the file: damage in the others may not show
            raise InFlightJournalInvalid(f"{path.name}: {problem}") from None
        if entry.stage is not Stage.FREE:
            entries[entry.row_id] = entry
    (active,) = _ACTIVE.unpack_from(content, _ACTIVE_AT)
    return FoundJournal(entries, active)


def _entry(content: bytes, at: int) -> InFlightEntry:
    """Read one entry. Raises `ValueError` when it is damaged."""
    (row_id,) = struct.unpack_from("<q", content, at)
    stage = Stage(content[at + _STAGE_AT])
    if stage < Stage.SENT:
        return InFlightEntry(row_id, stage)
    (length,) = struct.unpack_from("<H", content, at + _TEXTS_AT)
    if length > _LONGEST_TEXT:
        raise ValueError(f"an entry holds a text of {length} bytes")
    return InFlightEntry(row_id, stage, content[at + _TEXTS_AT + 2 : at + _TEXTS_AT + 2 + length].decode())
