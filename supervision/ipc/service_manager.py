"""The orchestrator's word to its own keeper, systemd or whoever else speaks sd_notify. Without one, nothing is sent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from shared.process import notify

_SAYS_AT_MOST: Final = 0.5
"""Share of the keeper's threshold after which the next sign of life is due."""


class Keeper:
    """Our line to the process that keeps us.

    Attributes:
        interval_s: how often `alive` should be called; 0 when nobody wants to hear it.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        microseconds = environ.get("WATCHDOG_USEC", "")
        meant_for = environ.get("WATCHDOG_PID", "")
        is_ours = bool(self._address) and microseconds.isdecimal() and meant_for in ("", str(os.getpid()))
        self.interval_s = int(microseconds) / 1e6 * _SAYS_AT_MOST if is_ours else 0.0
        self._sender = notify.open_sender()

    def ready(self) -> None:
        """Say that we supervise; what is up already is told by `status`."""
        self._tell({"READY": "1"})

    def alive(self) -> None:
        """Say that the supervisor's loop turns."""
        self._tell({"WATCHDOG": "1"})

    def status(self, text: str) -> None:
        """Say in a few words what is going on."""
        self._tell({"STATUS": text})

    def stopping(self, for_s: float) -> None:
        """Say that we leave, and that it may take so long."""
        self._tell({"STOPPING": "1", "EXTEND_TIMEOUT_USEC": str(round(for_s * 1e6))})

    def close(self) -> None:
        """Close the line."""
        self._sender.close()

    def _tell(self, fields: Mapping[str, str]) -> None:
        if self._address:
            notify.send(self._sender, self._address, fields)
