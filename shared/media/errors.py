"""What may be wrong with a file. None of the texts names a tenant's file, address or number."""

from __future__ import annotations

from shared.errors import BulkheadError, Outage


class MediaTooLarge(BulkheadError):
    """Raised when a file goes on beyond the limit; nothing of it is kept.

    Attributes:
        most: the limit in bytes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        super().__init__(f"the file is larger than {most} bytes")


class MediaUnknown(BulkheadError):
    """Raised when the company has no such file in storage."""


class StorageUnavailable(BulkheadError):
    """Raised when the storage cannot be reached, written or read now; trying again may help.

    Attributes:
        outage: why, for clients.
    """

    def __init__(self, message: str, *, outage: Outage) -> None:
        self.outage = outage
        super().__init__(message)


class FetchFailed(BulkheadError):
    """Raised when a file cannot be fetched from its address.

    Attributes:
        code: for the history. passing: whether trying again may help.
    """

    def __init__(self, code: str, reason: str, *, passing: bool) -> None:
        self.code, self.passing = code, passing
        super().__init__(reason)
