"""Entry of kind postgres for the suite: the same server, but no commit waits for the disk.

Nothing that the suite does to a process loses what the kernel already holds, so only a power cut would make a
difference. Durability itself is tested in tests/embedded, over the entry that the product uses.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace

from embedded import postgres
from embedded.entry import run_server
from embedded.server import Server
from shared.settings import Settings

WITHOUT_DISK = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


def prepare(settings: Settings, known_as: Mapping[str, str]) -> Server:
    """Return the product's server with three options more; of two that name the same setting PostgreSQL uses the
    last."""
    server = postgres.prepare(settings, known_as)
    options = (word for name, value in WITHOUT_DISK.items() for word in ("-c", f"{name}={value}"))
    return replace(server, command=[*server.command, *options])


if __name__ == "__main__":
    sys.exit(run_server("postgres", prepare))
