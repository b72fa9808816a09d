"""The files that phones hold: by the hash that WhatsApp names them with, base64 of SHA-256."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path


class Files:
    """Files in one directory, made when the first one comes.

    Args:
        directory: holds them; readable by its owner only.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, content: bytes) -> str:
        """Keep a file and return its hash."""
        digest = hashlib.sha256(content).digest()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # named by its content: writing it twice, also at once, gives the same file
        (self._directory / digest.hex()).write_bytes(content)
        return base64.b64encode(digest).decode()

    def has(self, filehash: str) -> bool:
        """Return whether a file is here."""
        return self.path(filehash).is_file()

    def sha256(self, filehash: str) -> str:
        """Return a hash as hexadecimal digits; empty when it is none."""
        try:
            return base64.b64decode(filehash, validate=True).hex()
        # a hash comes from the page, and may be anything
        except ValueError:
            return ""

    def path(self, filehash: str) -> Path:
        """Return where a file lies, or would."""
        # hexadecimal digits only: no hash leads out of the directory
        return self._directory / (self.sha256(filehash) or "none")
