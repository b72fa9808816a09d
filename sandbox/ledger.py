"""What arrived at the providers and what they sent, as an append-only file of JSON lines. Tests and chaos runs judge by
it alone.

A line is handed to the operating system before `append` returns, and the stand-ins append before they answer: when a
client has a response, its entry is in the file, even if this process is killed in the next instant. (No fsync: power
cuts are not part of the test.)

One event loop owns a ledger; `scan` alone may run in another thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

_TAIL: Final = 4_000
"""Entries kept in memory at least; older ones are read from the file."""

_RESERVED: Final = frozenset({"seq", "at"})
# one encoder, without the check for cycles: entries are built here, and each send waits for `append`
_encode: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class LedgerEntry(NamedTuple):
    """One thing that happened.

    Attributes:
        seq: 1, 2, 3 … without gaps, also across restarts. at: seconds since 1970. channel: `graph`, `d360`, `web`,
            `webhook` or `control`. event: its name in that channel. fields: the rest.
    """

    seq: int
    at: float
    channel: str
    event: str
    fields: dict[str, Any]

    def flat(self) -> dict[str, Any]:
        """Return the entry as it stands in the file."""
        return {"seq": self.seq, "at": self.at, "channel": self.channel, "event": self.event, **self.fields}


def _entry(line: bytes) -> LedgerEntry:
    fields = json.loads(line)
    return LedgerEntry(fields.pop("seq"), fields.pop("at"), fields.pop("channel"), fields.pop("event"), fields)


class Ledger:
    """The ledger in `directory`/ledger.jsonl, created or continued.

    Args:
        directory: created if missing; readable by its owner only, since it contains messages.
        clock: wall clock in seconds since 1970.
    Raises:
        OSError: the file cannot be opened or written.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = directory / "ledger.jsonl"
        self._clock = clock
        self._fd = self._open()
        # before the first read: a torn last line would merge with the next entry
        self._size = self._drop_torn_line()
        last = self._last_line()
        self._seq = _entry(last).seq if last else 0
        self._tail: list[LedgerEntry] = []
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def seq(self) -> int:
        """Number of the newest entry; 0 when there is none."""
        return self._seq

    def append(self, channel: str, event: str, **fields: Any) -> LedgerEntry:
        """Write one entry, without buffering, and return it.

        Args:
            channel, event: see `LedgerEntry`.
            fields: JSON values; not copied: do not change them afterwards.
        Raises:
            ValueError: a field is called `seq` or `at`.
            OSError: the line cannot be written whole; then no part of it stays in the file.
        """
        if not _RESERVED.isdisjoint(fields):
            raise ValueError(f"{', '.join(sorted(_RESERVED & fields.keys()))}: the ledger sets this itself")
        entry = LedgerEntry(self._seq + 1, self._clock(), channel, event, fields)
        line = _encode(entry.flat()).encode() + b"\n"
        if not self.path.exists():
            self._bind_again()
        written = os.write(self._fd, line)
        # a full disk may accept part of a line, which would make the next entry unreadable
        if written != len(line):
            os.ftruncate(self._fd, self._size)
            raise OSError(f"only {written} of {len(line)} bytes could be written to {self.path}")
        self._size += written
        self._seq = entry.seq
        self._tail.append(entry)
        # half at a time: removing single entries would shift the list at each append
        if len(self._tail) >= 2 * _TAIL:
            del self._tail[:_TAIL]
        if self._waiting:
            waiting, self._waiting = self._waiting, set()
            for future in waiting:
                if not future.done():
                    future.set_result(None)
        return entry

    def entries(
        self, since: int = 0, channel: str | None = None, event: str | None = None, limit: int | None = None
    ) -> list[LedgerEntry]:
        """Return the entries after number `since`, oldest first.

        Args:
            channel, event: only these; None: all.
            limit: at most so many; None: all.
        """
        found: list[LedgerEntry] = []
        # numbers have no gaps, so that a number gives its index in the list without a search
        recent = bool(self._tail) and since >= self._tail[0].seq - 1
        for entry in self._tail[since - self._tail[0].seq + 1 :] if recent else self.scan(since, channel):
            if limit is not None and len(found) >= limit:
                break
            if (channel is None or entry.channel == channel) and (event is None or entry.event == event):
                found.append(entry)
        return found

    async def wait(
        self, since: int, wait_s: float, channel: str | None = None, event: str | None = None, limit: int | None = None
    ) -> list[LedgerEntry]:
        """Return what `entries` returns, but wait up to `wait_s` seconds for the first of them; empty when none
        came.
        """
        loop = asyncio.get_running_loop()
        by = loop.time() + wait_s
        while True:
            # noted before the look-up: what is appended later is found in the next round
            seen = self._seq
            found = self.entries(since, channel, event, limit)
            if found or loop.time() >= by:
                return found
            # entries up to here did not match; they are not read again
            since = max(since, seen)
            grown: asyncio.Future[None] = loop.create_future()
            self._waiting.add(grown)
            try:
                await asyncio.wait((grown,), timeout=by - loop.time())
            finally:
                self._waiting.discard(grown)

    def scan(self, since: int = 0, channel: str | None = None) -> Iterator[LedgerEntry]:
        """Read the entries after number `since` from the file, oldest first, up to the newest of now. May run in
        another thread.

        Args:
            channel: only these; None: all. Lines of other channels are not even parsed.
        """
        # fixed at the start: an entry that is appended during the scan is not read in part
        end = self._size
        prefix = b"" if channel is None else f'"channel":{_encode(channel)},"event":'.encode()
        with self.path.open("rb") as file:
            at = self._offset_after(file, since, end)
            file.seek(at)
            while at < end:
                line = file.readline()
                at += len(line)
                # `flat` writes the channel near the start of the line: a search in the bytes costs far less than
                # parsing
                if prefix in line[:120]:
                    yield _entry(line)

    def scan_backwards(self) -> Iterator[LedgerEntry]:
        """Read all entries from the file, newest first."""
        end = self._size
        rest = b""
        while end > 0:
            start = max(0, end - 65_536)
            # pread has an offset of its own, so that appending and other readers are not disturbed
            lines = (os.pread(self._fd, end - start, start) + rest).split(b"\n")
            # the block's first line starts in the block before it
            rest = lines.pop(0) if start else b""
            yield from (_entry(line) for line in reversed(lines) if line)
            end = start

    def close(self) -> None:
        """Close the file. Entries stay readable through `scan` only."""
        os.close(self._fd)

    def _open(self) -> int:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # O_APPEND: a line goes to the end even if two processes have the file open
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _bind_again(self) -> None:
        """Give the file its name again after it was removed, with every entry: the open file still has them."""
        lost, self._fd = self._fd, self._open()
        with os.fdopen(lost, "rb") as old, os.fdopen(os.dup(self._fd), "wb") as new:
            old.seek(0)
            shutil.copyfileobj(old, new)

    def _drop_torn_line(self) -> int:
        """Truncate an incomplete last line, left by a full disk or a power cut; return the size of the rest."""
        size = os.fstat(self._fd).st_size
        whole = size
        while whole > 0:
            start = max(0, whole - 65_536)
            newline = os.pread(self._fd, whole - start, start).rfind(b"\n")
            whole = start + newline + 1
            if newline >= 0:
                break
        if whole != size:
            os.ftruncate(self._fd, whole)
        return whole

    def _last_line(self) -> bytes:
        start = end = self._size
        block = b""
        while start > 0 and b"\n" not in block[:-1]:
            start = max(0, start - 65_536)
            block = os.pread(self._fd, end - start, start)
        return block[:-1].rpartition(b"\n")[2]

    @staticmethod
    def _offset_after(file: BinaryIO, since: int, end: int) -> int:
        """Return the offset of the first line whose number is above `since`; numbers only grow, so halving the file
        finds it.
        """
        low, high = 0, end if since > 0 else 0
        while low < high:
            middle = (low + high) // 2
            file.seek(middle)
            # `middle` usually lies inside a line: go to the start of the next one
            if middle > low:
                file.readline()
            line_start = file.tell()
            if line_start >= high:
                # `middle` lies in the last line of the range: only that line, which starts at or after `low`, is left
                file.seek(low)
                line_start = low
            line = file.readline()
            if _entry(line).seq <= since:
                low = line_start + len(line)
            elif line_start == low:
                high = low
            else:
                high = line_start
        return low
