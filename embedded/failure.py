"""Errors that prevent the start of an embedded server."""

from __future__ import annotations

from shared.errors import BulkheadError


class ServerUnusable(BulkheadError):
    """Raised when an embedded server cannot run here until an operator changes something, which the message names."""


class PreparationFailed(BulkheadError):
    """Raised when preparing an embedded server failed for a reason that may pass, such as a full disk."""
