"""The orchestrator without waits between restarts and without quarantine: for a test in which a kind dies dozens of
times by intention.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from shared.kinds import KINDS
from supervision.decisions.restart_policy import Policy
from tests.chaos.orchestrator_with_low_ceiling import run

CAP_S = 0.1
DEATHS = 1_000

if __name__ == "__main__":
    sys.exit(run([replace(row, intensity=DEATHS) for row in KINDS], Policy(cap_s=CAP_S)))
