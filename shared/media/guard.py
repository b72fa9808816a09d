"""The guard of every client that connects to addresses from outside.

Whether an address may be reached is decided where the socket is made, on the address that it will connect to. URL
parsers and resolvers read one host name differently (full-width digits, `127.1`, a name that resolves anew), so that a
check of the text alone can be bypassed.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from shared.media.errors import FetchFailed
from shared.media.reach import Reach, require_reachable


class SocketGuard:
    """Makes sockets for reachable addresses only.

    Attributes:
        refusal: why the last address was refused; None when none was.
    """

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self.refusal: FetchFailed | None = None

    def __call__(self, info: tuple[Any, ...]) -> socket.socket:
        """Return a socket for one address of a name. Raises `PermissionError` when it may not be reached."""
        family, kind, protocol, _, address = info
        try:
            require_reachable(str(address[0]), int(address[1]), self._reach)
        except FetchFailed as refusal:
            self.refusal = refusal
            # connecting tries the name's next address after an OSError only
            raise PermissionError(errno.EACCES, "the address may not be reached") from None
        return socket.socket(family, kind, protocol)
