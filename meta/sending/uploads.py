"""Files on their way to a provider: uploaded once for a connection, found again by their digest, and forgotten when the
provider forgot them.

An upload sends no message, so one in doubt is made again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from meta import errors
from meta.accounts.registry import PAGES, Account
from meta.errors import ProviderAcceptance, Reading
from meta.graph import GraphAnswer, GraphClient, RequestUnwritten
from meta.sending import messenger
from meta.sending.payloads import PayloadFile
from shared.channels import files as file_limits
from shared.channels.files import MediaRefused
from shared.clock import left, monotonic
from shared.logs import logger
from shared.media.errors import MediaUnknown, StorageUnavailable
from shared.media.storage import Storage
from shared.messages import Dead, OutboundMessage, Retry
from shared.process.metrics import Metrics
from shared.store import media
from shared.store.connections import Connection
from shared.store.pool import Transaction
from shared.store.store import Store

log = logger(__name__)

UPLOAD_S: Final = 120.0
"""Longest time for one upload, in seconds: 100 MB (the largest file that Meta takes) at a little under 7 Mbit/s."""
_SEND_S: Final = 2.0
"""Seconds that are left to the message itself; an upload that takes longer continues while the message waits for its
next turn.
"""
_AGAIN_S: Final = 1.0
"""Seconds until a message whose file is still being uploaded is due again. It stays first in its chat meanwhile."""
_YOUNG_S: Final = 300.0
"""Seconds. An id younger than this is not the one that the provider dropped: it keeps files for 30 days."""
_Key = tuple[int, str, str, bool]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The provider's id of a file.

    Attributes:
        is_young: uploaded just now: if it is refused, uploading it again will not help.
    """

    provider_id: str
    is_young: bool


@dataclass(frozen=True, slots=True)
class UploadRefused:
    """The provider's refusal of an upload."""

    reading: Reading


_Result = Uploaded | UploadRefused | Retry | Dead


class UploadCache:
    """Files of this process's sends."""

    def __init__(self, store: Store, storage: Storage, graph: GraphClient, metrics: Metrics) -> None:
        self._store, self._storage, self._graph = store, storage, graph
        # one task for each file in use, shared by all messages that wait for it: without it a broadcast with one file
        # would upload it once for each recipient. Only the event loop touches it, so it needs no lock
        self._under_way: dict[_Key, asyncio.Task[_Result]] = {}
        self._seconds = metrics.histogram(
            "meta_upload_seconds", "Time of one upload to a provider, from request to answer.", ("connection_type",)
        )

    async def ids(
        self, account: Account, message: OutboundMessage, files: Sequence[PayloadFile], by: float
    ) -> Mapping[str, Uploaded] | UploadRefused | Retry | Dead:
        """Return the provider's ids of files by digest, uploading those that it does not have.

        Args:
            by: monotonic instant of the send's end.
        Returns:
            The ids; or why there are none: the provider's refusal, a wait, or that there is no such file.
        Raises:
            StoreUnavailable: nothing is known about uploads now.
        """
        found: dict[str, Uploaded] = {}
        for file in files:
            result = await self._id(account, message, file, by)
            if not isinstance(result, Uploaded):
                return result
            found[file.sha256] = result
        return found

    async def forget(self, connection_id: int, uploads: Mapping[str, Uploaded]) -> bool:
        """Forget ids that a provider refused. Returns whether uploading anew may help: not when all of them were
        uploaded just now.
        """
        # only old ids: a young one that is refused is refused for another reason, and uploading it again would loop
        old = [one.provider_id for one in uploads.values() if not one.is_young]
        for provider_id in old:
            await self._store.call(media.forget_upload, connection_id, provider_id)
        return bool(old)

    async def close(self) -> None:
        """Cancel uploads in progress."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _id(self, account: Account, message: OutboundMessage, file: PayloadFile, by: float) -> _Result:
        # a redriven dead letter may have failed because of its file, which a provider reports by webhook only
        key = (account.connection.id, file.sha256, file.type, message.attempts_before_redrive > 0)
        task = self._under_way.get(key)
        # no await between the look-up and the insertion: two messages cannot both begin the upload
        if task is None:
            task = self._under_way[key] = asyncio.create_task(
                self._found_or_uploaded(account, file, anew=message.attempts_before_redrive > 0),
                name=f"upload-{key[0]}",
            )
            task.add_done_callback(lambda done: self._ended(key, done))
        # many messages may wait for one file, and one that gives up takes nothing from the others
        # at most half of a short remaining time is left to the message, so that an upload always gets some
        await asyncio.wait({task}, timeout=left(by) - min(_SEND_S, left(by) / 2))
        if not task.done():
            return Retry(
                code="upload_under_way", detail="the file is still being uploaded", after_s=_AGAIN_S, counts=False
            )
        return task.result()

    async def _found_or_uploaded(self, account: Account, file: PayloadFile, *, anew: bool) -> _Result:
        """Look the file up and upload it if need be: one task for both, so that a second caller finds one or the
        other.
        """
        connection = account.connection
        known = await self._store.call(_known, connection, file)
        if known is None:
            return Dead(code="media_unknown", detail="the company has no such file in storage")
        stored, upload = known
        # for a redriven message an id of the last minutes counts: of many redriven together only the first uploads
        if upload is not None and (upload.age_s < _YOUNG_S or not anew):
            return Uploaded(upload.provider_id, upload.age_s < _YOUNG_S)
        try:
            mimetype = file_limits.check(
                connection.connection_type, file.type, stored.mimetype, stored.size, is_animated=stored.is_animated
            )
        except MediaRefused as refused:
            return Dead(code="media_refused", detail=str(refused))
        return await self._upload(account, stored, mimetype)

    def _ended(self, key: _Key, task: asyncio.Task[_Result]) -> None:
        del self._under_way[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            # a caller that still waits gets the error too
            log.info("upload_failed", connection_id=key[0], reason=type(error).__name__)

    async def _upload(self, account: Account, file: media.StoredFile, mimetype: str) -> _Result:
        connection, started = account.connection, monotonic()
        # 128 random bits: a boundary that could occur in the file would end the form early
        boundary = secrets.token_hex(16)
        head, tail = _around(boundary, mimetype, pages=connection.connection_type in PAGES)
        headers = {
            **account.endpoint.headers,
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            # declared: not every server accepts a body of unknown length
            "Content-Length": str(len(head) + file.size + len(tail)),
        }
        body = _Body(self._storage, connection.company_id, file.sha256, head, tail)
        reply = await self._graph.call("POST", _address(account), headers, started + UPLOAD_S, data=body.pieces())
        # before the reply: the upload was cut because of the storage, and the transport's error would hide that
        if body.problem is not None:
            return body.problem
        if not isinstance(reply, GraphAnswer):
            # an upload without an answer is made again, and counts as an attempt: nothing of the message has left (ADR
            # 34)
            code = "connection_failed" if isinstance(reply, RequestUnwritten) else "upload_unanswered"
            return Retry(code=code, detail=reply.reason, counts=not isinstance(reply, RequestUnwritten))
        self._seconds.labels(connection.connection_type).observe(monotonic() - started)
        reading = errors.read(reply, messenger.attachment_id if connection.connection_type in PAGES else _media_id)
        if not isinstance(reading, ProviderAcceptance):
            return UploadRefused(reading)
        # after the answer, in a transaction of its own: if the process dies in between, the file is uploaded again
        await self._store.call(
            partial(media.remember_upload, mimetype=file.mimetype, provider_id=reading.provider_id),
            connection.id,
            connection.world,
            file.sha256,
        )
        log.info("media_uploaded", connection_id=connection.id, size=file.size, mimetype=file.mimetype)
        return Uploaded(reading.provider_id, is_young=True)


class _Body:
    """A form with one file, in pieces.

    Attributes:
        problem: why the file could not be read to its end; the provider then got no whole form.
    """

    def __init__(self, storage: Storage, company_id: str, sha256: str, head: bytes, tail: bytes) -> None:
        self._storage, self._company_id, self._sha256, self._head, self._tail = storage, company_id, sha256, head, tail
        self.problem: Retry | Dead | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._head
        try:
            async for piece in self._storage.stream(self._company_id, self._sha256):
                yield piece
        # aiohttp makes a transport failure of an error here and closes the connection, so that the provider gets no
        # whole form; the reason is kept in `problem`
        except MediaUnknown as error:
            self.problem = Dead(code="media_unknown", detail=str(error))
            raise ConnectionAbortedError from None
        except StorageUnavailable as error:
            self.problem = Retry(code="storage_unavailable", detail=str(error), counts=False)
            raise ConnectionAbortedError from None
        yield self._tail


def _around(boundary: str, mimetype: str, *, pages: bool) -> tuple[bytes, bytes]:
    """Return what surrounds a file in a form of Meta's; `pages`: of the Send API's."""
    fields = messenger.upload_fields(mimetype) if pages else {"messaging_product": "whatsapp", "type": mimetype}
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    # the recipient sees the file name of the message, never this one
    name = "filedata" if pages else "file"
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
        f'filename="file"\r\nContent-Type: {mimetype}\r\n\r\n'
    )
    return "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode()


def _known(
    transaction: Transaction, connection: Connection, file: PayloadFile
) -> tuple[media.StoredFile, media.ProviderUpload | None] | None:
    stored = media.find(transaction, connection.company_id, file.sha256)
    if stored is None:
        return None
    return stored, media.uploaded(transaction, connection.id, connection.world, file.sha256, stored.mimetype)


def _address(account: Account) -> str:
    # the Send API has a call of its own for files, whose answer names an `attachment_id` and no `id`
    edge = "message_attachments" if account.connection.connection_type in PAGES else "media"
    return account.endpoint.url.removesuffix("messages") + edge


def _media_id(body: Mapping[str, Any]) -> str:
    provider_id = body.get("id")
    return (
        provider_id
        if isinstance(provider_id, str) and provider_id.isprintable() and len(provider_id) <= errors.PROVIDER_ID_MOST
        else ""
    )
