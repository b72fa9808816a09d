"""Names of unix sockets in the file system: bound by us, and noticed when something else (a cleaner of temporary files)
removes them."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SocketFile:
    """The file of a socket that this process has bound."""

    path: Path
    device: int
    inode: int

    @classmethod
    def bind(cls, unbound: socket.socket, path: Path) -> SocketFile:
        """Bind a socket to `path`, which nothing else may use, and make it ours alone. Closes the socket and raises
        `OSError` if it cannot."""
        try:
            # The caller holds the lock that makes the name its own: a file that is there belongs to a dead process.
            path.unlink(missing_ok=True)
            unbound.bind(str(path))
            # The umask decides the mode of a bound socket; on Linux connecting to it needs write permission.
            path.chmod(0o600)
            facts = path.lstat()
        except OSError:
            unbound.close()
            raise
        return cls(path, facts.st_dev, facts.st_ino)

    def is_there(self) -> bool:
        """Whether the name still leads to our socket."""
        try:
            facts = self.path.lstat()
        except OSError:
            return False
        return (facts.st_dev, facts.st_ino) == (self.device, self.inode)

    def remove(self) -> None:
        """Remove the file, unless it is another socket's by now."""
        # The next incarnation may have bound the name already: its file must stay.
        if self.is_there():
            self.path.unlink(missing_ok=True)
