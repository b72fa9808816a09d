"""sd_notify client to the service manager (systemd or a compatible one). Without one, nothing is sent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from shared.process import notify

_SAYS_AT_MOST: Final = 0.5
"""Share of the service manager's watchdog interval after which the next WATCHDOG=1 is due."""


class SdNotify:
    """Connection to the service manager.

    Attributes:
        interval_s: how often `alive` should be called; 0: never.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        microseconds = environ.get("WATCHDOG_USEC", "")
        # sd_watchdog_enabled(3): with another pid the watchdog is meant for another process that passed its environment
        # on.
        meant_for = environ.get("WATCHDOG_PID", "")
        is_ours = bool(self._address) and microseconds.isdecimal() and meant_for in ("", str(os.getpid()))
        self.interval_s = int(microseconds) / 1e6 * _SAYS_AT_MOST if is_ours else 0.0
        self._sender = notify.open_sender()

    def ready(self) -> None:
        """Report that supervision runs; `status` reports what is up."""
        self._notify({"READY": "1"})

    def alive(self) -> None:
        """Report that the supervisor's loop runs."""
        self._notify({"WATCHDOG": "1"})

    def status(self, text: str) -> None:
        """Report the state in a few words."""
        self._notify({"STATUS": text})

    def stopping(self, for_s: float) -> None:
        """Report the beginning of a stop, and its time limit."""
        self._notify({"STOPPING": "1", "EXTEND_TIMEOUT_USEC": str(round(for_s * 1e6))})

    def close(self) -> None:
        """Close the line."""
        self._sender.close()

    def _notify(self, fields: Mapping[str, str]) -> None:
        if self._address:
            notify.send(self._sender, self._address, fields)
