"""Reads the log files of all slots as one: lines in the order of time, from their end, and followed.

A line is a JSON object with `at` and `level` (`shared.logs`), or free text of a library, a traceback or a server. Free
text without an instant belongs to the line before it.
"""

from __future__ import annotations

import heapq
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")
"""From the least to the most."""
_RANK: Final = {level: rank for rank, level in enumerate(LEVELS)} | {"critical": len(LEVELS)}
_OURS: Final = re.compile(r'\{"at": "([^"]{20,35})", "level": "(\w+)"')
"""How each line of ours begins: millions are read, so they are not parsed whole."""
_OF_SERVER: Final = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d\.\d{3}) UTC(?: \[\d+\] (\w+):)?")
_LEVEL_OF: Final = {"WARNING": "warning", "ERROR": "error", "FATAL": "error", "PANIC": "error"}
"""Levels of PostgreSQL."""
_CHUNK: Final = 256 * 1024
"""Bytes read at once."""
_LONGEST: Final = 1024 * 1024
"""Bytes of one line; what is longer is shown in pieces."""


@dataclass(frozen=True)
class LogLine:
    """One line of one file.

    Attributes:
        at: instant as it is written, ISO 8601 with milliseconds and Z; of free text that of the line before.
        source: slot and stream, for example `meta-0.err`.
        text: the line without its end.
        level: as written; of free text `error` in an error file, otherwise `info`.
        is_free: whether it is free text.
    """

    at: str
    source: str
    text: str
    level: str
    is_free: bool = False

    def is_at_least(self, level: str) -> bool:
        """Whether it is as severe as a level."""
        return _RANK.get(self.level, _RANK["info"]) >= _RANK[level]


@dataclass
class LogFile:
    """One log file, read on from where it was.

    Attributes:
        path: of the file.
        position: bytes that were read.
    """

    path: Path
    position: int = 0
    _at: str = ""
    _level: str = ""
    _rest: bytes = field(default=b"", repr=False)

    @property
    def source(self) -> str:
        """Slot and stream."""
        return self.path.name.partition(".log")[0]

    def skip_to_last(self, most: int) -> None:
        """Read on from the last `most` lines."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            place = size = file.seek(0, 2)
            found = 0
            # the last line has an end of its own
            while place and found <= most:
                step = min(_CHUNK, place)
                place -= step
                file.seek(place)
                chunk = file.read(step)
                found += chunk.count(b"\n")
            if found > most:
                # from the newline that is the last before them
                parts = chunk.split(b"\n", found - most)
                place += step - len(parts[-1])
            self.position = min(place, size)

    def lines(self) -> Iterator[LogLine]:
        """Yield the whole lines that were written since the last call. A file that became shorter was rotated, and is
        read from its beginning."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                if size < self.position:
                    self.position, self._rest = 0, b""
                file.seek(self.position)
                while chunk := file.read(_CHUNK):
                    self.position += len(chunk)
                    *whole, self._rest = (self._rest + chunk).split(b"\n")
                    yield from map(self._line, whole)
                    if len(self._rest) > _LONGEST:
                        yield self._line(self._rest)
                        self._rest = b""
        # removed, as an operator may: it is made again with the next line
        except FileNotFoundError:
            self.position, self._rest = 0, b""

    def _line(self, raw: bytes) -> LogLine:
        text = raw.decode(errors="replace")
        if ours := _OURS.match(text):
            self._at, self._level = ours[1], ours[2]
            return LogLine(self._at, self.source, text, self._level)
        if servers := _OF_SERVER.match(text):
            # with a blank in place of T, as PostgreSQL writes it
            self._at, self._level = f"{servers[1]}T{servers[2]}Z", _LEVEL_OF.get(servers[3] or "", "info")
        level = self._level or ("error" if self.source.endswith(".err") else "info")
        return LogLine(self._at, self.source, text, level, is_free=True)


def merged(files: Sequence[LogFile]) -> Iterator[LogLine]:
    """Yield what is new in all files in the order of time; lines of one file keep their order."""
    # the instants have one form, so that their texts compare as they do
    yield from heapq.merge(*(file.lines() for file in files), key=lambda line: line.at)


def last(lines: Iterator[LogLine], most: int, *, level: str, since: datetime | None) -> Sequence[LogLine]:
    """Return the last lines that are as severe as `level` and not older than `since`."""
    return deque((line for line in lines if is_shown(line, level=level, since=since)), maxlen=most)


def is_shown(line: LogLine, *, level: str, since: datetime | None) -> bool:
    """Whether a line is as severe as `level` and not older than `since`."""
    if not line.is_at_least(level):
        return False
    if since is None:
        return True
    try:
        return bool(line.at) and datetime.fromisoformat(line.at) >= since
    except ValueError:
        return False


def files_in(directory: Path, names: Sequence[str], streams: Sequence[str], *, rotated: bool) -> list[LogFile]:
    """Return the log files of slots, each generation as a file of its own.

    Args:
        directory: where they are.
        names: slots; none: all.
        streams: of `out` and `err`.
        rotated: whether older generations belong to it.
    """
    found = []
    for path in sorted(directory.glob("*.log*")) if directory.is_dir() else ():
        slot, _, rest = path.name.partition(".")
        stream, _, generation = rest.partition(".log")
        if stream in streams and (not names or slot in names) and (rotated or not generation):
            found.append(LogFile(path))
    return found
