"""Finds the connections that an event is about. Every event's owner is checked here, once, before the event is
processed.

A connection owns an account whose id its token was proved to reach (`meta/accounts/proofs.py`): naming another's
account in a connection receives nothing. A 360dialog number has an address with a secret of its own, which is its
proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from meta.accounts.registry import D360
from meta.events.parsed import EventOwners
from shared.channels.registry import CHANNELS, channel_named
from shared.store.connections import Connection

_OBJECTS: Final = {channel.webhook_object for channel in CHANNELS if channel.webhook_object}
"""Objects of webhooks that some connection type receives."""

_OPTIONS: Final = ("page_id", "instagram_id")
"""Options that name an account as `account_id` does: an Instagram account sends through its Page, and its events name
its own id.
"""

_Name = tuple[str, str]


class ConnectionIndex:
    """Looks connections up by account, within one transaction.

    Args:
        known: connections as last read. read: reads them again; called at most once, when an account is unknown.
    """

    def __init__(self, known: Sequence[Connection], read: Callable[[], Sequence[Connection]]) -> None:
        self._known, self._by_name = known, _by_name(known)
        # None once it was called: one batch reads the connections twice at most, however many events are of unknown
        # accounts
        self._read: Callable[[], Sequence[Connection]] | None = read

    def for_door(self, door: int | None) -> EventOwners:
        """Return the lookup for one raw event.

        Args:
            door: the 360dialog connection through whose own address it arrived: it can be about that connection only.
                None: Meta signed it, and it is about no 360dialog connection.
        """
        return _DoorOwners(self, door)

    def by_account(self, kind: str, account: str, owns: Callable[[Connection], bool]) -> Sequence[Connection]:
        """Return the connections that own an account: by the provider's id of the number, Page or Instagram account."""
        if not account or kind not in _OBJECTS:
            return ()
        return self._owned(lambda: self._by_name.get((kind, account), ()), owns)

    def by_business_account(self, waba_id: str, owns: Callable[[Connection], bool]) -> Sequence[Connection]:
        """Return the connections that own a WhatsApp Business Account."""
        if not waba_id:
            return ()
        return self._owned(lambda: [one for one in self._known if one.waba_id == waba_id], owns)

    def by_id(self, connection_id: int) -> Connection | None:
        """Return one connection."""
        # the webhook was accepted for this connection, so an unknown id means that the copy is old
        if all(connection.id != connection_id for connection in self._known):
            self._read_again()
        return next((connection for connection in self._known if connection.id == connection_id), None)

    def _owned(
        self, claiming: Callable[[], Sequence[Connection]], owns: Callable[[Connection], bool]
    ) -> Sequence[Connection]:
        found = [connection for connection in claiming() if owns(connection)]
        if not found and self._read is not None:
            # made, or proved, since the connections were read
            self._read_again()
            found = [connection for connection in claiming() if owns(connection)]
        return found

    def _read_again(self) -> None:
        if self._read is not None:
            self._known, self._read = self._read(), None
            self._by_name = _by_name(self._known)


class _DoorOwners:
    """See `meta.events.parsed.EventOwners`."""

    def __init__(self, index: ConnectionIndex, door: int | None) -> None:
        self._index, self._door = index, door

    def of_account(self, kind: str, account: str) -> Sequence[int]:
        return [one.id for one in self._index.by_account(kind, account, lambda one: self._owns(one, account))]

    def of_business_account(self, waba_id: str) -> Sequence[int] | None:
        if self._door is None:
            return [one.id for one in self._index.by_business_account(waba_id, lambda one: self._owns(one, waba_id))]
        own = self._index.by_id(self._door)
        # a number whose account is not known yet may receive events about it; they concern itself at most
        return [own.id] if own is not None and own.waba_id in ("", waba_id) else None

    def is_claimed(self, waba_id: str) -> bool:
        return bool(self._index.by_business_account(waba_id, lambda one: one.connection_type != D360))

    def _owns(self, connection: Connection, account: str) -> bool:
        # 360dialog posts each number to its own address: an event there about another number is forged or misrouted
        if self._door is not None:
            return connection.id == self._door
        return connection.connection_type != D360 and connection.is_proved(account)


def _by_name(known: Sequence[Connection]) -> Mapping[_Name, Sequence[Connection]]:
    found: dict[_Name, list[Connection]] = {}
    for connection in known:
        kind = channel_named(connection.connection_type).webhook_object
        if not kind:
            continue
        names = {
            connection.account_id,
            *(name for option in _OPTIONS if isinstance(name := connection.options.get(option), str)),
        }
        for name in filter(None, names):
            found.setdefault((kind, name), []).append(connection)
    return found
