"""Files in a directory of this machine, readable by its owner only."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Final, ParamSpec, TypeVar

from shared.errors import Outage
from shared.media.errors import MediaTooLarge, MediaUnknown, StorageUnavailable
from shared.media.files import CHUNK_BYTES, HEAD_BYTES, Stored, place
from shared.opening import opened

_P = ParamSpec("_P")
_T = TypeVar("_T")


_OUTAGES: Final[Mapping[int, Outage]] = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EMFILE: "full",
    errno.ENFILE: "full",
    errno.EROFS: "read_only",
    errno.EACCES: "privilege",
    errno.EPERM: "privilege",
    errno.ETIMEDOUT: "slow",
}
"""Why the directory cannot be used, by error number; every other one: it is away."""
_ABANDONED_S: Final = 86_400.0
"""Seconds after which a file that did not arrive whole belongs to no process any more: far longer than any transfer."""


class LocalStorage:
    """See `shared.media.storage.Storage`.

    Args:
        directory: made on first use.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._swept: set[str] = set()

    async def put(self, company_id: str, source: AsyncIterable[bytes], *, most: int) -> Stored:
        """See `Storage.put`."""
        arriving = await _there(self._begin, company_id)
        try:
            # unbuffered: a full disk is reported by the write that meets it, and closing has nothing left to fail on
            try:
                file = await opened(arriving.open, "wb", 0)
            except OSError as error:
                raise _unavailable(error) from error
            try:
                stored = await spool(source, file, most=most)
                # before the file gets its name: after a power loss a name must not lead to missing bytes
                await _there(os.fsync, file.fileno())
            finally:
                file.close()
            await _there(self._finish, arriving, company_id, stored.sha256)
        # also on cancellation: a client that went away must leave nothing behind
        except BaseException:
            with suppress(OSError):
                arriving.unlink(missing_ok=True)
            raise
        return stored

    async def read(self, company_id: str, sha256: str) -> bytes:
        """See `Storage.read`."""
        path = self._path(company_id, sha256)
        try:
            return await _thread(path.read_bytes)
        except FileNotFoundError:
            raise _unknown() from None

    async def stream(self, company_id: str, sha256: str) -> AsyncGenerator[bytes, None]:
        """See `Storage.stream`."""
        try:
            # an open file stays readable when it is deleted meanwhile
            file = await opened(self._path(company_id, sha256).open, "rb")
        except FileNotFoundError:
            raise _unknown() from None
        except OSError as error:
            raise _unavailable(error) from error
        with file:
            while piece := await _thread(file.read, CHUNK_BYTES):
                yield piece

    async def size(self, company_id: str, sha256: str) -> int:
        """See `Storage.size`."""
        try:
            return (await _thread(self._path(company_id, sha256).stat)).st_size
        except FileNotFoundError:
            raise _unknown() from None

    async def delete(self, company_id: str, sha256: str, *, unless_since: datetime | None = None) -> bool:
        """See `Storage.delete`."""
        path = self._path(company_id, sha256)
        try:
            # a file that was put again meanwhile is in use again
            if unless_since is not None and (await _thread(path.stat)).st_mtime >= unless_since.timestamp():
                return False
            await _thread(path.unlink)
        except FileNotFoundError:
            return True
        return True

    async def delete_all(self, company_id: str, *, most: int) -> int:
        """See `Storage.delete_all`."""
        return await _thread(self._delete_some, company_id, most)

    async def close(self) -> None:
        """Nothing is held."""

    def _path(self, company_id: str, sha256: str) -> Path:
        return self._directory.joinpath(*place(company_id, sha256))

    def _delete_some(self, company_id: str, most: int) -> int:
        company = self._path(company_id, "0" * 64).parents[1]
        deleted = 0
        # from the bottom: a directory is removed when it is empty
        for directory, _, names in os.walk(company, topdown=False):
            for name in names:
                if deleted == most:
                    return deleted
                Path(directory, name).unlink(missing_ok=True)
                deleted += 1
            with suppress(FileNotFoundError):
                Path(directory).rmdir()
        return deleted

    def _begin(self, company_id: str) -> Path:
        """Return the path of a file that is to come, in the company's own directory."""
        # any digest will do: the company's name is checked
        company = self._path(company_id, "0" * 64).parents[1]
        arriving = company / "arriving"
        for directory in (self._directory, company, arriving):
            directory.mkdir(mode=0o700, parents=directory is self._directory, exist_ok=True)
        if company_id not in self._swept:
            self._swept.add(company_id)
            for left in arriving.iterdir():
                # of a process that was killed meanwhile: no file takes that long to arrive
                if time.time() - left.stat().st_mtime > _ABANDONED_S:
                    left.unlink(missing_ok=True)
        path = arriving / secrets.token_hex(12)
        path.touch(mode=0o600)
        return path

    def _finish(self, arriving: Path, company_id: str, sha256: str) -> None:
        path = self._path(company_id, sha256)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        # replaces one that is there: a damaged file is whole again, and its age starts anew
        arriving.replace(path)
        _sync_directory(path.parent)


async def spool(source: AsyncIterable[bytes], file: IO[bytes], *, most: int) -> Stored:
    """Write `source` to `file` and return what it was.

    Args:
        most: bytes.
    Raises:
        MediaTooLarge; StorageUnavailable when the file cannot be written.
    """
    digest, size, head = hashlib.sha256(), 0, bytearray()
    async for piece in source:
        size += len(piece)
        if size > most:
            # while it arrives: an endless source must not fill the disk
            raise MediaTooLarge(most)
        if len(head) < HEAD_BYTES:
            head += piece[: HEAD_BYTES - len(head)]
        digest.update(piece)
        try:
            _write_all(file, piece)
        except OSError as error:
            raise _unavailable(error) from error
    return Stored(digest.hexdigest(), size, bytes(head))


def _write_all(file: IO[bytes], piece: bytes) -> None:
    """Write all of a piece: an unbuffered file may take a part of it, as when the disk is nearly full."""
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


async def _there(work: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
    """Run work on a file that must be there, in a thread. Raises `StorageUnavailable`, also when the directory was
    removed.
    """
    try:
        return await _thread(work, *arguments, **named)
    except FileNotFoundError as error:
        raise _unavailable(error) from error


async def _thread(work: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
    """Run file work in a thread. Raises `FileNotFoundError`, which is a fact about the file; `StorageUnavailable`
    for all else.
    """
    try:
        return await asyncio.to_thread(work, *arguments, **named)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unavailable(error) from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unknown() -> MediaUnknown:
    return MediaUnknown("the company has no such file in storage")


def _unavailable(error: OSError) -> StorageUnavailable:
    return StorageUnavailable(
        f"the directory for files: {error.strerror or type(error).__name__}",
        outage=outage(error),
    )


def outage(error: OSError) -> Outage:
    """Return why a directory cannot be used."""
    return _OUTAGES.get(error.errno or 0, "away")
