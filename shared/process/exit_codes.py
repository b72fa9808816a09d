"""Why a process exited. The orchestrator treats each code differently; docs/exit-codes.md is made from this file."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the orchestrator and of every child."""

    OK = 0
    """Stopped on request, all work in hand finished."""
    CRASH = 1
    """An error that the kind cannot survive; restarted by the restart policy."""
    USAGE = 64
    """The command line is wrong."""
    BOOT = 70
    """Not ready for a reason that may pass (port taken, disk full); restarted by the restart policy."""
    SLOT_TAKEN = 73
    """Another process holds this slot's lock; nothing was started."""
    DRAIN_DEADLINE = 75
    """Stopped on request, but work in hand was not finished by the deadline; it is reclaimed."""
    CONFIGURATION = 78
    """The environment is wrong; not restarted until it changes."""
