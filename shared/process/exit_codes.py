"""How a process says why it left. The orchestrator treats them differently (docs/exit-codes.md lists them and is tested to)."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the orchestrator and of every child."""

    OK = 0
    """Stopped because it was asked to, everything in hand finished."""
    CRASH = 1
    """An error that the kind does not know how to survive; restarted by the restart policy."""
    USAGE = 64
    """The command line is wrong."""
    BOOT = 70
    """Could not become ready for a reason that waiting may cure (port taken, disk full); restarted by the restart policy."""
    SLOT_TAKEN = 73
    """Another process holds this slot's lock; nothing was started."""
    DRAIN_DEADLINE = 75
    """Stopped because it was asked to, but not everything in hand was finished by the deadline; it is reclaimed."""
    CONFIGURATION = 78
    """The environment is wrong; not restarted until it changes."""
