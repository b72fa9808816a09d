"""Refusals of what a connection type cannot do, before anything is queued."""

from __future__ import annotations

from api.problems import Problem
from shared.channels.capabilities import Capability, Reason, of


def require(connection_type: str, operation: str) -> Capability:
    """Return what a connection type can do of an operation. Raises `Problem` when it cannot do it at all."""
    capability = of(connection_type)[operation]
    if not capability.supported:
        raise unsupported(connection_type, operation, capability.reason)
    return capability


def unsupported(connection_type: str, operation: str, reason: Reason, detail: str = "") -> Problem:
    """Return the refusal of an operation. `detail`: when it is not the operation as such that cannot be done."""
    why = "the channel has no such operation" if reason == "channel" else "Bulkhead cannot do it yet"
    return Problem(
        "unsupported_operation",
        detail or f"A connection of type {connection_type} cannot do {operation}: {why}.",
        operation=operation,
        connectionType=connection_type,
        reason=reason,
    )
