"""Files that businesses upload and customers send: stored with their metadata, served by short-lived URLs, and refused
as Meta refuses them.

Uploadable types are taken from Meta's pages, independently of the product's table, so that each checks the other.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from sandbox.graph_errors import GraphError

UPLOAD_DAYS: Final = 30
"""Days that Meta keeps a file that a business uploaded."""
INBOUND_DAYS: Final = 7
"""Days that Meta keeps a file that a customer sent."""
ADDRESS_S: Final = 300
"""Lifetime of a file's URL in seconds (Meta: five minutes)."""
_DAY_S: Final = 86_400
_KB, _MB = 1024, 1024 * 1024
UPLOAD_MOST: Final = 100 * _MB
"""Largest upload in bytes: Meta's limit for documents, the largest kind."""

_DOCUMENTS: Final = (100 * _MB, ("document",))
KINDS: Final[Mapping[str, tuple[int, tuple[str, ...]]]] = {
    "image/jpeg": (5 * _MB, ("image", "document")),
    "image/png": (5 * _MB, ("image", "document")),
    "image/webp": (500 * _KB, ("sticker", "document")),
    "video/mp4": (16 * _MB, ("video", "document")),
    "video/3gpp": (16 * _MB, ("video", "document")),
    **dict.fromkeys(
        ("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"), (16 * _MB, ("audio", "document"))
    ),
}
"""By mimetype: largest size in bytes, and the message types it may be sent as. With `_DOCUMENT_TYPES`, Meta's whole
list of supported media types.
"""
_DOCUMENT_TYPES: Final = frozenset(
    {
        "text/plain",
        "application/pdf",
        "application/msword",
        "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    }
)
"""Types that may be sent as a document only."""
HEAD: Final = 4096
"""Bytes at the beginning in which a picture shows whether it moves."""
_STILL_STICKER: Final = 100 * _KB
"""Largest static sticker; animated ones may have 500 KB."""
_BEGINNINGS: Final[Mapping[str, tuple[int, bytes]]] = {
    "image/jpeg": (0, b"\xff\xd8\xff"),
    "image/png": (0, b"\x89PNG\r\n\x1a\n"),
    "image/webp": (8, b"WEBP"),
    "video/mp4": (4, b"ftyp"),
    "video/3gpp": (4, b"ftyp"),
    "audio/mp4": (4, b"ftyp"),
    "audio/ogg": (0, b"OggS"),
    "audio/amr": (0, b"#!AMR"),
    "application/pdf": (0, b"%PDF-"),
}
"""Magic numbers by type: offset and bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """One file.

    Attributes:
        sha256: lower-case hex. until: seconds since 1970. animated: set for stickers only.
    """

    id: str
    phone_number_id: str
    mime_type: str
    sha256: str
    size: int
    until: float
    animated: bool = False


class Shelf:
    """Every file of one sandbox, including those of its earlier runs.

    Args:
        directory: made if missing. clock: seconds since 1970.
    Raises:
        OSError: the directory cannot be used.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory, self._clock = directory, clock
        self._known: dict[str, Media] = {}
        # new at each start: URLs from before a restart expire, as real ones do after five minutes
        self._key = secrets.token_bytes(32)

    def put(self, phone_number_id: str, content: bytes, mime_type: str, *, days: float = INBOUND_DAYS) -> Media:
        """Store a file for `days`: `UPLOAD_DAYS` for a business's upload, `INBOUND_DAYS` for a customer's file."""
        media = Media(
            # sixteen digits, like Meta's
            id=str(10**15 + secrets.randbelow(9 * 10**15)),
            phone_number_id=phone_number_id,
            mime_type=mime_type,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            until=self._clock() + days * _DAY_S,
            animated=is_animated(mime_type, content),
        )
        # it may have been removed since the start, as `rm -r` or a cleaner of temporary files does
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._content(media.id).write_bytes(content)
        # written last: a file without it does not exist yet
        self._facts(media.id).write_text(json.dumps(asdict(media)), encoding="utf-8")
        self._known[media.id] = media
        return media

    def find(self, id: str, phone_number_id: str = "") -> Media | None:
        """Return a stored file; None when it is unknown, has expired, or belongs to another number."""
        # `isdecimal` below also keeps a path out of the file's name
        media = self._known.get(id)
        if media is None and id.isdecimal() and self._facts(id).exists():
            media = self._known[id] = Media(**json.loads(self._facts(id).read_bytes()))
        if media is not None and not self._content(id).exists():
            # its bytes were removed from outside
            self._known.pop(id, None)
            media = None
        if media is None or media.until <= self._clock() or phone_number_id not in {"", media.phone_number_id}:
            return None
        return media

    def content(self, media: Media) -> Path:
        """Return the path of its bytes."""
        return self._content(media.id)

    def delete(self, media: Media) -> None:
        """Delete a file."""
        self._known.pop(media.id, None)
        self._facts(media.id).unlink(missing_ok=True)
        self._content(media.id).unlink(missing_ok=True)

    def query(self, media: Media) -> str:
        """Return the query of a URL that serves the file for `ADDRESS_S`."""
        ends = int(self._clock() + ADDRESS_S)
        return f"mid={media.id}&ext={ends}&hash={self._signature(media.id, str(ends))}"

    def opened(self, query: Mapping[str, str]) -> Media | None:
        """Return the file of a URL made by `query`; None when the URL was altered or has expired, or the file
        is gone.
        """
        media_id, ends, signature = (query.get(name, "") for name in ("mid", "ext", "hash"))
        if (
            # the signature is checked first: only then is `ends` known to be a number
            not hmac.compare_digest(signature.encode(), self._signature(media_id, ends).encode())
            or int(ends) <= self._clock()
        ):
            return None
        return self.find(media_id)

    def _signature(self, id: str, ends: str) -> str:
        return hmac.digest(self._key, f"{id}/{ends}".encode(), "sha256").hex()

    def _content(self, id: str) -> Path:
        return self._directory / f"{id}.bin"

    def _facts(self, id: str) -> Path:
        return self._directory / f"{id}.json"


def require_uploadable(content: bytes, mime_type: str) -> None:
    """Raise `GraphError` when Meta would refuse the file."""
    if mime_type not in KINDS and mime_type not in _DOCUMENT_TYPES:
        raise GraphError(
            100,
            message=f"(#100) Param file must be a file with one of the supported types. Received file of type "
            f"'{mime_type[:60]}'.",
        )
    if not content:
        raise GraphError(131053, details="The file is empty")
    if len(content) > (most := _most(mime_type, animated=is_animated(mime_type, content))):
        raise GraphError(
            131053, details=f"The file has {len(content)} bytes, more than the {most} allowed for {mime_type}"
        )
    if mime_type in _BEGINNINGS:
        offset, beginning = _BEGINNINGS[mime_type]
        if content[offset : offset + len(beginning)] != beginning:
            raise GraphError(131053, details=f"The content does not match its type {mime_type}")


def is_animated(mime_type: str, content: bytes) -> bool:
    """Whether a file is a picture that moves, by its first `HEAD` bytes."""
    # an animated WebP has an ANIM chunk near its start (WebP container specification)
    return mime_type == "image/webp" and b"ANIM" in content[:HEAD]


def _most(mime_type: str, *, animated: bool) -> int:
    return _STILL_STICKER if mime_type == "image/webp" and not animated else KINDS.get(mime_type, _DOCUMENTS)[0]


def problem_of_linked(sent_as: str, mime_type: str, size: int, *, animated: bool) -> str:
    """Return why a file that a message names by URL cannot be sent as this type; empty when it can."""
    if sent_as not in KINDS.get(mime_type, _DOCUMENTS)[1]:
        return f"media of type {mime_type} cannot be sent as {sent_as}"
    if size > (most := _most(mime_type, animated=animated)):
        return f"the file has {size} bytes, more than the {most} allowed for {mime_type}"
    return ""


def require_sendable(shelf: Shelf, phone_number_id: str, body: Mapping[str, Any]) -> None:
    """Raise `GraphError` when a message names a file that this number does not have, or that cannot be sent as this
    type.
    """
    for sent_as, media_id in _named(body, ""):
        media = shelf.find(media_id, phone_number_id)
        if media is None:
            raise GraphError(131053, details="Media upload error: there is no media with this id, or it has expired")
        if sent_as not in KINDS.get(media.mime_type, _DOCUMENTS)[1]:
            raise GraphError(131053, details=f"Media of type {media.mime_type} cannot be sent as {sent_as}")


def links(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the files that a message names by URL: the type that each is sent as, and the URL."""
    return list(_named(body, "", "link"))


_SENT_AS: Final = frozenset({"image", "video", "audio", "document", "sticker"})


def _named(node: Any, name: str, key: str = "id") -> Iterator[tuple[str, str]]:
    """Yield each file reference of a message: the name of its object, and the value of `key` in it."""
    if isinstance(node, dict):
        # a file's object is named after its type, at the top of a message as well as in templates and interactive
        # headers
        if name in _SENT_AS and isinstance(value := node.get(key), str):
            yield name, value
        for inner, value in node.items():
            yield from _named(value, inner, key)
    elif isinstance(node, list):
        for value in node:
            yield from _named(value, name, key)
