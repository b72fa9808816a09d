"""Client of Bulkhead's HTTP API: sends messages, reads chats and events, and verifies webhooks.

`Bulkhead` works on requests, `AsyncBulkhead` on aiohttp; each is imported when it is first used, so that one of the two
libraries suffices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bulkhead_client.errors import (
    BulkheadError,
    Conflict,
    Forbidden,
    Invalid,
    LimitExceeded,
    NotFound,
    Problem,
    Unauthorized,
    Unavailable,
    Unreachable,
    WebhookRejected,
)
from bulkhead_client.retries import NO_RETRIES, RetryPolicy
from bulkhead_client.webhooks import verify
from bulkhead_client.wire import File, place

if TYPE_CHECKING:
    from bulkhead_client.async_client import AsyncBulkhead
    from bulkhead_client.sync_client import Bulkhead

__all__ = [
    "NO_RETRIES",
    "AsyncBulkhead",
    "Bulkhead",
    "BulkheadError",
    "Conflict",
    "File",
    "Forbidden",
    "Invalid",
    "LimitExceeded",
    "NotFound",
    "Problem",
    "RetryPolicy",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "WebhookRejected",
    "place",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "Bulkhead":
        from bulkhead_client.sync_client import Bulkhead  # noqa: PLC0415 - see above

        return Bulkhead
    if name == "AsyncBulkhead":
        from bulkhead_client.async_client import AsyncBulkhead  # noqa: PLC0415 - see above

        return AsyncBulkhead
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
