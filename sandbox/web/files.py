"""The files on phones, by WhatsApp's name for them: base64 of SHA-256."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path


class DirectoryFiles:
    """Files in one directory, created with the first file.

    Args:
        directory: holds them; readable by its owner only.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, content: bytes) -> str:
        """Keep a file and return its hash."""
        digest = hashlib.sha256(content).digest()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # named by its content: writing it twice, even concurrently, gives the same file
        (self._directory / digest.hex()).write_bytes(content)
        return base64.b64encode(digest).decode()

    def has(self, filehash: str) -> bool:
        """Return whether a file is here."""
        return self.path(filehash).is_file()

    def sha256(self, filehash: str) -> str:
        """Return a hash as hexadecimal digits; empty when it is invalid."""
        try:
            return base64.b64decode(filehash, validate=True).hex()
        # the page sends the hash, which may be any text
        except ValueError:
            return ""

    def path(self, filehash: str) -> Path:
        """Return the path of a file, whether it exists or not."""
        # hexadecimal digits only: no path leaves the directory
        return self._directory / (self.sha256(filehash) or "none")
