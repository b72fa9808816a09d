"""Faults by name: armed by the control API, applied to the next sends or webhooks that match."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Where = Literal["before", "after", "updates", "update"]

FAULTS: Final[Mapping[str, tuple[Where, str]]] = {
    "cut_before": ("before", "the connection is closed; the message is not taken"),
    "error": ("before", "answers with error `code` and/or `http_status`; the message is not taken"),
    "hang": ("before", "never answers; the message is not taken"),
    "cut_after": ("after", "the message is taken, then the connection is closed without an answer"),
    "5xx_after_accept": (
        "after",
        "the message is taken, then the answer is `http_status` (502), with error `code` if given, else without a body",
    ),
    "slow": ("after", "the message is taken, the answer comes after `latency_ms`"),
    "hang_after": ("after", "the message is taken and never answered"),
    "fail_later": (
        "after",
        "the message is taken and answered, and its only status is `failed` with error `code` (131026)",
    ),
    "webhook_drop": ("update", "the update is never posted"),
    "webhook_delay": ("update", "the update is due `latency_ms` later"),
    "webhook_duplicate": ("update", "the update is posted twice"),
    "webhook_reorder": ("updates", "the message's updates come in reverse order"),
}
"""Every fault: where it applies, and its effect."""


@dataclass(kw_only=True, slots=True)
class Fault:
    """One armed fault.

    Attributes:
        left: how often it still applies; None: until it is disarmed. probability: that it applies to a matching send or
            update.
        channel, phone_number_id, to, status: only these; empty: all. `status` is for webhook faults.
        call: which call: `messages`, `media` for uploads, or `read` for read receipts and typing.
        code, http_status, details, latency_ms: parameters of the named fault; None, 0 and "" mean its defaults.
        taken: how often it has been applied.
    """

    id: int
    name: str
    left: int | None = 1
    probability: float = 1.0
    channel: str = ""
    phone_number_id: str = ""
    to: str = ""
    status: str = ""
    call: str = "messages"
    code: int | None = None
    http_status: int = 0
    details: str = ""
    latency_ms: float = 0.0
    taken: int = 0

    @property
    def is_before(self) -> bool:
        """Whether this fault prevents a send from being accepted."""
        return FAULTS[self.name][0] == "before"


class Faults:
    """The armed faults, oldest first."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []
        self._next_id = 1
        self._dice = random.Random()  # noqa: S311 - dice, not secrets

    def seed(self, seed: int) -> None:
        """Seed the random numbers, so that they repeat."""
        self._dice.seed(seed)

    def arm(self, name: str, **details: Any) -> Fault:
        """Arm a fault; see `Fault` for `details`.

        Raises:
            KeyError: no fault has this name.
        """
        if name not in FAULTS:
            raise KeyError(name)
        fault = Fault(id=self._next_id, name=name, **details)
        self._next_id += 1
        self._armed.append(fault)
        return fault

    def armed(self) -> list[Fault]:
        """Return what is armed now."""
        return list(self._armed)

    def disarm(self, id: int | None = None) -> int:
        """Disarm the fault numbered `id`, or all; return how many were armed."""
        before = len(self._armed)
        self._armed = [] if id is None else [fault for fault in self._armed if fault.id != id]
        return before - len(self._armed)

    def take(
        self,
        where: tuple[Where, ...],
        *,
        channel: str,
        phone_number_id: str,
        to: str,
        status: str = "",
        call: str = "messages",
    ) -> Fault | None:
        """Return the first armed fault that applies at `where` to this send or update, and count it as applied; None
        when there is none.
        """
        # the normal case: no fault is armed
        if not self._armed:
            return None
        for fault in self._armed:
            if (
                FAULTS[fault.name][0] in where
                and fault.call == call
                and fault.channel in {"", channel}
                and fault.phone_number_id in {"", phone_number_id}
                and fault.to in {"", to}
                and fault.status in {"", status}
                # last: random numbers are drawn for matching calls only, so that a seed gives the same faults whatever
                # other calls come
                and (fault.probability >= 1.0 or self._dice.random() < fault.probability)
            ):
                fault.taken += 1
                if fault.left is not None:
                    fault.left -= 1
                    if fault.left <= 0:
                        # safe while iterating, since the loop ends here
                        self._armed.remove(fault)
                return fault
        return None
