"""Chromium's debugging protocol over two pipes: one JSON message after the other, each ended by a NUL byte.

A debugging port would be open to every user of the machine, who could read every file of the user that runs Chromium
and drive its sessions. A pipe has two ends and no address.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any, Final

from shared.errors import BulkheadError

READS_FROM: Final = 3
WRITES_TO: Final = 4
"""Descriptors that Chromium uses with `--remote-debugging-pipe`; they are fixed."""

_LONGEST_MESSAGE: Final = 128 * 1024 * 1024
"""Bytes. A page that reports more at once would fill this process's memory; its connection ends instead."""
_END: Final = b"\0"
"""Ends each message in both directions; Chromium's own framing of the debugging pipe."""


class PipeClosed(BulkheadError):
    """Raised when the other end of the pipe is closed, or sent what is no message."""


class DebuggingPipe:
    """Our ends of the two pipes."""

    def __init__(
        self, reader: asyncio.StreamReader, reading: asyncio.ReadTransport, writing: asyncio.WriteTransport
    ) -> None:
        self._reader, self._reading, self._writing = reader, reading, writing

    @classmethod
    async def connect(cls, read_fd: int, write_fd: int) -> DebuggingPipe:
        """Take over our two descriptors; `close` closes them."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_LONGEST_MESSAGE)
        # Unbuffered: the transports use the descriptors themselves, and own them from here on. uvloop closes a
        # transport's descriptor and then its file: a file that closed it once more would, every now and then, close
        # what another thread has opened in between under the same number.
        read_file = os.fdopen(read_fd, "rb", buffering=0, closefd=False)
        write_file = os.fdopen(write_fd, "wb", buffering=0, closefd=False)
        try:
            reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), read_file)
        except BaseException:
            # also on cancellation: the loop has closed the one that it was given, and knows nothing of the other
            os.close(write_fd)
            raise
        try:
            writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, write_file)
        except BaseException:
            reading.close()
            raise
        return cls(reader, reading, writing)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; it is buffered while Chromium does not read.

        Raises:
            PipeClosed: Chromium has closed its end, or `close` was called.
        """
        if self._writing.is_closing():
            raise PipeClosed("the browser closed the pipe")
        # json.dumps escapes control characters, so no message contains the NUL that ends it
        self._writing.write(json.dumps(message).encode() + _END)

    async def receive(self) -> dict[str, Any]:
        """Return the next message.

        Raises:
            PipeClosed: no message can follow.
        """
        try:
            message = json.loads((await self._reader.readuntil(_END))[:-1])
        # end of file: Chromium has ended, or closed its end
        except asyncio.IncompleteReadError:
            raise PipeClosed("the browser closed the pipe") from None
        # After a message that is cut or too long the next one's beginning is not known: the connection ends. One that
        # is nested too deeply was made by a page.
        except (asyncio.LimitOverrunError, ValueError, RecursionError, OSError) as error:
            raise PipeClosed(f"the pipe broke: {type(error).__name__}") from error
        if not isinstance(message, dict):
            raise PipeClosed("the pipe broke: not a message")
        return message

    def close(self) -> None:
        """Close both ends at once, whatever is still to be written; Chromium ends itself when it notices."""
        self._reading.close()
        self._writing.abort()
