"""How long to wait before the next attempt of a message; data."""

from __future__ import annotations

from typing import Final

from shared.backoff import BackoffPolicy

LONGEST_WAIT_S: Final = 300.0
"""Seconds. A longer wait would delay messages for long after the provider has recovered."""


def retry_policy(base_s: float) -> BackoffPolicy:
    """Return the waits of a kind between attempts: `base_s` after the first, doubled each time, up to five minutes.

    There is no jitter: the order within a chat must not depend on chance, and different chats spread by themselves.
    """
    return BackoffPolicy(base_s=base_s, cap_s=LONGEST_WAIT_S)
