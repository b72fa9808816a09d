"""`python -m chaos`."""

from __future__ import annotations

import os
import sys

from chaos.program import main

sys.exit(main(sys.argv[1:], os.environ))
