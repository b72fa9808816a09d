"""Texts from outside, made such that PostgreSQL can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def storable(text: str) -> str:
    """Return `text` with what PostgreSQL cannot hold (NUL, half of a surrogate pair) replaced by U+FFFD."""
    # The way over UTF-16 joins two halves of a pair to one character, and replaces a half that stands alone.
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def all_storable(value: Any) -> Any:
    """Return a JSON value with all its texts, keys included, made `storable`."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {all_storable(key): all_storable(item) for key, item in value.items()}
    return [all_storable(item) for item in value] if isinstance(value, list | tuple) else value
