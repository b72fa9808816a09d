"""Detects the type of a file by its first bytes rather than by its declared type. The only door to filetype."""

from __future__ import annotations

import mimetypes
import re
from typing import Final

import filetype

UNKNOWN: Final = "application/octet-stream"
_MIMETYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_SAME: Final = {
    "audio/x-wav": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/x-m4a": "audio/mp4",
    "audio/m4a": "audio/mp4",
    "audio/opus": "audio/ogg",
    "application/ogg": "audio/ogg",
    "audio/x-aac": "audio/aac",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "video/3gp": "video/3gpp",
    "video/x-m4v": "video/mp4",
}
"""Spellings of one kind, and the one that providers use."""
_MEDIA: Final = ("image/", "audio/", "video/")
_CONTAINERS: Final = {"application/zip", "application/x-ole-storage", "application/x-msi"}
"""Kinds that show only how a file is packed: what is declared about it is more exact."""
_WORDY: Final = (b"%PDF-", b"{\\rtf", b"%!PS")
"""Beginnings of kinds other than text that may look like text."""
_CONTROLS: Final = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1b")


def plain(mimetype: str) -> str:
    """Return a mimetype without its parameters, in lower case and its usual spelling; "" when it is none."""
    bare = mimetype.partition(";")[0].strip().lower()
    return _SAME.get(bare, bare) if _MIMETYPE.fullmatch(bare) else ""


def mimetype_of(head: bytes, declared: str = "", filename: str = "") -> str:
    """Return what a file is.

    Args:
        head: its first bytes (`Stored.head`). declared: mimetype that the sender names. filename: for its ending.
    Returns:
        What the bytes show; where they show nothing, what is declared, else what the name's ending shows, else
        `application/octet-stream`. Declared names of media (`image/…`, `audio/…`, `video/…`) whose bytes show no such
        thing are not believed.
    """
    declared_as = plain(declared)
    if declared_as == UNKNOWN:
        declared_as = ""
    # last: a name is the easiest to choose wrongly
    by_name = plain(mimetypes.guess_type(filename)[0] or "") if filename else ""
    seen = _sniffed(head)
    if seen in _CONTAINERS:
        return next((name for name in (declared_as, by_name) if name.startswith("application/")), seen)
    if seen == "video/mp4" and declared_as == "audio/mp4":
        # the same container format: only the declared type shows that it holds no video
        return declared_as
    if seen:
        return seen
    for name in (declared_as, by_name):
        # media have signatures: bytes without one are no picture, whatever is declared
        if name and not name.startswith(_MEDIA):
            return name
    return "text/plain" if head and _is_text(head) else UNKNOWN


def is_animated(head: bytes) -> bool | None:
    """Return whether a WebP picture moves, None for every other file. `head`: as for `mimetype_of`."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    # of the three forms only the extended one can hold an animation, and it says so by a flag
    return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 0x02)


def _sniffed(head: bytes) -> str:
    if not head or _is_text(head):
        # short signatures would take a text that begins like one for a picture ("BM")
        return ""
    if head[4:11] == b"ftyp3gp":
        # the library looks at the compatible brands, where mp4 stands too
        return "video/3gpp"
    found = plain(filetype.guess_mime(head) or "")
    return "" if found == UNKNOWN else found


def _is_text(head: bytes) -> bool:
    if head.startswith(_WORDY) or not _CONTROLS.isdisjoint(head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # a character that the end of the head cuts is none the worse for it
        return error.reason == "unexpected end of data"
    return True
