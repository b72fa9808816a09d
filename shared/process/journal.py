"""The journal of supervision: what the orchestrator saw, one JSON line each, in `BULKHEAD_HOME/run/events.jsonl`.

One orchestrator writes, any number of readers follow, each with a position of its own that survives it. The
orchestrator thus needs no database to say what happened, and the recorder may be away for hours. Sequence numbers go up
by one for ever, over orchestrators and over segments, so a reader can prove that it missed nothing.

A full segment is renamed to `events.<last seq>.jsonl`; segments that every known reader has passed are deleted, and so
are the oldest ones beyond `KEEP_SEGMENTS`: a home without a recorder must not fill the disk.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final

from shared.atomic_file import replace_file
from shared.clock import utc_now
from shared.logs import logger
from shared.process import runtime

log = logger(__name__)

SEGMENT_BYTES: Final = 4 * 1024 * 1024
"""Bytes after which a segment is renamed; some ten thousand entries."""
KEEP_SEGMENTS: Final = 32
"""Most full segments: 128 MiB in all."""
# 16 digits, so that names sort as numbers do.
_SEGMENT: Final = re.compile(r"events\.(\d{16})\.jsonl")


class SupervisionEvent(StrEnum):
    """What can stand in the journal. `details` are named in parentheses."""

    STARTED = "started"
    """A process was started (pid, attempt, probe)."""
    READY = "ready"
    """It may take work (after_s since its start, status)."""
    UNREADY = "unready"
    """It is alive but may not take work (status)."""
    EXITED = "exited"
    """The main process is gone (pid, code, signal, expected, reason, last_words, uptime_s, log_tail)."""
    SLOT_FREE = "slot_free"
    """Proof of death: nothing of this incarnation lives, its lock is free. Always before the next `started` of the
    slot; may be repeated.
    """
    RESTARTING = "restarting"
    """The restart policy set a delay (delay_s, failures)."""
    QUARANTINED = "quarantined"
    """Too many restarts; slow probes from now on (restarts, next_probe_s)."""
    PROBED = "probed"
    """A quarantined slot was tried again (outcome: started, recovered, failed)."""
    ADOPTED = "adopted"
    """A process of an earlier orchestrator goes on under this one (pid, age_s)."""
    DRAINED = "drained"
    """It was asked to stop and left in time, with everything finished or not (in_time, code, purpose)."""
    HUNG = "hung"
    """Its work loop was silent too long, or it did not become ready or leave in time (what, silent_s, escalation)."""
    OVER_MEMORY = "over_memory"
    """Its process tree passed a ceiling (rss_mb, limit_mb, ceiling: soft, hard)."""
    MISCONFIGURED = "misconfigured"
    """It left with the exit code for a wrong environment; not restarted until that changes (last_words)."""
    START_FAILED = "start_failed"
    """No process could be started: port taken, fork refused (error)."""
    DESIRED_KINDS = "desired_kinds"
    """The set of kinds that some connection needs changed (kinds)."""
    STALL = "stall"
    """The orchestrator itself was late; deadlines were moved by that much (late_s, suspended_s). No slot."""
    ORCHESTRATOR_STARTED = "orchestrator_started"
    """A new orchestrator took over this home (pid, kill_method: how trees are killed). No slot."""
    STOPPED = "stopped"
    """The orchestrator leaves on purpose and nothing of it is left (code). No slot."""


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """One line of the journal."""

    seq: int
    at: str
    """Wall clock, ISO 8601 with Z."""
    boot: str
    """Name of the orchestrator's life that saw it."""
    event: SupervisionEvent
    slot: str = ""
    kind: str = ""
    instance: int = 0
    incarnation: str = ""
    details: dict[str, Any] = field(default_factory=dict)


class JournalWriter:
    """Appends entries. One at a time for a home: the caller holds the orchestrator's lock."""

    def __init__(self, home: Path, boot: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._path = runtime.events_file(home)
        self._boot = boot
        self._segment_bytes = segment_bytes
        # A power loss may have taken the last lines and left a reader's position: a number must not be used twice.
        self._seq = max(_last_seq(self._path), *(_read_position(file) for file in _positions(self._path)), 0)
        self._fd = self._open()

    @property
    def seq(self) -> int:
        """Sequence number of the last entry written."""
        return self._seq

    def write(
        self,
        event: SupervisionEvent,
        *,
        slot: str = "",
        kind: str = "",
        instance: int = 0,
        incarnation: str = "",
        at: datetime | None = None,
        **details: Any,
    ) -> int:
        """Append one entry, of this moment or of the instant `at`, and return its sequence number.

        Raises `OSError` when the disk refuses it; the number is then not used up.
        """
        line = {
            "seq": self._seq + 1,
            "at": (at or utc_now()).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "boot": self._boot,
            "event": event,
            "slot": slot,
            "kind": kind,
            "instance": instance,
            "incarnation": incarnation,
            "details": details,
        }
        encoded = json.dumps(line, default=str).encode() + b"\n"
        # One write with O_APPEND: a reader sees the whole line or an incomplete last one, which it leaves for later.
        written = os.write(self._fd, encoded)
        if written != len(encoded):
            # A full disk took a part: close the torn line, which readers leave out.
            os.write(self._fd, b"\n")
            raise OSError(f"{self._path}: only {written} of {len(encoded)} bytes were written")
        self._seq += 1
        # After the write: the name of the segment is the number of its last entry.
        if os.fstat(self._fd).st_size >= self._segment_bytes:
            self._rotate()
        return self._seq

    def close(self) -> None:
        """Close the file. Closing twice does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        # Not closed by rename: readers that have the old file open read it to its end.
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            os.write(fd, b"\n")  # the writer before us died in the middle of a line
        return fd

    def _rotate(self) -> None:
        self._path.rename(self._path.with_name(f"events.{self._seq:016d}.jsonl"))
        os.close(self._fd)
        self._fd = self._open()
        readers = _positions(self._path)
        # The slowest reader decides. Without readers nothing is passed, and `KEEP_SEGMENTS` alone bounds the disk.
        passed = min((_read_position(reader) for reader in readers), default=0)
        segments = _segments(self._path)
        for index, (last, segment) in enumerate(segments):
            if last <= passed or index < len(segments) - KEEP_SEGMENTS:
                segment.unlink(missing_ok=True)


class JournalReader:
    """Follows the journal from a position that is kept in `events.<name>.position`.

    `read` looks ahead, `commit` moves the position: an entry is seen again until it was committed, so processing an
    entry must be idempotent.
    """

    def __init__(self, home: Path, name: str = "recorder", *, after: int | None = None) -> None:
        """
        Args:
            name: of the position. after: begin behind this entry, whatever the position is: for a reader that commits
                nothing.
        """
        self._path = runtime.events_file(home)
        self._position_file = self._path.with_name(f"events.{name}.position")
        self._position = _read_position(self._position_file)
        self._file: BinaryIO | None = None
        self._next = self._position + 1 if after is None else after + 1
        """Sequence number that follows what was read, committed or not."""

    @property
    def position(self) -> int:
        """Sequence number of the last committed entry."""
        return self._position

    def read(self, limit: int = 500) -> list[JournalEntry]:
        """Return up to `limit` entries after those that this object has read, oldest first; empty when none is new."""
        entries: list[JournalEntry] = []
        while len(entries) < limit:
            if self._file is None and not self._open():
                break
            assert self._file is not None  # noqa: S101 - _open succeeded
            start = self._file.tell()
            line = self._file.readline()
            # The writer is in the middle of a line, or this is the end of a full segment.
            if not line.endswith(b"\n"):
                self._file.seek(start)
                if self._moved_on():
                    continue
                break
            entry = _parse(line)
            # A torn line, or entries before the position, when the segment that holds it is read from its beginning.
            if entry is None or entry.seq < self._next:
                continue
            if entry.seq > self._next:
                # A rename between finding the segment and opening it looks like a gap: the missing entries have another
                # file name now.
                if self._reopened_before(entry.seq):
                    continue
                # Segments were deleted beyond `KEEP_SEGMENTS`, or the disk lost lines: the reader goes on with what
                # there is.
                log.warning("journal_gap_found", expected=self._next, found=entry.seq)
            entries.append(entry)
            self._next = entry.seq + 1
        return entries

    def commit(self, seq: int) -> None:
        """Move the position to `seq`: this entry and those before it are dealt with and need not be kept. Never moves
        back."""
        if seq <= self._position:
            return
        self._position = seq
        try:
            replace_file(self._position_file, f"{seq}\n")
        except OSError as problem:
            # A full disk: the next life reads these entries again, which every reader must tolerate.
            log.warning("journal_position_not_saved", position=seq, problem=str(problem))

    def rewind(self) -> None:
        """Read again from the committed position, after what was read could not be dealt with."""
        self.close()
        self._next = self._position + 1

    def close(self) -> None:
        """Close the file. Closing twice does nothing; reading opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> bool:
        """Open the segment that holds `_next`, or the current one."""
        path = next((segment for last, segment in _segments(self._path) if last >= self._next), self._path)
        try:
            self._file = path.open("rb")
        except FileNotFoundError:
            return False
        return True

    def _moved_on(self) -> bool:
        """At the end of a file: whether a later one exists (then it is opened next time round)."""
        assert self._file is not None  # noqa: S101 - only called while reading
        try:
            current = self._path.stat().st_ino
        # Between two segments: the writer has renamed the old one and not opened the new one yet.
        except FileNotFoundError:
            return False
        if os.fstat(self._file.fileno()).st_ino == current:
            return False
        # Renamed after our last read: take what was appended before that.
        if self._file.tell() < os.fstat(self._file.fileno()).st_size and _has_whole_line(self._file):
            return True
        self.close()
        return True

    def _reopened_before(self, found: int) -> bool:
        """After a jump in the numbers: whether a segment with the missing ones was renamed just as we opened; then it
        is opened."""
        segment = next((path for last, path in _segments(self._path) if self._next <= last < found), None)
        if segment is None or (self._file is not None and Path(self._file.name) == segment):
            return False
        self.close()
        return self._open()


def entries_in(home: Path) -> Iterator[JournalEntry]:
    """Yield every entry that is still kept, oldest first, without a position; for operators."""
    path = runtime.events_file(home)
    for segment in [segment for _, segment in _segments(path)] + [path]:
        try:
            with segment.open("rb") as lines:
                yield from (entry for entry in map(_parse, lines) if entry is not None)
        except FileNotFoundError:
            continue


def _parse(line: bytes) -> JournalEntry | None:
    try:
        values = json.loads(line)
        # An unknown event or field is one of a newer version: the line is skipped, and the reader goes on.
        return JournalEntry(**(values | {"event": SupervisionEvent(values["event"])}))
    except (ValueError, KeyError, TypeError):
        return None


def _segments(current: Path) -> list[tuple[int, Path]]:
    """Full segments, oldest first, with the last sequence number of each."""
    matches = ((_SEGMENT.fullmatch(path.name), path) for path in current.parent.iterdir())
    return sorted((int(match[1]), path) for match, path in matches if match)


def _positions(current: Path) -> list[Path]:
    """Files that hold the positions of readers."""
    return list(current.parent.glob("events.*.position"))


def _last_seq(current: Path) -> int:
    last = max((seq for seq, _ in _segments(current)), default=0)
    try:
        with current.open("rb") as lines:
            return max((entry.seq for entry in map(_parse, lines) if entry is not None), default=last)
    except FileNotFoundError:
        return last


def _read_position(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return 0


def _has_whole_line(file: BinaryIO) -> bool:
    start = file.tell()
    line = file.readline()
    file.seek(start)
    return line.endswith(b"\n")
