"""The page library for the real WhatsApp Web, `@wppconnect/wa-js`: fetched from npm, pinned, no part of ours."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Final

from shared.errors import BulkheadError
from shared.logs import logger

log = logger(__name__)

PACKAGE: Final = "@wppconnect/wa-js"
VERSION: Final = "4.6.0"
INTEGRITY: Final = "epf+ucZO9c25dCaGraslVNHB1mRjid7rfijZhKbalXed/gbDzi6u69wdHCgPbcZW9McVpKmVW+3AzffI39p2SQ=="
"""SHA-512 of the package, as npm publishes it (`npm view @wppconnect/wa-js@4.6.0 dist.integrity`)."""

_SCRIPT: Final = "package/dist/wppconnect-wa.js"
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
"""Where npm and what it starts are looked for."""
_FETCH_S: Final = 60.0
"""Longest time for npm: a slow registry must not keep a session from showing why it does not start."""


class LibraryUnavailable(BulkheadError):
    """Raised when the page library cannot be had, or is not the one that was pinned."""


class Library:
    """Gives wa-js's source and keeps it.

    Args:
        setting: WA_JS_PATH; empty: from npm. cache: directory where the package is kept.
    """

    def __init__(self, setting: str, cache: Path) -> None:
        self._setting, self._cache = setting, cache
        self._source = ""
        # all sessions ask at their start: one of them reads or fetches, the others wait for its result
        self._reading = asyncio.Lock()

    async def source(self) -> str:
        """Return the script.

        Raises:
            LibraryUnavailable: see there; the message names the remedy.
        """
        async with self._reading:
            # a failure is not kept: the next start of a session tries again
            if not self._source:
                self._source = await self._read()
        return self._source

    async def _read(self) -> str:
        if self._setting:
            try:
                return await asyncio.to_thread(Path(self._setting).read_text)
            except OSError as error:
                raise LibraryUnavailable(f"WA_JS_PATH={self._setting} cannot be read: {error.strerror}") from error
        package = self._cache / f"wppconnect-wa-js-{VERSION}.tgz"
        if not package.exists():
            await fetch(package)
        return await asyncio.to_thread(script_in, package)


async def fetch(package: Path) -> None:
    """Have npm fetch the pinned package to the file `package`; it stands there whole or not at all.

    Raises:
        LibraryUnavailable: npm is missing, fails, or takes longer than a minute; or the package is not the pinned one.
    """
    package.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # beside the target, for an atomic rename; by pid, since another process of ours may fetch at the same time
    fetched = package.parent / f"{package.name}.{os.getpid()}"
    fetched.mkdir(exist_ok=True)
    try:
        command = ("npm", "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", str(fetched))
        # npm needs its own configuration, and none of our secrets
        environment = {"PATH": _PATH, "HOME": str(Path.home())}
        npm = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment, cwd=fetched
        )
        try:
            await asyncio.wait_for(npm.wait(), _FETCH_S)
        except TimeoutError:
            raise LibraryUnavailable(
                f"npm did not fetch {PACKAGE} within {_FETCH_S:.0f} s; fetch it yourself and set WA_JS_PATH"
            ) from None
        finally:
            # also after a cancellation: it would write on into a directory that is removed below
            if npm.returncode is None:
                npm.kill()
                await npm.wait()
        found = list(fetched.glob("*.tgz"))
        if npm.returncode != 0 or len(found) != 1:
            raise LibraryUnavailable(
                f"npm could not fetch {PACKAGE}@{VERSION} (exit {npm.returncode}); fetch it yourself and set WA_JS_PATH"
            )
        # before it gets its name: a package that is not the pinned one is never kept
        await asyncio.to_thread(script_in, found[0])
        found[0].replace(package)
    except FileNotFoundError:
        raise LibraryUnavailable(
            "npm is not installed; install it, or fetch the page library yourself and set WA_JS_PATH"
        ) from None
    finally:
        # also after a failure or a cancellation: half a package is no use
        for rest in fetched.iterdir():
            rest.unlink()
        fetched.rmdir()
    log.info("page_library_fetched", version=VERSION)


def script_in(package: Path) -> str:
    """Return the script in the package file. Blocks.

    Raises:
        LibraryUnavailable: the file's hash is not the pinned one.
    """
    packed = package.read_bytes()
    # at each reading, not only after the fetch: this script runs with the account's rights
    if base64.b64encode(hashlib.sha512(packed).digest()).decode() != INTEGRITY:
        raise LibraryUnavailable(f"{package} is not {PACKAGE} {VERSION} as it was published; remove the file")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        # one member, read into memory: no path of the archive is written to disk
        script = archive.extractfile(_SCRIPT)
        if script is None:
            raise LibraryUnavailable(f"{package} holds no {_SCRIPT}")
        return script.read().decode()
