"""How Hypothesis plays: how many examples a test with generated input tries (few in the suite, many in `script/test
long`), and that none is held to a time.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import Phase, settings

_TIMES: Final = int(os.environ.get("TEST_EXAMPLES_TIMES", "1"))
_IN_SUITE: Final = 50


def examples(in_suite: int) -> int:
    """Return `max_examples` for a test that plays so many in the suite."""
    return in_suite * _TIMES


def use_profile() -> None:
    """Set what every test with generated input begins with. `--hypothesis-profile=NAME` names another one."""
    # Without a deadline for each example: how long one takes is the neighbours' business as well, and a test that
    # hangs is ended by pytest's own limit.
    settings.register_profile("suite", deadline=None, max_examples=examples(_IN_SUITE))
    # for mutations: plays longer, and stops at the first failure
    settings.register_profile(
        "unshrunk", deadline=None, max_examples=250, phases=[Phase.explicit, Phase.reuse, Phase.generate]
    )
    settings.load_profile("suite")
