"""Finds environment variables whose name is almost a setting's."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Final

from shared.kinds import KINDS, ProcessKind
from shared.settings import aliases, child_variables, variables

_NEAR: Final = 0.86
"""Likeness from which a name counts as misspelt: one wrong or missing letter in seven."""


def misspelt(names: Iterable[str], rows: Sequence[ProcessKind] = KINDS) -> dict[str, str]:
    """Return those of `names` that are no variable of ours but look like one, each with the one that was probably
    meant."""
    # aliases and the orchestrator's own variables are right too, so that they are neither reported nor proposed in vain
    known = {*variables(rows), *child_variables(), *aliases(rows)}
    found = {}
    for name in sorted(set(names) - known):
        if near := difflib.get_close_matches(name, known, n=1, cutoff=_NEAR):
            found[name] = near[0]
    return found
