"""Files within a provider's object: in headers of interactive messages and in parameters of templates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.fields import Field, pointer


def media_field(name: str, *, required: bool = False) -> Field:
    """Return the field of a file that is named by the provider's id, by address, or by the digest of one in our
    storage."""
    return Field(
        name=name,
        kind=dict,
        required=required,
        open=True,
        # exactly one: with two of them it would be undecided which file the customer gets
        one_of=("id", "link", "sha256"),
        fields=(
            Field(name="id", kind=str, shortest=1, longest=255),
            Field(name="link", kind=str, longest=4096, form="url"),
            Field(name="sha256", kind=str, shortest=64, longest=64),
            Field(name="filename", kind=str, longest=240),
        ),
    )


def own_files(node: Any, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every object within a provider's object that names a file in our storage by `sha256`, with its JSON
    pointer."""
    if isinstance(node, dict):
        if isinstance(node.get("sha256"), str):
            # a file holds no other file
            yield at, node
            return
        for name, value in node.items():
            yield from own_files(value, at + pointer(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from own_files(value, f"{at}/{index}")
