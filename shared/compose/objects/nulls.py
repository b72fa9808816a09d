"""Nulls in providers' objects: as good as absent, but in data that belongs to the company alone."""

from __future__ import annotations

from typing import Any, Final

_FREE: Final = frozenset({"data", "flow_action_data"})
"""Names of objects whose content is the company's own."""


def without_nulls(node: Any) -> Any:
    """Return an object without fields that are null, at every level."""
    if isinstance(node, dict):
        return {
            # in such data null may be a value of its own, which the company's flow reads
            name: value if name in _FREE else without_nulls(value)
            for name, value in node.items()
            if value is not None
        }
    if isinstance(node, list):
        return [without_nulls(item) for item in node]
    return node
