"""schemathesis: every operation, with requests made from the document, right ones and wrong ones. No answer is a 5xx or
undocumented, and no request that is right by the document is refused for its form.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from script.openapi import openapi_document
from tests.api.api_env import ApiEnv
from tests.support.servers import Servers

pytestmark = pytest.mark.timeout(900)
METHODS = ("get", "put", "post", "delete", "patch")
MODES = ("positive", "negative")


@cache
def labels() -> list[str]:
    """Return the names of the operations; what limits or removes something comes last."""
    paths = openapi_document()["paths"]
    found = [(method, path) for path, operations in paths.items() for method in METHODS if method in operations]
    found.sort(key=lambda one: (one[0] == "delete") + 2 * ("limits" in one[1]))
    return [f"{method.upper()} {path}" for method, path in found]


@pytest.fixture(scope="module")
def conformity() -> ModuleType:
    """The module that makes and judges requests."""
    from tests.api import conformity as module  # noqa: PLC0415 - see there

    assert set(module.described()) == set(labels())
    return module


@pytest.fixture(scope="module")
def own_env(servers: Servers) -> Iterator[ApiEnv]:
    """An API of its own: what a request is allowed to do is really done."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    name, url = servers.new_database()
    with ApiEnv(home, url, servers.new_redis()) as started:
        started.seed().start()
        started.send("first")
        yield started
    servers.drop_database(name)
    shutil.rmtree(home)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("label", labels())
def test_an_operation_does_what_the_document_says(
    own_env: ApiEnv, conformity: ModuleType, label: str, mode: str
) -> None:
    conformity.require_conformity(own_env, label, mode, examples=1)


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("label", labels())
def test_an_operation_does_it_for_many_requests(own_env: ApiEnv, conformity: ModuleType, label: str, mode: str) -> None:
    conformity.require_conformity(own_env, label, mode, examples=10)
