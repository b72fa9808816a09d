"""A message's history for clients: one entry a step, on one clock; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.store.pool import Row
from shared.timestamps import iso

JsonObject = dict[str, Any]


def shown_steps(steps: Sequence[Row]) -> list[JsonObject]:
    """Return the history of one message, oldest first.

    `at` is our clock throughout, so that it never runs backwards; a status of the provider has its own instant beside
    it (`providerAt`, whole seconds at Meta). A send that both the sender and the provider's status report is one step.

    Args:
        steps: rows of `messages.history`; `extra` marks a status of the provider.
    """
    shown: list[JsonObject] = []
    by_step: dict[tuple[str, int], JsonObject] = {}
    latest = None
    for step in steps:
        is_status = step["extra"] is not None
        own = by_step.get((step["state"], step["attempt"]))
        if is_status and own is not None and own["extra"] is None:
            # our settlement and the provider's status of one send: the second confirms the first
            own |= {"extra": step["extra"], "providerAt": iso(step["at"])}
            continue
        # the instant is the start of a transaction, and the one of an earlier step may have begun later
        latest = step["written_at"] if latest is None else max(latest, step["written_at"])
        entry = {
            "state": step["state"],
            "at": iso(latest),
            "providerAt": iso(step["at"]) if is_status else None,
            "attempt": step["attempt"],
            "incarnation": step["incarnation"] or None,
            "code": step["code"] or None,
            "detail": step["detail"] or None,
            "extra": step["extra"],
        }
        shown.append(entry)
        if not is_status:
            by_step[step["state"], step["attempt"]] = entry
    return shown
