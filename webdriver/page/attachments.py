"""Stages the file of a message for the page: a copy that Chromium reads, removed when the send has ended."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shared.channels import files
from shared.channels.files import MediaRefused
from shared.clock import left, monotonic
from shared.media.errors import FetchFailed, MediaTooLarge, MediaUnknown, StorageUnavailable
from shared.media.fetch import fetch
from shared.media.reach import Reach
from shared.media.storage import Storage
from shared.messages import Dead, OutboundMessage, Retry
from shared.opening import opened
from webdriver.chromium import profile

_AGAIN_S: Final = 2.0
"""Pause before a file is staged again after storage failed or the disk was full."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that can be handed to the page.

    Attributes:
        path: where it lies. mimetype: what it is. filename: what the receiver sees.
    """

    path: Path = field(repr=False)
    mimetype: str
    filename: str = field(repr=False)


class Attachments:
    """Takes files out of storage for the pages of this process.

    Args:
        storage: where files are. home: BULKHEAD_HOME. reach: which addresses a client may name.
    """

    def __init__(self, storage: Storage, home: Path, reach: Reach) -> None:
        self._storage, self._home, self._reach = storage, home, reach

    @asynccontextmanager
    async def staged(self, message: OutboundMessage, by: float) -> AsyncIterator[Attachment | Retry | Dead]:
        """Stage the file of a message while the block runs, or return why that failed: then nothing was sent.

        Args:
            by: monotonic instant by which the copy must be complete.
        """
        directory = profile.staged(profile.directory(self._home, message.connection_id))
        # with the attempt: a late removal for an earlier one must not take this one's file
        path = directory / f"bulkhead-{message.id}-{message.attempt}"
        try:
            try:
                async with asyncio.timeout(left(by, monotonic())):
                    yielded: Attachment | Retry | Dead = await self._stage(message, path, by)
            # in all of these cases nothing was sent: the page has not been asked yet
            except TimeoutError:
                yielded = Retry(code="file_late", detail="the file was not there in time")
            except FetchFailed as error:
                yielded = (
                    Retry(code=error.code, detail=str(error))
                    if error.passing
                    else Dead(code=error.code, detail=str(error))
                )
            except MediaUnknown:
                yielded = Dead(code="media_unknown", detail="the file is not in storage any more")
            except (MediaTooLarge, MediaRefused) as error:
                yielded = Dead(code="media_refused", detail=str(error))
            # our fault, not the message's: it does not count as an attempt
            except StorageUnavailable as error:
                yielded = Retry(code="storage_unavailable", detail=str(error), after_s=_AGAIN_S, counts=False)
            except OSError as error:
                # the disk is full, or the session's directory was removed together with its browser
                yielded = Retry(code="file_not_staged", detail=error.strerror or type(error).__name__, after_s=_AGAIN_S)
            # outside the inner try: an error raised in the caller's block belongs to the send, not to staging
            yield yielded
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _stage(self, message: OutboundMessage, path: Path, by: float) -> Attachment | Dead:
        media: Mapping[str, Any] = message.content["media"]
        filename = str(message.content.get("filename") or media.get("filename") or "")
        # a file that the client uploaded to us is in storage; one named by its address is fetched into it first
        if "sha256" in media:
            sha256, mimetype = str(media["sha256"]), str(media["mimetype"])
            size = await self._storage.size(message.company_id, sha256)
        elif "link" in media:
            most = files.limit_of(message.connection_type, message.type).bytes
            fetched = await fetch(
                str(media["link"]), self._storage, message.company_id, most=most, by=by, reach=self._reach
            )
            sha256, mimetype, size = fetched.stored.sha256, fetched.mimetype, fetched.stored.size
            filename = filename or fetched.filename
        else:
            return Dead(code="media_unusable", detail="a browser session has no file of another provider's")
        # checked again for each send: the size of a linked file is known only now, and the connection's type may have
        # changed
        files.check(message.connection_type, message.type, mimetype, size)
        # readable for Chromium's own user, under which it reads the file
        with await opened(profile.open_staged, path) as file:
            async with aclosing(self._storage.stream(message.company_id, sha256)) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
        return Attachment(path, mimetype, filename or message.type + (mimetypes.guess_extension(mimetype) or ""))
