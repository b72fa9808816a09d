"""`python -m chaos`, and `python -m chaos upgrade`."""

from __future__ import annotations

import os
import sys

from chaos import program, upgrade

if sys.argv[1:2] == ["upgrade"]:
    sys.exit(upgrade.main(sys.argv[2:], os.environ))
sys.exit(program.main(sys.argv[1:], os.environ))
