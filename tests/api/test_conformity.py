"""schemathesis: every operation, with requests made from the document, right ones and wrong ones. No answer is a 5xx or
undocumented, and no request that is right by the document is refused for its form.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from script.openapi import openapi_document
from shared.tenancy.principals import SCOPES
from tests.api.api_env import KEY, ApiEnv
from tests.support.environment import REPOSITORY
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
    with fresh_env(servers) as started:
        yield started


@contextmanager
def fresh_env(servers: Servers, **variables: str) -> Iterator[ApiEnv]:
    """Start an API over a database of its own, which has a message."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    name, url = servers.new_database()
    with ApiEnv(home, url, servers.new_redis(), **variables) as started:
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


EXAMPLES = os.environ.get("TEST_SCHEMATHESIS_EXAMPLES", "20")
"""Requests of an operation that schemathesis makes up; beside them are those that cover the schemas."""


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("who", ["company", "admin"])
def test_all_checks_of_schemathesis_own_command(
    servers: Servers, conformity: ModuleType, tmp_path: Path, who: str
) -> None:
    """Examples, boundaries, made-up requests and sequences of them, with every check that it knows."""
    with fresh_env(servers, trusted_proxies="127.0.0.1") as env, conformity.assistant(env):
        # of the keys, the second one is there to be changed and revoked
        keys = [made(env, "alpha") for _ in range(3)]
        key = KEY if who == "admin" else keys[2]
        pinned = {name: value for name, value in conformity.THERE.items() if name != "keyId"} | {"keyId": "2"}
        config = tmp_path / "schemathesis.toml"
        config.write_text(
            "".join(["[parameters]\n", *(f'"path.{name}" = "{value}"\n' for name, value in pinned.items())])
        )
        command = [
            *(sys.executable, "-m", "schemathesis.cli"),
            "--config-file",
            config,
            "run",
            f"{env.url}/openapi.json",
        ]
        words = ["--checks", "all", "--max-examples", EXAMPLES, "--header", f"Authorization: Bearer {key}"]
        words += ["--continue-on-failure", "--no-color", "--seed", "1", "--generation-database", "none"]
        done = subprocess.run(
            [str(word) for word in (*command, *words)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks"},
            capture_output=True,
            text=True,
            check=False,
        )
        sys.stdout.write(f"{who}: {done.stdout[-2500:]}")
        assert done.returncode == 0, done.stdout[-30_000:] + done.stderr[-4000:]
        # a key that had been revoked meanwhile would have let everything pass
        assert env.call("GET", "/api/v2/keys", key=key).status_code == 200


def made(env: ApiEnv, company: str) -> str:
    """Return a new key of a company, with every scope."""
    wish = {"name": "of schemathesis", "companyId": company, "scopes": list(SCOPES)}
    return str(env.call("POST", "/api/v2/keys", json=wish).json()["key"])
