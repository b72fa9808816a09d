"""Opens the storage of files that the settings name."""

from __future__ import annotations

from shared.media.files import HEAD_BYTES, Storage, Stored
from shared.settings import Settings

__all__ = ["HEAD_BYTES", "Storage", "Stored", "open_storage"]


def open_storage(settings: Settings) -> Storage:
    """Return the storage that MEDIA_STORAGE names: a directory under BULKHEAD_HOME when it is empty, or
    `s3://bucket/prefix`.

    Raises:
        SettingsInvalid: the address is none, or the library for S3 cannot be loaded.
    """
    # each backend is imported on use: a library that cannot be imported breaks only its own
    if settings.media_storage:
        from shared.media.s3 import open_bucket  # noqa: PLC0415 - see above

        return open_bucket(settings)
    from shared.media.local import LocalStorage  # noqa: PLC0415 - see above

    return LocalStorage(settings.path("media"))
