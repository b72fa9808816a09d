"""Names of files as they may be shown, stored and sent, also when a stranger chose them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, Final

_BYTES_MOST: Final = 240
"""Longest name in bytes of UTF-8: file systems take 255, and something may be put before or after it."""
_ENDING_BYTES: Final = 20
"""Longest ending that a name keeps when it is cut."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Unicode categories of characters that show nothing, break a header or turn the direction of what follows."""


def cleaned_filename(name: str) -> str:
    """Return a file's name without path, control characters and direction marks; "" when nothing is left."""
    # both separators: a name from Windows holds backslashes; NFC, so that macOS's decomposed letters are the usual ones
    bare = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    # leading dots hide a file on Unix, and `..` leads out of a folder
    shown = "".join(one for one in bare if unicodedata.category(one) not in _HIDDEN).strip().lstrip(".")
    if len(shown.encode()) > _BYTES_MOST:
        stem, dot, ending = shown.rpartition(".")
        ending = dot + ending if dot and len(ending.encode()) <= _ENDING_BYTES else ""
        stem = shown[: len(shown) - len(ending)]
        # a character that the cut divides is dropped
        shown = stem.encode()[: _BYTES_MOST - len(ending.encode())].decode(errors="ignore") + ending
    return shown


def with_clean_names(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a message, or of an edit of one, with the names of its files cleaned; a name of which
    nothing is left goes.
    """
    cleaned = dict(content)
    if isinstance(name := cleaned.get("filename"), str):
        cleaned["filename"] = cleaned_filename(name)
        if not cleaned["filename"]:
            del cleaned["filename"]
    for part in ("media", "content"):
        if isinstance(inner := cleaned.get(part), Mapping):
            cleaned[part] = with_clean_names(inner)
    return cleaned
