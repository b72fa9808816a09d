"""Which tests are fast, and which are begun first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.support import environment

SERVERS: Final = frozenset({"servers", "bulkhead", "prepared_home"})
"""Fixtures that start a server or the whole program; every other fixture that does so uses one of them."""

STARTERS: Final = frozenset(
    {
        "multiprocessing",
        "socket",
        "subprocess",
        "threading",
        "tests.support.bulkhead",
        "tests.support.entry",
        "tests.support.servers",
        "webdriver.chromium.launcher",
    }
)
"""Modules with which a test starts a process or listens on a port itself."""

LONGEST_FIRST: Final = (
    "chaos",
    "e2e",
    "webdriver",
    "meta",
    "supervision",
    "bench",
    "api",
    "process",
    "embedded",
    "connections",
)
"""Folders of long files. They are begun first, so that the workers of a parallel run end at about the same time."""

_IMPORTS: Final = re.compile(r"^[ \t]*(?:from[ ]+([\w.]+)[ ]+)?import[ ]+(\([^)]*\)|[^\n(#]+)", re.MULTILINE)


def mark_fast(items: Iterable[pytest.Item]) -> None:
    """Mark each test `fast` that starts no process and no server, neither by a fixture nor by what its file imports.

    A file that imports such a thing and starts no server all the same marks itself; a test that takes seconds is marked
    `slow` and left out.
    """
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if not (SERVERS & fixtures or starts_something(item.path) or any(item.iter_markers("slow"))):
            item.add_marker("fast")


def rank(item: pytest.Item) -> int:
    """Return when the test's folder is begun: 0 first."""
    folder = _place(item.path)[0]
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)


@cache
def _place(path: Path) -> tuple[str, ...]:
    """Return the parts of a test file's path below `tests`, without its ending."""
    inside = path.is_relative_to(environment.REPOSITORY / "tests")
    return path.relative_to(environment.REPOSITORY / "tests").with_suffix("").parts if inside else (path.stem,)


def has_no_fast_test(path: Path) -> bool:
    """Whether a file of tests has none that is marked `fast`, neither by `mark_fast` nor by itself."""
    return (
        path.match("test_*.py")
        and starts_something(path)
        and "pytest.mark.fast" not in path.read_text(encoding="utf-8")
    )


def has_no_serial_test(path: Path) -> bool:
    """Whether a file of tests has none that runs alone."""
    return path.match("test_*.py") and "pytest.mark.serial" not in path.read_text(encoding="utf-8")


@cache
def starts_something(path: Path) -> bool:
    """Whether the file imports one of `STARTERS`, itself or through another file of the suite."""
    reached, open_paths = {path}, [path]
    while open_paths:
        for name in _imported(open_paths.pop()):
            if name in STARTERS:
                return True
            if (file := _file_of(name)) and file not in reached:
                reached.add(file)
                open_paths.append(file)
    return False


@cache
def _imported(path: Path) -> frozenset[str]:
    """Return what a module imports, at its top and inside functions.

    By its lines: each worker reads every file, and to parse them takes seconds. A text in a file that looks like an
    import counts as one, which at most keeps a test from being fast.
    """
    names: set[str] = set()
    for module, several in _IMPORTS.findall(path.read_text(encoding="utf-8")):
        found = re.findall(r"[\w.]+", several)
        names.update([module, *(f"{module}.{name}" for name in found)] if module else found)
    return frozenset(names)


def _file_of(module: str) -> Path | None:
    """Return the file of a module of the suite; None for everything else."""
    if not module.startswith("tests."):
        return None
    path = environment.REPOSITORY.joinpath(*module.split(".")).with_suffix(".py")
    return path if path.is_file() else None
