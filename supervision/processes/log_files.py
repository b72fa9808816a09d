"""One pair of log files for each slot: opened here, written by the child itself, so that they outlive the orchestrator.

Rotation copies and truncates, because the child holds the file open: the copy is repeated until it has caught up, so
that only what is written between the last copied byte and the truncation can be missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.logs import scrub

_CHUNK: Final = 1024 * 1024
"""Bytes copied in one step."""
_CATCH_UPS: Final = 8
"""Rounds of copying what was written meanwhile, before the file is truncated anyway."""


@dataclass(frozen=True)
class Mark:
    """A place in a log that is found again after rotations."""

    rotations: int
    size: int


class LogFiles:
    """The log files below `BULKHEAD_HOME/logs`.

    Args:
        directory: where they are; made if it is missing.
        max_bytes: size at which one is rotated.
        keep: rotated generations kept of each.
    """

    def __init__(self, directory: Path, max_bytes: int, keep: int) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._max_bytes = max_bytes
        self._keep = keep
        self._rotations: dict[Path, int] = {}

    def path(self, slot: str, stream: str) -> Path:
        """Return the current file of `stream` (`out` or `err`) of `slot`."""
        return self._directory / f"{slot}.{stream}.log"

    @contextmanager
    def opened(self, slot: str) -> Iterator[tuple[int, int]]:
        """Yield descriptors of the two files, for appending; they are closed on leaving. Makes the directory again if
        it was removed."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # O_APPEND, so that the child continues at the new end after the file was truncated.
        out = _append(self.path(slot, "out"))
        try:
            err = _append(self.path(slot, "err"))
            try:
                yield out, err
            finally:
                os.close(err)
        finally:
            os.close(out)

    def size(self, slot: str, stream: str) -> int:
        """Return the size of a current file in bytes; 0 when there is none."""
        with suppress(FileNotFoundError):
            return self.path(slot, stream).stat().st_size
        return 0

    def mark(self, slot: str, stream: str) -> Mark:
        """Return this moment's end of a log."""
        return Mark(self._rotations.get(self.path(slot, stream), 0), self.size(slot, stream))

    def tail(self, slot: str, stream: str, *, since: Mark, lines: int = 20, max_bytes: int = 4096) -> str:
        """Return the last lines written after `since`, without what looks like a phone number or a credential."""
        path = self.path(slot, stream)
        # After a rotation the size at the start has no meaning any more: the tail may be in the rotated file.
        rotated = self._rotations.get(path, 0) > since.rotations
        text = _end_of(path, 0 if rotated else since.size, max_bytes)
        if rotated and len(text) < max_bytes:
            text = _end_of(path.with_name(f"{path.name}.1"), 0, max_bytes - len(text)) + text
        return scrub("\n".join(text.decode(errors="replace").splitlines()[-lines:]))

    def rotate_full(self) -> list[Path]:
        """Rotate every current file that has reached the limit, and return those."""
        full = [path for path in self._directory.glob("*.log") if path.stat().st_size >= self._max_bytes]
        for path in full:
            self._rotate(path)
        return full

    def _rotate(self, path: Path) -> None:
        # Oldest first, so that none replaces one that has not moved yet.
        for generation in range(self._keep, 1, -1):
            with suppress(FileNotFoundError):
                path.with_name(f"{path.name}.{generation - 1}").replace(path.with_name(f"{path.name}.{generation}"))
        fresh = path.with_name(f"{path.name}.1")
        with path.open("r+b", buffering=0) as source, fresh.open("wb", buffering=0) as copy:
            fresh.chmod(0o600)
            for _ in range(_CATCH_UPS):
                copied = 0
                while chunk := source.read(_CHUNK):
                    copied += copy.write(chunk)
                    if copy.tell() > 2 * self._max_bytes:
                        break  # a writer that is faster than we copy: losing the rest is better than filling the disk
                if not copied or copy.tell() > 2 * self._max_bytes:
                    break
            # The file stays the same one: the child writes to it by its descriptor.
            source.truncate(0)
        self._rotations[path] = self._rotations.get(path, 0) + 1


def _end_of(path: Path, since: int, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # A file that is shorter than it was is a new one: the old one was removed.
            file.seek(max(since if since <= size else 0, size - max_bytes))
            return file.read(max_bytes)
    except FileNotFoundError:
        return b""


def _append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
