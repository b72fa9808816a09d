"""The recorder's entry with a shorter wait for the schema; run as a module."""

from __future__ import annotations

import sys

from recorder import room
from shared.process.child import run_child

if __name__ == "__main__":
    room.START_WAIT_S = 0.5  # type: ignore[misc]  # fifteen seconds are too long for a test
    sys.exit(run_child("recorder", room.open_service))
