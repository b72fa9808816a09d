"""The environment that tests give to processes: the machine's, without one variable of Bulkhead's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from shared.settings import aliases, child_variables, variables

REPOSITORY = Path(__file__).parents[2]
OURS = frozenset({*variables(), *aliases(), *child_variables()})


class Worker(NamedTuple):
    """Which of `workers` processes that run the suite together this is, from 0; the only one when it does not run in
    parallel."""

    number: int
    workers: int


def worker() -> Worker:
    """Return this process's place in a parallel run, from the variables that pytest-xdist sets."""
    return Worker(
        int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")),
        int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
    )


def scrub() -> None:
    """Remove Bulkhead's variables from this process's environment, so that a developer's settings change no test."""
    for name in OURS & os.environ.keys():
        del os.environ[name]


def clean(**given: object) -> dict[str, str]:
    """Return the machine's environment without Bulkhead's variables, plus `given`."""
    return {name: value for name, value in os.environ.items() if name not in OURS} | as_environ(given)


def as_environ(given: Mapping[str, object]) -> dict[str, str]:
    """Return `given` with names in capitals and values as text."""
    return {name.upper(): str(value) for name, value in given.items()}


def printable(text: str) -> str:
    """Return a text with what UTF-8 cannot express (lone surrogates) as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
