"""Files in a bucket of Amazon S3 or of a service with the same protocol. The only door to obstore; loaded only with
MEDIA_STORAGE.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, AsyncIterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from shared.errors import Outage, SettingsInvalid
from shared.media.errors import MediaUnknown, StorageUnavailable
from shared.media.files import CHUNK_BYTES, Stored, place
from shared.media.local import outage, spool
from shared.settings import Settings

try:
    import obstore
    from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
    from obstore.store import S3Store
except ImportError as error:
    raise SettingsInvalid(
        [f"MEDIA_STORAGE names a bucket, but the library for it cannot be loaded: {error}"]
    ) from error

if TYPE_CHECKING:
    from obstore.store import S3Config

_CONNECT: Final = timedelta(seconds=5)
"""Longest wait for a connection to the bucket."""
_REQUEST: Final = timedelta(seconds=60)
"""Longest time for one request, the body included: 100 MB at 13 Mbit/s."""
_GIVE_UP: Final = timedelta(seconds=20)
"""Time after which no further try begins."""
_TRIES: Final = 2
"""Repetitions of a failed request within obstore; after those the caller decides."""


class BucketStorage:
    """See `shared.media.storage.Storage`. A file is spooled on this machine first: its name is known only at its
    end.
    """

    def __init__(self, bucket: S3Store) -> None:
        self._bucket = bucket

    async def put(self, company_id: str, source: AsyncIterable[bytes], *, most: int) -> Stored:
        """See `Storage.put`."""
        # refuses a company's name that could be no path, before anything is read from the source
        _name(company_id, "0" * 64)
        try:
            # unbuffered: a full disk is reported by the write that meets it
            spooled = tempfile.NamedTemporaryFile(prefix="bulkhead-", buffering=0)  # noqa: SIM115 - closed below
        except OSError as error:
            raise _unavailable(error) from error
        with spooled as file:
            stored = await spool(source, file, most=most)
            try:
                await obstore.put_async(self._bucket, _name(company_id, stored.sha256), Path(file.name))
            except (BaseError, OSError) as error:
                raise _unavailable(error) from error
        return stored

    async def read(self, company_id: str, sha256: str) -> bytes:
        """See `Storage.read`."""
        return b"".join([piece async for piece in self.stream(company_id, sha256)])

    async def stream(self, company_id: str, sha256: str) -> AsyncGenerator[bytes, None]:
        """See `Storage.stream`."""
        try:
            found = await obstore.get_async(self._bucket, _name(company_id, sha256))
            async for piece in found.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(piece)
        except (NotFoundError, FileNotFoundError):
            raise _unknown() from None
        except (BaseError, OSError) as error:
            raise _unavailable(error) from error

    async def size(self, company_id: str, sha256: str) -> int:
        """See `Storage.size`."""
        size, _ = await self._head(company_id, sha256)
        return size

    async def delete(self, company_id: str, sha256: str, *, unless_since: datetime | None = None) -> bool:
        """See `Storage.delete`."""
        if unless_since is not None:
            try:
                _, put_at = await self._head(company_id, sha256)
            except MediaUnknown:
                return True
            # the bucket's clock has whole seconds
            if put_at >= unless_since.replace(microsecond=0):
                return False
        try:
            await obstore.delete_async(self._bucket, _name(company_id, sha256))
        except (NotFoundError, FileNotFoundError):
            return True
        except (BaseError, OSError) as error:
            raise _unavailable(error) from error
        return True

    async def delete_all(self, company_id: str, *, most: int) -> int:
        """See `Storage.delete_all`."""
        # refuses a company's name that could be no path
        prefix = _name(company_id, "0" * 64).partition("/")[0]
        try:
            listed = await obstore.list(self._bucket, prefix=prefix, chunk_size=most).__anext__()
            paths = [one["path"] for one in listed]
            if paths:
                await obstore.delete_async(self._bucket, paths)
        except StopAsyncIteration:
            return 0
        except (BaseError, OSError) as error:
            raise _unavailable(error) from error
        return len(paths)

    async def close(self) -> None:
        """Nothing is held."""

    async def _head(self, company_id: str, sha256: str) -> tuple[int, datetime]:
        try:
            head = await obstore.head_async(self._bucket, _name(company_id, sha256))
        except (NotFoundError, FileNotFoundError):
            raise _unknown() from None
        except (BaseError, OSError) as error:
            raise _unavailable(error) from error
        return head["size"], head["last_modified"]


def open_bucket(settings: Settings) -> BucketStorage:
    """Return the storage that MEDIA_STORAGE names. Raises `SettingsInvalid` when that is no bucket."""
    address = urlsplit(settings.media_storage)
    if not address.netloc or address.query or address.fragment:
        raise SettingsInvalid(["MEDIA_STORAGE is not s3://bucket or s3://bucket/prefix"])
    # buckets as host names are Amazon's way; other services mostly take them as a path
    config: S3Config = {"region": settings.media_s3_region, "virtual_hosted_style_request": not settings.media_s3_url}
    if settings.media_s3_url:
        config["endpoint"] = settings.media_s3_url.rstrip("/")
    if settings.media_s3_key_id:
        config |= {"access_key_id": settings.media_s3_key_id, "secret_access_key": settings.media_s3_secret}
    bucket = S3Store(
        address.netloc,
        prefix=address.path.strip("/") or None,
        config=config,
        client_options={
            "allow_http": settings.media_s3_url.startswith("http://"),
            "connect_timeout": _CONNECT,
            "timeout": _REQUEST,
        },
        retry_config={"max_retries": _TRIES, "retry_timeout": _GIVE_UP},
    )
    return BucketStorage(bucket)


def _name(company_id: str, sha256: str) -> str:
    return "/".join(place(company_id, sha256))


def _unknown() -> MediaUnknown:
    return MediaUnknown("the company has no such file in storage")


def _unavailable(error: Exception) -> StorageUnavailable:
    # the error's text holds addresses and request ids; its class shows what happened
    reason: Outage = "away"
    if isinstance(error, OSError):
        reason = outage(error)
    elif isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        reason = "privilege"
    return StorageUnavailable(f"the bucket for files: {type(error).__name__}", outage=reason)
