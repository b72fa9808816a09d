"""The two ways in which a request fails; they decide whether it may be retried."""

from __future__ import annotations


class NotWritten(Exception):
    """Raised when no byte of a request was sent: it is malformed, or there is no connection; the text is the reason."""


class NotAnswered(Exception):
    """Raised when a request that may have been written has no answer; the text is the reason. `is_stale`: nothing came
    on a connection that had been kept, so that its other end has probably closed it before.
    """

    def __init__(self, reason: str, *, is_stale: bool = False) -> None:
        super().__init__(reason)
        self.is_stale = is_stale
