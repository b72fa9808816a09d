"""One env for all of this folder's tests; each begins with the sandbox's knobs at their start."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.connections.env import APP_ID, AccountsEnv
from tests.meta.conftest import env_settings
from tests.support.servers import Servers


def accounts_settings(home: Path, database_url: str, redis_url: str) -> Settings:
    """Return settings whose every provider is the sandbox, with nothing that is looked at by itself."""
    settings = env_settings(home, database_url, redis_url, meta_app_id=APP_ID, api_instances=1, connection_check_s=0)
    sandbox = settings.graph_base_url.removesuffix("/graph")
    return replace(
        settings, instagram_base_url=f"{sandbox}/instagram", public_url=f"http://127.0.0.1:{settings.port('meta')}"
    )


@pytest.fixture(scope="package")
def running_env(servers: Servers) -> Iterator[AccountsEnv]:
    """Processes that live as long as the folder's tests."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    name, url = servers.new_database()
    with AccountsEnv(accounts_settings(home, url, servers.new_redis(kept=True))) as env:
        yield env.start()
    servers.drop_database(name)
    shutil.rmtree(home)


@pytest.fixture
def env(running_env: AccountsEnv) -> AccountsEnv:
    """The running env with the sandbox as at its start."""
    running_env.reset()
    running_env.control("POST", "tokens", {"valid": True, "expires_at": 0})
    return running_env


@pytest.fixture
def mortal_env(home: Path, database_url: str, redis_url: str) -> Iterator[AccountsEnv]:
    """A env of one test's own, whose processes may be killed."""
    with AccountsEnv(accounts_settings(home, database_url, redis_url)) as env:
        yield env.start()
