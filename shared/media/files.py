"""What a storage of files is: by company and by the SHA-256 of what is in them."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from shared.media.errors import MediaUnknown

HEAD_BYTES: Final = 4096
"""First bytes of a file that suffice to detect its type."""
CHUNK_BYTES: Final = 256 * 1024
"""Bytes that are read or written at once: few calls for a large file, little memory for many."""

_COMPANY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is kept.

    Attributes:
        sha256: lower hex. size: bytes. head: its first `HEAD_BYTES`, for detecting its type.
    """

    sha256: str
    size: int
    head: bytes = field(default=b"", repr=False, compare=False)


class Storage(Protocol):
    """Files of all companies. One company never sees another's, also when the content is the same."""

    async def put(self, company_id: str, source: AsyncIterable[bytes], *, most: int) -> Stored:
        """Keep a file; all of it or nothing. One that is there already is kept once.

        Args:
            source: its bytes, in pieces of any length; what it raises is raised here, and nothing is kept. most: bytes.
        Raises:
            MediaTooLarge, StorageUnavailable.
        """

    async def read(self, company_id: str, sha256: str) -> bytes:
        """Return a whole file. Raises `MediaUnknown`, `StorageUnavailable`."""

    def stream(self, company_id: str, sha256: str) -> AsyncGenerator[bytes, None]:
        """Return a file in pieces. The first piece raises `MediaUnknown` or `StorageUnavailable`; a later one the
        latter.
        """

    async def size(self, company_id: str, sha256: str) -> int:
        """Return a file's bytes. Raises `MediaUnknown`, `StorageUnavailable`."""

    async def delete(self, company_id: str, sha256: str, *, unless_since: datetime | None = None) -> bool:
        """Delete a file; one that is not there is no error.

        Args:
            unless_since: leave it if it was put at this instant or later, also if it was there before.
        Returns:
            False when it was left.
        Raises:
            StorageUnavailable.
        """

    async def delete_all(self, company_id: str, *, most: int) -> int:
        """Delete files of a company, at most `most` at once, those that did not arrive whole included.

        Returns:
            How many there were; 0: nothing is left.
        Raises:
            StorageUnavailable.
        """

    async def close(self) -> None:
        """Release everything."""


def place(company_id: str, sha256: str) -> tuple[str, str, str]:
    """Return a file's path in storage: company, first two digits, digest.

    Raises:
        MediaUnknown: these name no file that could be in storage, whatever they try to reach.
    """
    # the only way from names to paths: nothing that passes here can hold a slash or two dots
    if not _COMPANY.fullmatch(company_id) or not _SHA256.fullmatch(sha256):
        raise MediaUnknown("this is not the name of a file in storage")
    return company_id, sha256[:2], sha256
