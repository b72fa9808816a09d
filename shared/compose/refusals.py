"""Refusals of requests, before anything is queued."""

from __future__ import annotations

from shared.channels.capabilities import Capability, Reason, of
from shared.errors import OUTAGES, Refused
from shared.media.errors import StorageUnavailable


def require(connection_type: str, operation: str) -> Capability:
    """Return what a connection type can do of an operation. Raises `Refused` when it cannot do it at all."""
    capability = of(connection_type)[operation]
    if not capability.supported:
        raise unsupported(connection_type, operation, capability.reason)
    return capability


def unsupported(connection_type: str, operation: str, reason: Reason, sentence: str = "") -> Refused:
    """Return the refusal of an operation. `sentence`: when it is not the operation as such that cannot be done."""
    # a client can wait for what Bulkhead cannot do yet, and not for what the channel lacks
    why = "the channel has no such operation" if reason == "channel" else "Bulkhead cannot do it yet"
    return Refused(
        "unsupported_operation",
        sentence or f"A connection of type {connection_type} cannot do {operation}: {why}.",
        operation=operation,
        connectionType=connection_type,
        reason=reason,
    )


def file_too_large(field: str, limit: int, size: int | None = None) -> Refused:
    """Return the refusal of a file with more than `limit` bytes."""
    # of a stream that was cut at the limit the size is not known
    known = {} if size is None else {"size": size}
    return Refused(
        "media_too_large", f"The file in {field} has more than {limit} bytes.", field=field, limit=limit, **known
    )


def storage_unavailable(error: StorageUnavailable) -> Refused:
    """Return the refusal while files can be neither kept nor read."""
    sentence = OUTAGES[error.outage].format(what="The storage for files")
    return Refused("storage_unavailable", f"{sentence}; nothing was accepted.", reason=error.outage)
