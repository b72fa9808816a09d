"""The environment that tests give to processes: the machine's, without one variable of Bulkhead's."""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from shared.settings import aliases, child_variables, variables

REPOSITORY = Path(__file__).parents[2]
OURS = frozenset({*variables(), *aliases(), *child_variables()})

SEALING_KEY = base64.b64encode(bytes(range(32))).decode()
"""The key of every process that a test starts by its entry file: all of one database must have the same."""

MEMORY = Path("/dev/shm")
"""Files below it are in memory."""
ENOUGH_MEMORY = 6_000_000_000


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


def use_memory_for_files() -> None:
    """Keep temporary files in memory where the machine has enough of it: homes with databases and browser profiles are
    made by the hundred. Called before anything asks for a temporary directory; TMPDIR takes precedence."""
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return
    facts = os.statvfs(MEMORY)
    if min(facts.f_bavail * facts.f_frsize, psutil.virtual_memory().available) >= ENOUGH_MEMORY:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None


def keep_compiled_modules() -> None:
    """Write compiled modules, whatever the machine's environment says: the suite starts some thousand processes, and
    each would compile all that it imports (0.1 to 0.3 s)."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def clean(**given: object) -> dict[str, str]:
    """Return the machine's environment without Bulkhead's variables, plus `given`."""
    return {name: value for name, value in os.environ.items() if name not in OURS} | as_environ(given)


def as_environ(given: Mapping[str, object]) -> dict[str, str]:
    """Return `given` with names in capitals and values as text."""
    return {name.upper(): str(value) for name, value in given.items()}


def printable(text: str) -> str:
    """Return a text with what UTF-8 cannot express (lone surrogates) as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
