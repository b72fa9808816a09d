"""Atomic replacement of a file: readers see the old content or the new, never a part."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, content: str | bytes, *, mode: int = 0o600, durable: bool = False) -> None:
    """Replace `path` by `content`, or create it.

    Args:
        path: the file; only one process at a time may replace it. content: text is written as UTF-8. mode: permissions
            of the new file.
        durable: also wait until content and name are on disk, so that both survive a power loss.
    Raises:
        OSError: nothing was replaced, for example because the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    fresh = path.with_name(f"{path.name}.new")
    try:
        # O_EXCL is left out on purpose: a process that died here has left its file behind
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            # the mode of open() is narrowed by the umask, and does not apply to a file that was left behind
            os.fchmod(file.fileno(), mode)
            file.write(data)
            # before fsync, which knows only what the operating system has
            file.flush()
            if durable:
                os.fsync(file.fileno())
        fresh.replace(path)
    # the half-written file is of no use; the error that counts is the first one, not that of removing it
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    if durable:
        # the rename itself is on disk only when the directory is
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
