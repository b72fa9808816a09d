"""`python -m moving`: `bulkhead shadow`."""

from __future__ import annotations

import sys

from moving.program import main

sys.exit(main(sys.argv[1:]))
