"""Entry of kind recorder: migrations, the orchestrator's events, reclaim. `--migrate` only migrates."""

from __future__ import annotations

import sys

from recorder.migration import migrate_once
from recorder.room import open_room
from shared.process.child import run_child

if __name__ == "__main__":
    sys.exit(migrate_once() if sys.argv[1:] == ["--migrate"] else run_child("recorder", open_room))
