"""Resolves untrusted host names, each in a thread, since a name server that does not answer blocks the thread for half
a minute. The event loop's own resolver has four threads, which a few such names would occupy.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Final
from weakref import WeakKeyDictionary

from aiohappyeyeballs import AddrInfoType

from shared.http_client.places import PlaceHolder, SharedPlaces, fair_share
from shared.http_client.request import HttpOrigin

THREADS: Final = 64
"""Lookups at once; they wait, and cost nothing but their stacks."""


class NameLookups:
    """Resolves names, with a fair share of the threads for each owner.

    Args:
        most: lookups at once.
    """

    def __init__(self, most: int = THREADS) -> None:
        self._places = SharedPlaces(most, fair_share)
        # a holder's resolution times, apart from the response times of its servers
        self._holders: WeakKeyDictionary[PlaceHolder, PlaceHolder] = WeakKeyDictionary()

    async def __call__(self, origin: HttpOrigin, holder: PlaceHolder) -> list[AddrInfoType]:
        """Return the addresses of a host. Raises `OSError` when there are none."""
        with suppress(socket.gaierror):
            # an IP address needs no lookup
            return _found(origin, socket.AI_NUMERICHOST)
        place = await self._places.acquire(self._holders.setdefault(holder, PlaceHolder(holder.owner)))
        try:
            return await _in_thread(origin)
        finally:
            self._places.release(place)


def _found(origin: HttpOrigin, flags: int = 0) -> list[AddrInfoType]:
    try:
        return [*socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, flags=flags)]
    except UnicodeError as error:
        # a name that no resolver takes
        raise socket.gaierror(type(error).__name__) from error


async def _in_thread(origin: HttpOrigin) -> list[AddrInfoType]:
    """Look up in a thread of its own, which the end of the process does not wait for, as it would for a pool's."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[list[AddrInfoType]] = loop.create_future()

    def note(found: list[AddrInfoType] | None, error: OSError | None) -> None:
        if done.done():
            return
        if found is None:
            done.set_exception(error or OSError("the name has no address"))
        else:
            done.set_result(found)

    def look_up() -> None:
        found, problem = None, None
        try:
            found = _found(origin)
        except OSError as error:
            problem = error
        # the loop may have been closed meanwhile
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(note, found, problem)

    threading.Thread(target=look_up, name="name-lookup", daemon=True).start()
    return await done
