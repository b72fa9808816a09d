"""Whom a webhook is about: which connections a number, a page or an Instagram account belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from meta.accounts import D360
from meta.events import whatsapp
from meta.events.harvest import Addressees
from shared.store.connections import Connection

_TYPES: Final[Mapping[str, frozenset[str]]] = {
    whatsapp.OBJECT: frozenset({"meta_direct", "meta_embedded", D360}),
    "page": frozenset({"messenger"}),
    "instagram": frozenset({"instagram"}),
}
"""Connection types that a webhook's object can be about."""

_OPTIONS: Final = ("page_id", "instagram_id")
"""Options that name an account beside `account_id`: an Instagram account is sent to through its page, and told about under its own id."""

_Name = tuple[str, str]


class Directory:
    """Looks accounts up, within one transaction.

    Args:
        known: connections as last read. read: reads them anew; asked at most once, when an account is unknown.
    """

    def __init__(self, known: Sequence[Connection], read: Callable[[], Sequence[Connection]]) -> None:
        self._by_name = _by_name(known)
        self._read: Callable[[], Sequence[Connection]] | None = read

    def for_owner(self, owner: int | None) -> Addressees:
        """Return the lookup for one raw event: what came through a 360dialog number's own door (`owner`) can only be about that number."""
        return lambda kind, account: [
            connection.id for connection in self._find(kind, account) if _may_tell(connection, owner)
        ]

    def _find(self, kind: str, account: str) -> Sequence[Connection]:
        if not account or kind not in _TYPES:
            return ()
        if (kind, account) not in self._by_name and self._read is not None:
            self._by_name, self._read = _by_name(self._read()), None
        return self._by_name.get((kind, account), ())


def _may_tell(connection: Connection, owner: int | None) -> bool:
    return connection.id == owner if owner is not None else connection.connection_type != D360


def _by_name(known: Sequence[Connection]) -> Mapping[_Name, Sequence[Connection]]:
    found: dict[_Name, list[Connection]] = {}
    for connection in known:
        kind = next((kind for kind, types in _TYPES.items() if connection.connection_type in types), None)
        if kind is None:
            continue
        names = {
            connection.account_id,
            *(name for option in _OPTIONS if isinstance(name := connection.options.get(option), str)),
        }
        for name in filter(None, names):
            found.setdefault((kind, name), []).append(connection)
    return found
