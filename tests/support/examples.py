"""How many examples a test with generated input plays: few in the suite, many in `script/test long`."""

from __future__ import annotations

import os
from typing import Final

_TIMES: Final = int(os.environ.get("TEST_EXAMPLES_TIMES", "1"))


def examples(in_suite: int) -> int:
    """Return `max_examples` for a test that plays so many in the suite."""
    return in_suite * _TIMES
