"""What can be wrong with an embedded server before it runs."""

from __future__ import annotations

from shared.errors import BulkheadError


class ServerUnusable(BulkheadError):
    """Raised when an embedded server cannot run here until a human changes something; the sentence says what."""


class PreparationFailed(BulkheadError):
    """Raised when preparing an embedded server failed for a reason that waiting may cure, such as a full disk."""
