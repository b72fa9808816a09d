"""Network namespaces for further hosts, each with an interface of its own that can be unplugged; needs root, `ip`."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Final

from chaos.installation import InstallationUnusable

_NETWORK: Final = "198.18"
"""Of 198.18.0.0/15, which RFC 2544 sets aside for tests between devices: no network has such addresses."""
PLACES: Final = ("database", "redis", "provider")
"""Servers with an address each on our end of the cable."""


class Namespace:
    """One host's network: a cable from us to it, with an address for each server on our end.

    Args:
        number: of the host, from 2 on.
    Attributes:
        enters: words before a command that is to run in it. addresses: of the servers, by name.
    """

    def __init__(self, number: int) -> None:
        # of this run alone; an interface's name has at most 15 characters
        self._name = f"bh{os.getpid()}-{number}"
        self._ours, self._theirs = f"{self._name}a"[-15:], f"{self._name}b"[-15:]
        self._net = f"{_NETWORK}.{number}"
        self.enters = ("ip", "netns", "exec", self._name)
        self.addresses = {name: f"{self._net}.{at}" for at, name in enumerate(PLACES, start=11)}

    async def make(self) -> Namespace:
        """Make it. Raises `InstallationUnusable` where that is not allowed."""
        try:
            for words in (
                f"netns add {self._name}",
                f"link add {self._ours} type veth peer name {self._theirs} netns {self._name}",
                *(f"addr add {address}/24 dev {self._ours}" for address in self.addresses.values()),
                f"link set {self._ours} up",
                f"-n {self._name} addr add {self._net}.2/24 dev {self._theirs}",
                f"-n {self._name} link set {self._theirs} up",
                f"-n {self._name} link set lo up",
            ):
                await self._ip(words)
        except InstallationUnusable:
            await self.remove()
            raise
        return self

    async def unplug(self) -> None:
        """Pull the cable: what is sent is lost, and nothing is refused."""
        await self._ip(f"link set {self._ours} down")

    async def plug_in(self) -> None:
        """Put the cable back."""
        await self._ip(f"link set {self._ours} up")

    async def remove(self) -> None:
        """Remove it; the interfaces go with it."""
        with suppress(InstallationUnusable):
            await self._ip(f"link del {self._ours}")
        with suppress(InstallationUnusable):
            await self._ip(f"netns del {self._name}")

    @staticmethod
    async def _ip(words: str) -> None:
        try:
            asked = await asyncio.create_subprocess_exec(
                "ip", *words.split(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
        except OSError as problem:
            raise InstallationUnusable(f"no network namespaces: ip cannot be run: {problem}") from problem
        said, _ = await asked.communicate()
        if asked.returncode:
            raise InstallationUnusable(
                f"no network namespaces (they need root): ip {words}: {said.decode(errors='replace').strip()}"
            )
