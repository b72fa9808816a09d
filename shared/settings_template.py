"""A settings file to begin with: every setting with its meaning, values and default, all of them out of effect."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Final

from shared.kinds import KINDS, ProcessKind, Variable
from shared.settings import variables

_WIDTH: Final = 100
"""Columns of its comments."""
_HEAD: Final = """\
# Settings of Bulkhead. Remove the # before a line to change that setting; docs/settings.md explains them.
# Belongs into BULKHEAD_HOME/settings.env (read at the start and at SIGHUP), or into the environment, which wins.
# A value is everything behind the first =, without quotes.
"""


def settings_template(rows: Sequence[ProcessKind] = KINDS) -> str:
    """Return the file's text.

    Args:
        rows: the kinds whose variables belong to it.
    """
    return "\n".join([_HEAD, *(_entry(one) for one in variables(rows).values())])


def _entry(one: Variable) -> str:
    limits = _limits(one)
    secret = " Secret: this file must be readable by you alone." if one.secret else ""
    meaning = f"{one.purpose}{f' ({limits})' if limits else ''}{secret}"
    return "\n".join(
        [*wrap(meaning, _WIDTH, initial_indent="# ", subsequent_indent="# "), f"#{one.name}={one.default}", ""]
    )


def _limits(one: Variable) -> str:
    if one.choices:
        return ", ".join(one.choices)
    low = f"at least {one.low:g}" if one.low is not None else ""
    high = f"at most {one.high:g}" if one.high is not None else ""
    return ", ".join(filter(None, (low, high)))
