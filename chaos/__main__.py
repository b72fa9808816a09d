"""`python -m chaos`: what `bulkhead chaos` starts, with its checked command line as one JSON object."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from chaos import program, upgrade


def main(text: str) -> int:
    """Carry out one command and return its exit code."""
    given: dict[str, Any] = json.loads(text)
    programs = {"run": program.main, "upgrade": upgrade.main}
    return programs[given.pop("action")](given, os.environ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
