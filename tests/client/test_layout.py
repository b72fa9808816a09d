"""The client is a package of its own: no part of the program knows it, and it knows no part of the program."""

from __future__ import annotations

import subprocess
import sys

import pytest

from script import client
from tests.architecture.source import Source
from tests.support import environment

PROGRAM = Source(environment.REPOSITORY)
OTHERS = frozenset(path.name for path in environment.REPOSITORY.iterdir()) - {"bulkhead_client"}
CLIENT = Source(environment.REPOSITORY, OTHERS | {path.stem for path in environment.REPOSITORY.glob("*.py")})
DOORS = {
    "requests": "bulkhead_client.requests_transport",
    "aiohttp": "bulkhead_client.aiohttp_transport",
}


@pytest.mark.fast
def test_no_part_of_the_program_imports_the_client() -> None:
    wrong = [f"{edge.path}:{edge.line}" for edge, package in PROGRAM.foreign() if package == "bulkhead_client"]
    assert not wrong


@pytest.mark.fast
def test_it_imports_one_http_library_for_each_client_and_nothing_else() -> None:
    assert len(CLIENT.modules) > 8
    imported = {(package, edge.importer) for edge, package in CLIENT.foreign()}
    assert imported == set(DOORS.items())


@pytest.mark.fast
def test_what_is_made_is_up_to_date() -> None:
    stale = [path.name for path, text in client.made().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, f"run script/client: {', '.join(stale)} is out of date"


@pytest.mark.parametrize(("name", "left_out"), [("Bulkhead", "aiohttp"), ("AsyncBulkhead", "requests")])
def test_either_library_suffices(name: str, left_out: str) -> None:
    program = f"import sys; sys.modules[{left_out!r}] = None\nfrom bulkhead_client import {name}, verify"
    subprocess.run([sys.executable, "-c", program], cwd=environment.REPOSITORY, check=True, timeout=30)
